"""Each method of each service, called without the right to: counted once, one row in the audit.

The table is made from the services themselves, so that a method that is added is in it.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from typing import Any

import pytest
from grpclib.const import Cardinality

from collective.client.joining import redeem
from collective.core.clock import SystemClock
from collective.core.errors import CollectiveError, ConflictError, PermissionDeniedError
from collective.core.ids import MemberId
from collective.pki import certificates, invite_code
from collective.pki.ca import CertificateAuthority
from collective.pki.certificates import new_private_key
from collective.roles.coordinator.refusal_log import JOINER, operation_of
from tests import protocol as pb
from tests.integration.hostile.attacker import Target, intent, stored
from tests.integration.hostile.test_join_codes import bootstrap, node_code
from tests.worlds import LINKS, REAL

SERVICES: dict[str, tuple[type[Any], type[Any]]] = {
    "Files": (pb.FilesBase, pb.FilesStub),
    "Uploads": (pb.UploadsBase, pb.UploadsStub),
    "Reads": (pb.ReadsBase, pb.ReadsStub),
    "Streams": (pb.StreamsBase, pb.StreamsStub),
    "Datastores": (pb.DatastoresBase, pb.DatastoresStub),
    "People": (pb.PeopleBase, pb.PeopleStub),
    "Nodes": (pb.NodesBase, pb.NodesStub),
    "Trust": (pb.TrustBase, pb.TrustStub),
    "Certificates": (pb.CertificatesBase, pb.CertificatesStub),
    "MemberStatus": (pb.MemberStatusBase, pb.MemberStatusStub),
    "NodeRegistry": (pb.NodeRegistryBase, pb.NodeRegistryStub),
    "Bootstrap": (pb.BootstrapBase, pb.BootstrapStub),
}
FOR_EVERY_ROLE = {"GetTrust", "RenewCertificate"}
"""Whoever has a certificate of the member may have these for himself."""
FOR_EVERY_USER = {
    *("GetStatus", "ListNodes", "ListGrants", "ListInvites", "ListIdentities", "AddDevice"),
    *("ListDatastores", "List", "CloseRead"),
}
"""They answer with what is the caller's own, or with nothing."""


def methods() -> Iterator[tuple[str, str]]:
    for name, (base, _) in SERVICES.items():
        for path in base().__mapping__():
            yield name, path.rpartition("/")[2]


def counted(target: Target) -> float:
    page = target.cluster.coordinator.page("/metrics")[1]
    return sum(
        float(line.rpartition(" ")[2])
        for line in page.splitlines()
        if line.startswith("collective_permission_denials_total{")
    )


async def rows(target: Target, who: str) -> list[pb.AuditRecord]:
    async with target.channel(target.operator) as channel:
        answer = await channel.stub(pb.TrustStub).list_audit(pb.ListAuditRequest(limit=5000))
    return [one for one in answer.records if one.actor == who and one.detail.startswith("denied")]


async def one_call(stub: Any, method: str, message: Any) -> None:
    """Call ``method`` whatever its kind; an error is raised."""
    function = getattr(stub, operation_of(method))
    answer = function(iter(message)) if isinstance(message, list) else function(message)
    if inspect.isasyncgen(answer) or isinstance(answer, AsyncIterator):
        async for _ in answer:
            pass
    else:
        await answer


def request_of(service: str, method: str) -> Any:
    """Return an empty request of the method's type, in a list where it is a stream."""
    handlers = SERVICES[service][0]().__mapping__().items()
    handler = next(one for path, one in handlers if path.rpartition("/")[2] == method)
    is_stream = handler.cardinality in {Cardinality.STREAM_UNARY, Cardinality.STREAM_STREAM}
    return [handler.request_type()] if is_stream else handler.request_type()


@pytest.mark.parametrize(("service", "method"), list(methods()))
async def test_each_method_called_by_the_wrong_role_is_counted_and_audited(
    target: Target, service: str, method: str
) -> None:
    if method in FOR_EVERY_ROLE:
        pytest.skip("for every role")
    wrong_role = target.bystander if service in {"NodeRegistry", "Bootstrap"} else target.node(3)
    who = str(certificates.describe(wrong_role.certificate).identity)
    before, known = counted(target), await rows(target, who)
    async with target.channel(wrong_role) as channel:
        with pytest.raises(PermissionDeniedError):
            await one_call(channel.stub(SERVICES[service][1]), method, request_of(service, method))
    assert counted(target) == before + 1
    new = [row for row in await rows(target, who) if row not in known]
    assert len(new) == 1, new
    assert new[0].request_id
    assert "from 127.0.0.1" in new[0].detail


PATH = "/private/secret.bin"
NO_ID = "0" * 32
REFUSED: dict[str, Any] = {
    "MakeDirectory": pb.MakeDirectoryRequest(path="/private/new"),
    "Stat": pb.StatRequest(path=PATH),
    "Rights": pb.RightsRequest(path=PATH),
    "Changes": pb.ChangesRequest(path="/private"),
    "Remove": pb.RemoveRequest(path=PATH),
    "Move": pb.MoveRequest(source=PATH, destination="/private/other"),
    "MakeLink": pb.MakeLinkRequest(path="/private/link", target=b"elsewhere"),
    "SetAttributes": pb.SetAttributesRequest(path=PATH, mode=0o600),
    "OpenUpload": pb.OpenUploadRequest(path=PATH, chunks=[intent(b"x")]),
    "OpenRead": pb.OpenReadRequest(path=PATH),
    "Read": pb.ReadRequest(path=PATH),
    "Write": [pb.WriteRequest(header=pb.WriteHeader(path=PATH))],
    "Copy": pb.CopyRequest(source=PATH, target="/private/copy"),
    "AddGrant": pb.AddGrantRequest(
        path="/private", rights=[pb.Right.READ], principal="carol@home.alice"
    ),
    "RemoveGrant": pb.RemoveGrantRequest(id=NO_ID),
    "ApproveNodes": pb.ApproveNodesRequest(node_ids=["alice-node-01"]),
    "DrainNode": pb.DrainNodeRequest(node_id="alice-node-01"),
    "RemoveNode": pb.RemoveNodeRequest(node_id="alice-node-01"),
    "RotateAuthority": pb.RotateAuthorityRequest(),
    "AdoptNodes": pb.AdoptNodesRequest(all=True),
    "DiscardCopies": pb.DiscardCopiesRequest(),
    "GenerateInvite": pb.GenerateInviteRequest(
        kind=pb.InviteKind.USER,
        grants=[pb.GrantTerms(path="/private", rights=[pb.Right.READ])],
    ),
    "RevokeInvite": pb.RevokeInviteRequest(code_or_id="0" * 16),
    "RevokeIdentity": pb.RevokeIdentityRequest(who="bystander@home.alice"),
    "CreateDatastore": pb.CreateDatastoreRequest(path="/mine"),
    "SetDatastore": pb.SetDatastoreRequest(path="/private", copies=1),
    "ListAudit": pb.ListAuditRequest(),
}
BY_ID = {
    *("AllocateChunks", "RecordExtents", "CommitUpload", "AbortUpload", "GetUpload"),
    *("PlanRead", "ReportCopy"),
}
"""Of uploads and leases: an id that is not one's own does not exist; see test_grants."""


def test_every_method_for_users_is_in_one_of_the_tables() -> None:
    for_users = {
        method for service, method in methods() if service not in {"NodeRegistry", "Bootstrap"}
    }
    assert for_users == {*REFUSED, *BY_ID, *FOR_EVERY_USER, *FOR_EVERY_ROLE}


@pytest.mark.parametrize("method", REFUSED)
async def test_each_method_called_without_a_grant_is_counted_and_audited(
    target: Target, method: str
) -> None:
    service = next(service for service, one in methods() if one == method)
    who = str(certificates.describe(target.mallory.certificate).identity)
    before, known = counted(target), await rows(target, who)
    async with target.channel(target.mallory) as channel:
        with pytest.raises(PermissionDeniedError):
            await one_call(channel.stub(SERVICES[service][1]), method, REFUSED[method])
    assert counted(target) == before + 1
    new = [row for row in await rows(target, who) if row not in known]
    assert len(new) == 1, new
    assert new[0].request_id


async def refused_at_the_bootstrap(target: Target, method: str, message: Any) -> CollectiveError:
    channel = bootstrap(target)
    try:
        with pytest.raises(CollectiveError) as caught:
            await one_call(channel.stub(pb.BootstrapStub), method, message)
        return caught.value
    finally:
        await channel.aclose()


@pytest.mark.parametrize("method", ["Join", "BeginRenewal", "Renew"])
async def test_each_refusal_of_the_bootstrap_is_counted_and_audited(
    target: Target, method: str
) -> None:
    mallory = certificates.describe(target.mallory.certificate).identity
    forger = CertificateAuthority.create(MemberId("alice"), target.domain, REAL)
    der = certificates.certificate_der(target.issue(mallory, authority=forger).certificate)
    message: Any = {
        "Join": pb.JoinRequest(code_id="ab" * 8, nonce=b"x", csr_der=b"x", proof=bytes(64)),
        "BeginRenewal": pb.BeginRenewalRequest(certificate_der=der),
        "Renew": pb.RenewRequest(certificate_der=der, nonce=b"x", csr_der=b"x", signature=b"x"),
    }[method]
    joiner = JOINER
    before, known = counted(target), await rows(target, joiner)
    await refused_at_the_bootstrap(target, method, message)
    assert counted(target) == before + 1
    new = [row for row in await rows(target, joiner) if row not in known]
    assert [row.action for row in new] == [operation_of(method)]
    assert new[0].target == ("ab" * 8 if method == "Join" else str(mallory))
    assert "from 127.0.0.1" in new[0].detail


@pytest.mark.parametrize("reason", ["revoked", "used up", "wrong kind"])
async def test_each_refused_code_is_counted_and_audited(target: Target, reason: str) -> None:
    code = node_code(target)
    wish = "eve@home.alice"
    if reason != "wrong kind":
        made = target.cluster.cli("invite", "generate", "--grant", "/by:read", "--json").json()
        code = invite_code.parse(made["code"])
        if reason == "revoked":
            target.cluster.cli("invite", "revoke", code.code_id)
        else:
            await redeem(
                code,
                new_private_key(REAL.randomness),
                clock=SystemClock(),
                wish="first@home.alice",
                links=LINKS,
            )
    joiner = JOINER
    before, known = counted(target), await rows(target, joiner)
    with pytest.raises(ConflictError):
        await redeem(
            code, new_private_key(REAL.randomness), clock=SystemClock(), wish=wish, links=LINKS
        )
    assert counted(target) == before + 1
    new = [row for row in await rows(target, joiner) if row not in known]
    assert [(row.action, row.target) for row in new] == [("join", code.code_id)]


async def test_a_connection_of_the_revoked_is_counted_and_audited(target: Target) -> None:
    """The handshake passes his certificate, the gate does not."""
    revoked = target.user("revoked-one")
    target.cluster.cli("grant", "add", "/by:read", "revoked-one@home.alice")
    target.cluster.cli("identity", "revoke", "revoked-one@home.alice", "--yes")
    who = str(revoked.identity)
    before, known = counted(target), await rows(target, who)
    with suppress(OSError):
        assert target.refused(revoked, target.cluster.coordinator_port)
    assert counted(target) == before + 1
    new = [row for row in await rows(target, who) if row not in known]
    assert [row.action for row in new] == ["connect"]
    assert "revoked" in new[0].detail


async def test_forged_tickets_at_the_relay_are_counted_and_audited(target: Target) -> None:
    """Once in the audit however often, and each in the count."""
    content = b"by way of the coordinator" * 9
    async with target.channel(target.mallory) as channel:
        opened = await channel.stub(pb.UploadsStub).open_upload(
            pb.OpenUploadRequest(
                path="/mallory/relayed", chunks=[intent(content)], mode=pb.RouteMode.RELAY
            )
        )
    (plan,) = opened.plans
    hops = plan.routes[0].hops
    hops[0].mac = bytes(len(hops[0].mac))
    who = str(target.mallory.identity)
    before, known = counted(target), await rows(target, who)
    for _ in range(3):
        with target.wire(target.mallory, target.cluster.coordinator_port) as wire:
            assert wire.put(hops, plan.chunk_id, stored(content)).error().code == "ticket_refused"
    assert counted(target) == before + 3
    (new,) = [row for row in await rows(target, who) if row not in known]
    assert (new.action, new.request_id) == ("relay", "attack")
    assert "from 127.0.0.1" in new.detail
    assert "3 times" in new.detail
