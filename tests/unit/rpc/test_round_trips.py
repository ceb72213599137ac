"""What one end says in messages, the other takes back as the same value."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from collective.core.errors import RejectedError
from collective.core.ids import Domain, GlobalId, MemberId, NodeId, SpiffeId
from collective.core.paths import FilePath
from collective.core.units import Address
from collective.core.work import Report, State
from collective.model.audit import AuditRow
from collective.model.datastores import Datastore
from collective.model.grants import Grant
from collective.model.nodes import Adoption, Approval, Discarded, NodeStatus
from collective.model.peers import PeerFigures
from collective.model.people import (
    CertificateRecord,
    Consequences,
    DeviceRecord,
    IdentityRecord,
    InviteStatus,
    InviteUse,
    MadeInvite,
)
from collective.model.rights import GrantTerms, Right
from collective.model.status import (
    ChunkHealth,
    NodeCodeStatus,
    PeerStatus,
    Space,
    Status,
    Totals,
)
from collective.model.trust import JoinAnswer, Phase, Revoked, RotationProgress, TrustedAuthorities
from collective.rpc.conversions import (
    datastores,
    grants,
    joining,
    node_registry,
    node_status,
    people,
    status,
)
from collective.rpc.conversions import trust as trusts
from collective.rpc.gen.collective import v1 as common_pb
from collective.rpc.gen.collective.v1 import bootstrap as bootstrap_pb
from collective.rpc.gen.collective.v1 import node as node_pb
from collective.rpc.remote.answers import taken

ALICE = Domain("home.alice")
NUMBER = st.integers(0, (1 << 32) - 1)
MOMENT_MS = st.integers(0, 1 << 52)
SECONDS = st.floats(0, 1e6)
TEXT = st.text(max_size=8)
BYTES = st.binary(max_size=40)
USER = st.sampled_from(["ann", "bob"]).map(
    lambda name: SpiffeId.user(ALICE, GlobalId.parse(f"{name}@{ALICE}"))
)
NODE = st.sampled_from(["nas", "alice-node-01"]).map(NodeId)
PATH = st.sampled_from(["/", "/a", "/a/b c"]).map(FilePath.parse)
RIGHTS = st.integers(1, 7).map(Right)


def several(one: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    return st.lists(one, max_size=3)


def some(one: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Any, ...]]:
    return several(one).map(tuple)


TERMS = st.builds(GrantTerms, PATH, RIGHTS)
GRANTS = st.builds(
    Grant,
    id=TEXT,
    path=PATH,
    rights=RIGHTS,
    principal=USER,
    granted_by=st.just(SpiffeId.coordinator(ALICE)) | USER,
    expires_s=st.none() | st.integers(1, 1 << 40).map(float),
    sources=some(TEXT),
)
INVITES = st.builds(
    InviteStatus,
    grants=several(TERMS),
    uses_total=NUMBER,
    uses_left=NUMBER,
    created_ms=MOMENT_MS,
    expires_ms=MOMENT_MS,
    created_by=USER,
    uses=several(st.builds(InviteUse, USER, MOMENT_MS)),
)
CERTIFICATES = several(st.builds(CertificateRecord, TEXT, MOMENT_MS, st.booleans()))
DEVICES = st.builds(DeviceRecord, key_digest=BYTES, added_ms=MOMENT_MS, certificates=CERTIFICATES)
NODES = st.builds(
    NodeStatus,
    node=NODE,
    capacity_bytes=MOMENT_MS,
    used_bytes=MOMENT_MS,
    chunk_count=NUMBER,
    last_seen_ms=MOMENT_MS,
    certificate_expires_ms=MOMENT_MS,
    copies_left=NUMBER,
    quarantined_bytes=MOMENT_MS,
)
STATUS = st.builds(
    Status,
    member=st.just(MemberId("alice")),
    domain=st.just(ALICE),
    uptime_s=SECONDS,
    nodes=several(NODES),
    space=st.builds(Space, MOMENT_MS, MOMENT_MS),
    totals=st.builds(
        Totals,
        NUMBER,
        MOMENT_MS,
        st.none() | st.builds(ChunkHealth, NUMBER, NUMBER, NUMBER, some(PATH)),
    ),
    caller=USER,
    grants=several(GRANTS),
    node_code=st.none() | st.builds(NodeCodeStatus, NUMBER, NUMBER, MOMENT_MS),
    warnings=several(TEXT),
    workers=several(
        st.builds(
            Report,
            name=TEXT,
            state=st.sampled_from(State),
            last_success_ms=MOMENT_MS,
            queue=st.none() | NUMBER,
            error=TEXT,
            next_s=st.none() | SECONDS,
            failing_s=SECONDS,
            step_s=SECONDS,
        )
    ),
    peers=several(
        st.builds(
            PeerStatus,
            last_seen_ms=MOMENT_MS,
            latency_ms=SECONDS,
            taken_ms=MOMENT_MS,
            figures=st.none() | st.builds(PeerFigures, *[NUMBER] * 5),
        )
    ),
    remote_nodes=several(NODES),
)
CASES: dict[str, tuple[st.SearchStrategy[Any], Callable[[Any], Any], Callable[[Any], Any]]] = {
    "grant": (GRANTS, grants.grant_message, grants.grant_from),
    "invite": (INVITES, people.invite_message, people.invite_from),
    "made": (
        st.builds(MadeInvite, TEXT, TEXT, INVITES),
        people.made_message,
        people.made_from,
    ),
    "identity": (
        st.builds(
            IdentityRecord,
            principal=USER,
            invited_by=USER,
            joined_ms=MOMENT_MS,
            certificates=CERTIFICATES,
            devices=several(DEVICES),
        ),
        people.identity_message,
        people.identity_from,
    ),
    "datastore": (
        st.builds(
            Datastore,
            path=PATH,
            owner=st.none() | USER,
            copies=NUMBER,
            quota_bytes=MOMENT_MS,
            used_bytes=MOMENT_MS,
            files=NUMBER,
            catalog_bytes=MOMENT_MS,
            reserved_bytes=MOMENT_MS,
        ),
        partial(datastores.datastore_message, domain=ALICE),
        datastores.datastore_from,
    ),
    "node": (NODES, node_status.node_message, node_status.node_from),
    "approval": (
        st.builds(Approval, node=NODE),
        node_status.approval_message,
        node_status.approval_from,
    ),
    "adoption": (
        st.builds(Adoption, several(NODE), NUMBER, st.booleans(), NUMBER, several(NODE)),
        node_status.adoption_message,
        node_status.adoption_from,
    ),
    "discarded": (
        st.builds(Discarded, NODE, NUMBER, MOMENT_MS, MOMENT_MS),
        node_status.discarded_message,
        node_status.discarded_from,
    ),
    "status": (STATUS, status.status_message, status.status_from),
    "revoked": (
        st.builds(
            Revoked,
            NUMBER,
            NUMBER,
            several(TEXT),
            st.builds(Consequences, some(USER), NUMBER, some(PATH)),
            NUMBER,
        ),
        trusts.revoked_message,
        trusts.revoked_from,
    ),
    "rotation": (
        st.builds(RotationProgress, st.sampled_from(Phase), several(TEXT), BYTES, MOMENT_MS),
        trusts.rotation_message,
        trusts.rotation_from,
    ),
    "audit": (
        st.builds(AuditRow, at_ms=MOMENT_MS),
        trusts.audit_message,
        trusts.audit_from,
    ),
    "join answer": (
        st.builds(
            JoinAnswer,
            certificate_der=BYTES,
            authority_der=BYTES,
            trusted=st.builds(TrustedAuthorities, several(BYTES), several(BYTES)),
            addresses=some(st.builds(Address, st.just("127.0.0.1"), st.integers(1, 65535))),
            grants=several(TERMS),
            grants_expire_ms=MOMENT_MS,
            identity=TEXT,
            granted_by=TEXT,
        ),
        joining.join_answer_message,
        joining.join_answer_from,
    ),
}


@pytest.mark.parametrize("name", CASES)
@settings(suppress_health_check=[HealthCheck.too_slow], max_examples=30)
@given(data=st.data())
def test_a_value_comes_back_as_it_went(name: str, data: st.DataObject) -> None:
    values, to_message, taken = CASES[name]
    value = data.draw(values)
    message = to_message(value)
    assert taken(type(message).parse(bytes(message))) == value


@pytest.mark.parametrize("path", ["/@home.bob/x", "", "a", "/a/../b"])
def test_whatever_a_bootstrap_grants_is_taken_or_rejected(path: str) -> None:
    message = bootstrap_pb.JoinResponse(
        grants=[common_pb.GrantTerms(path=path, rights=[common_pb.Right.READ])]
    )
    if path.startswith("/@"):
        assert taken(joining.join_answer_from, message).grants[0].path == FilePath.parse(path)
    else:
        with pytest.raises(RejectedError):
            taken(joining.join_answer_from, message)


def test_of_the_addresses_in_an_answer_those_that_are_some_are_taken() -> None:
    hosts = [common_pb.Address(host=f"h{number}", port=7000) for number in range(31)]
    message = bootstrap_pb.JoinResponse(coordinator_addresses=[common_pb.Address(host="h"), *hosts])
    found = taken(joining.join_answer_from, message).addresses
    assert [address.host for address in found] == [f"h{number}" for number in range(31)]


def test_an_address_that_is_none_keeps_no_node_from_hearing_the_rest() -> None:
    told = node_pb.HeartbeatResponse(
        coordinator_addresses=[
            common_pb.Address(host="home.example"),
            common_pb.Address(host="nas.lan", port=8001),
        ]
    )
    assert node_registry.whereabouts_from(told).coordinator == (Address("nas.lan", 8001),)
