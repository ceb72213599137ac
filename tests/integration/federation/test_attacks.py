"""What a member, its people and its nodes try at another one: each refused, and nothing local suffers.

Bob is the attacker where nothing else is said: the tests have every key of his.  What members do that
lie about their files stands in ``test_lying_peers.py``.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from collective.chunking.chunk_ids import chunk_id
from collective.client import joining
from collective.core.clock import SystemClock
from collective.core.errors import (
    BusyError,
    CollectiveError,
    ConflictError,
    NotFoundError,
    PermissionDeniedError,
    RejectedError,
    ShutOutError,
)
from collective.core.ids import Domain, LeaseId, LeaseKey, SpiffeId, UploadId, UploadKey
from collective.core.units import Address
from collective.pki import invite_code
from collective.pki.certificates import new_private_key
from collective.pki.credentials import Credentials
from collective.pki.revocation import RevocationSet
from collective.pki.trust import TrustStore
from collective.rpc.gen.collective.v1 import peering as peering_pb
from collective.rpc.server.listener import TlsListener
from collective.rpc.tls.contexts import ALPN_CHUNK, ALPN_GRPC, server_context
from collective.rpc.tls.gate import PeerGate
from tests import protocol as pb
from tests.integration.federation.fake_member import redeem_peering, renamed_authority
from tests.integration.federation.houses import Houses, Person, running_houses
from tests.integration.federation.thieves import Keys, Way, methods, named, raw_call
from tests.integration.hostile.attacker import intent, stored
from tests.worlds import LINKS, REAL

CONTENT = b"what is alice's\n" * 1000
FORWARDED = ("Files", "Uploads", "Reads")
"""What peers may call for their people."""
FORWARDED_METHODS = tuple(("People", name) for name in ("AddGrant", "ListGrants", "RemoveGrant"))
NOT_FORWARDED = (
    *("Streams", "Datastores", "People", "Nodes", "Trust", "Certificates", "MemberStatus"),
    *("Peers", "NodeRegistry", "Bootstrap"),
)
REQUESTS = {"Write": pb.WriteRequest(header=pb.WriteHeader(path="/shared/x"))}
"""Where an empty request gets no further than its reading."""
NODES_HEAR_S = 15.0
"""Heartbeats of a busy machine, by which nodes hear of peers."""
REFUSED_TICKETS = frozenset(("rejected", "ticket_refused", "unknown_key"))


@dataclass(slots=True)
class Field:
    """Three members that are peers of each other, and all of their keys."""

    houses: Houses
    keys: dict[str, Keys]
    una: Person
    """Of alice's, who has /una there and /media at bob's."""
    namesake: Person
    """Whom bob gave the name una@home.alice before alice was a peer of his, with /early there."""

    def way(self, member: str) -> Way:
        return Way(self.keys[member], self.houses[member].coordinator_port)

    def to_node(self, member: str) -> Way:
        return Way(self.keys[member], self.houses[member].node_ports[f"{member}-node-01"])


@pytest.fixture(scope="module")
def field(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Field]:
    folder = tmp_path_factory.mktemp("field")
    extra = {"COLLECTIVE_COPIES": "1"}
    with running_houses(folder, "alice", "bob", "carol", nodes=1, extra=extra) as houses:
        keys = {
            name: Keys.stolen(cluster, folder / f"keys-{name}")
            for name, cluster in houses.members.items()
        }
        bob = houses["bob"]
        bob.cli("mkdir", "/early")
        code = bob.cli("invite", "generate", "--grant", "/early:read").text.splitlines()[-1]
        namesake = Person(bob, "namesake")
        namesake.cli("identity", "init", "--global-id", "una@home.alice")
        namesake.cli("invite", "redeem", code)
        for pair in (("alice", "bob"), ("alice", "carol"), ("bob", "carol")):
            houses.peer(*pair)
        for path in ("/una", "/shared", "/private"):
            houses["alice"].cli("mkdir", path)
        houses["alice"].write("/shared/file", CONTENT)
        houses["alice"].write("/private/file", CONTENT)
        houses["alice"].cli("grant", "add", "/shared:read+write", "@home.bob")
        bob.cli("mkdir", "/media")
        bob.cli("grant", "add", "/media:read+write", "una@home.alice")
        houses["carol"].cli("mkdir", "/things")
        houses["carol"].cli("grant", "add", "/things:read+write", "@home.bob")
        una = houses.person("alice", "una", "/una:read+write")
        yield Field(houses, keys, una, namesake)


@pytest.fixture(autouse=True)
def alice_still_serves(field: Field) -> Iterator[None]:
    """After an attack alice is the same process, and her own people are served."""
    before = field.houses["alice"].coordinator.pid
    yield
    assert field.houses["alice"].coordinator.pid == before
    assert field.houses["alice"].read("/private/file") == CONTENT


def bo(field: Field) -> SpiffeId:
    """Return a user of bob's who may read and write /shared at alice's, as all of his may."""
    return field.keys["bob"].user("bo")


# --- certificates ---------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["coordinator", "user/home.alice/una", "node/alice-node-01"])
def test_what_bobs_ca_signs_in_alices_name_counts_nowhere(field: Field, path: str) -> None:
    forged = field.keys["bob"].issue(SpiffeId.parse(f"spiffe://home.alice/{path}"))
    for member in ("alice", "bob", "carol"):
        for way in (field.way(member), field.to_node(member)):
            for alpn in (ALPN_GRPC, ALPN_CHUNK):
                assert way.is_shut(forged, alpn), (member, way.port, alpn)


async def test_bobs_users_and_nodes_are_not_let_in_at_alices_coordinator(field: Field) -> None:
    bob = field.keys["bob"]
    for identity in (bo(field), bob.node("bob-node-01"), SpiffeId.bootstrap(bob.domain, "b")):
        for alpn in (ALPN_GRPC, ALPN_CHUNK):
            assert field.way("alice").is_shut(bob.issue(identity), alpn)
        async with field.way("alice").channel(bob.issue(identity)) as channel:
            for service, method in (("PeerLink", "Exchange"), ("NodeRegistry", "Heartbeat")):
                with pytest.raises(CollectiveError) as caught:
                    await raw_call(channel, service, method, metadata=named(bo(field)))
                assert caught.value.code in {"unreachable", "rejected"}, caught.value


async def until_let_in(node: Way, person: Credentials, raw: bytes) -> None:
    """Wait until a node has heard of the peer with a heartbeat: before that everybody of it is shut out."""
    async with asyncio.timeout(NODES_HEAR_S):
        while True:
            with suppress(OSError), node.wire(person) as wire:  # an alert, or closed
                wire.put([], chunk_id(raw), raw).error()
                return
            await asyncio.sleep(0.1)


async def test_of_bob_only_people_are_let_in_at_alices_nodes_and_do_nothing_without_a_ticket(
    field: Field,
) -> None:
    bob, node = field.keys["bob"], field.to_node("alice")
    person = bob.issue(bo(field))
    raw = stored(CONTENT)
    await until_let_in(node, person, raw)
    for identity in (bob.coordinator, bob.node("bob-node-01")):
        for alpn in (ALPN_GRPC, ALPN_CHUNK):
            assert node.is_shut(bob.issue(identity), alpn)
    ticket = pb.SignedTicket(body=b"none", key_id=1, mac=b"m" * 32)
    with node.wire(person) as wire:
        for hops in ([], [ticket]):
            assert wire.put(hops, chunk_id(raw), raw).error().code in REFUSED_TICKETS
            assert wire.get(hops, chunk_id(raw)).error().code in REFUSED_TICKETS
    async with node.channel(person) as channel:
        stub = channel.stub(pb.NodeStub)
        for work in (
            stub.delete_copies(pb.DeleteCopiesRequest()),
            stub.challenge_copies(pb.ChallengeCopiesRequest(nonce=bytes(32))),
            stub.copy_chunk(pb.CopyChunkRequest(chunk_id=b"\1" * 32, generation=1)),
        ):
            with pytest.raises(PermissionDeniedError):
                await work


@pytest.mark.parametrize(
    ("service", "method"),
    [one for one in methods(*NOT_FORWARDED) if one not in FORWARDED_METHODS],
)
async def test_bobs_coordinator_is_no_operator_of_alices(
    field: Field, service: str, method: str
) -> None:
    """Nor a user, a node or a bootstrap of hers, whomever it names."""
    async with field.way("alice").channel(field.keys["bob"].operator) as channel:
        for metadata in ({}, named(bo(field)), named("spiffe://home.alice/coordinator")):
            with pytest.raises(PermissionDeniedError):
                await raw_call(channel, service, method, REQUESTS.get(method), metadata)


# --- for whom a peer speaks -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "told",
    [
        "spiffe://home.alice/user/home.alice/una",
        "spiffe://home.carol/user/home.carol/cy",
        "spiffe://home.alice/coordinator",
        "spiffe://home.bob/coordinator",
        "spiffe://home.bob/node/bob-node-01",
        "spiffe://HOME.BOB/user/home.bob/bo",
        "spiffe://home.bob/user/home.bob/../../home.alice/user/home.alice/una",
        "bo@home.bob",
        "no such thing",
        "spiffe://home.bob/" + "x" * 5000,
        None,
    ],
)
@pytest.mark.parametrize("service", FORWARDED)
async def test_bob_speaks_for_his_own_people_alone(
    field: Field, service: str, told: str | None
) -> None:
    async with field.way("alice").channel(field.keys["bob"].operator) as channel:
        for called, method in (*methods(service), *FORWARDED_METHODS):
            with pytest.raises(PermissionDeniedError):
                await raw_call(
                    channel, called, method, metadata={} if told is None else named(told)
                )
        found = await raw_call(
            channel, "Files", "Stat", pb.StatRequest(path="/shared/file"), named(bo(field))
        )
        assert found.size_bytes == len(CONTENT)


def test_a_name_of_alices_that_bob_gave_out_before_they_peered_is_not_hers(field: Field) -> None:
    """The grants of the one are not the other's, in either direction."""
    assert field.namesake.cli("ls", "/early").code == 0
    assert field.namesake.cli("ls", "/media", check=False).code == 4
    assert field.una.cli("ls", "/@home.bob/media").code == 0
    assert field.una.cli("ls", "/@home.bob/early", check=False).code == 4


def test_while_alice_is_a_peer_no_invite_at_bobs_gives_out_a_name_of_hers(field: Field) -> None:
    bob = field.houses["bob"]
    code = bob.cli("invite", "generate", "--grant", "/early:read").text.splitlines()[-1]
    late = Person(bob, "late")
    late.cli("identity", "init", "--global-id", "ava@home.alice")
    done = late.cli("invite", "redeem", code, check=False)
    assert (done.code, "is a peer here" in done.err) == (8, True), done.err


async def test_a_user_of_bobs_who_bears_unas_name_has_none_of_her_rights(field: Field) -> None:
    assert field.namesake.cli("ls", "/@home.alice/una", check=False).code == 4
    borne = "spiffe://home.bob/user/home.alice/una"
    async with field.way("alice").channel(field.keys["bob"].operator) as channel:
        for request, method in (
            (pb.ListRequest(path="/una"), "List"),
            (pb.MakeDirectoryRequest(path="/una/x"), "MakeDirectory"),
        ):
            with pytest.raises(PermissionDeniedError):
                await raw_call(channel, "Files", method, request, named(borne))


# --- passed on once -------------------------------------------------------------------------------


@pytest.mark.parametrize("domain", ["home.carol", "home.bob", "home.alice", "home.nobody"])
async def test_a_forwarded_call_is_passed_on_no_further(field: Field, domain: str) -> None:
    """To a third member, back, or in a ring."""
    path = f"/@{domain}/things"
    requests: list[tuple[str, str, Any]] = [
        ("Files", "Stat", pb.StatRequest(path=path)),
        ("Files", "List", pb.ListRequest(path=path)),
        ("Files", "MakeDirectory", pb.MakeDirectoryRequest(path=f"{path}/x")),
        ("Files", "MakeLink", pb.MakeLinkRequest(path=f"{path}/x", target=b"y")),
        ("Files", "SetAttributes", pb.SetAttributesRequest(path=path, mode=0o600)),
        ("Files", "Remove", pb.RemoveRequest(path=path)),
        ("Files", "Move", pb.MoveRequest(source=path, destination="/shared/x")),
        ("Files", "Move", pb.MoveRequest(source="/shared/file", destination=path)),
        ("Uploads", "OpenUpload", pb.OpenUploadRequest(path=f"{path}/x", chunks=[intent(b"x")])),
        ("Reads", "OpenRead", pb.OpenReadRequest(path=path)),
    ]
    async with field.way("alice").channel(field.keys["bob"].operator) as channel:
        for service, method, request in requests:
            with pytest.raises(ConflictError, match="no further"):
                await raw_call(channel, service, method, request, named(bo(field)))
    ended = field.una.cli("ls", f"/@home.bob/@{domain}", check=False)
    assert ended.code == 8, ended.err


async def test_an_upload_or_lease_of_a_third_member_is_not_reached_by_a_forwarded_call(
    field: Field,
) -> None:
    carols = UploadId(UploadKey("0" * 32), Domain("home.carol"))
    lease = LeaseId(LeaseKey("0" * 32), Domain("home.carol"))
    chunk = chunk_id(stored(b"x"))
    node = "spiffe://home.carol/node/carol-node-01"
    requests: list[tuple[str, str, Any]] = [
        ("Uploads", "AllocateChunks", pb.AllocateChunksRequest(upload_id=str(carols))),
        ("Uploads", "RecordExtents", pb.RecordExtentsRequest(upload_id=str(carols))),
        ("Uploads", "CommitUpload", pb.CommitUploadRequest(upload_id=str(carols))),
        ("Uploads", "AbortUpload", pb.AbortUploadRequest(upload_id=str(carols))),
        ("Uploads", "GetUpload", pb.GetUploadRequest(upload_id=str(carols))),
        ("Reads", "PlanRead", pb.PlanReadRequest(lease_id=str(lease))),
        ("Reads", "CloseRead", pb.CloseReadRequest(lease_id=str(lease))),
        ("Reads", "ReportCopy", pb.ReportCopyRequest(
            lease_id=str(lease), chunk_id=chunk, node=node, problem=pb.CopyProblem.MISSING
        )),
    ]  # fmt: skip
    async with field.way("alice").channel(field.keys["bob"].operator) as channel:
        for service, method, request in requests:
            with pytest.raises(ConflictError, match="no further"):
                await raw_call(channel, service, method, request, named(bo(field)))


async def test_an_upload_of_one_person_is_no_other_persons_of_the_same_peer(field: Field) -> None:
    async with field.way("alice").channel(field.keys["bob"].operator) as channel:
        request = pb.OpenUploadRequest(path="/shared/bos", chunks=[intent(b"x")])
        opened = await raw_call(channel, "Uploads", "OpenUpload", request, named(bo(field)))
        other = named(field.keys["bob"].user("ben"))
        seen = pb.GetUploadRequest(upload_id=opened.upload_id)
        ended = pb.AbortUploadRequest(upload_id=opened.upload_id)
        with pytest.raises((NotFoundError, PermissionDeniedError)):
            await raw_call(channel, "Uploads", "GetUpload", seen, other)
        await raw_call(channel, "Uploads", "AbortUpload", ended, other)  # of none that is theirs
        await raw_call(channel, "Uploads", "GetUpload", seen, named(bo(field)))
        await raw_call(channel, "Uploads", "AbortUpload", ended, named(bo(field)))


# --- tickets --------------------------------------------------------------------------------------


async def test_a_ticket_that_came_through_a_peer_is_for_its_holder_alone(field: Field) -> None:
    """A person's is not for coordinators, theirs not for the person, and none for anybody else."""
    alice, bob = field.keys["alice"], field.keys["bob"]
    una = alice.issue(alice.user("una"))
    field.houses["bob"].write("/media/film", CONTENT)
    found: dict[pb.RouteMode, Any] = {}
    async with field.way("bob").channel(alice.operator) as channel:
        for mode in (pb.RouteMode.DIRECT, pb.RouteMode.RELAY):
            request = pb.OpenReadRequest(path="/media/film", mode=mode)
            opened = await raw_call(channel, "Reads", "OpenRead", request, named(una.identity))
            extent = (
                opened.plans[0].extent_plan if hasattr(opened.plans[0], "extent_plan") else None
            )
            found[mode] = extent or opened.plans[0]
    direct = found[pb.RouteMode.DIRECT].routes[0]
    relayed = found[pb.RouteMode.RELAY].routes[0]
    chunk = direct.chunk_id

    with field.to_node("bob").wire(una) as wire:  # as it is meant
        assert wire.get(direct.hops, chunk).payload == stored(CONTENT)
    vic = alice.issue(alice.user("vic"))
    for thief in (vic, bob.issue(bo(field)), bob.operator):
        with field.to_node("bob").wire(thief) as wire:
            assert wire.get(direct.hops, chunk).error().code in REFUSED_TICKETS
    assert field.to_node("bob").is_shut(alice.operator)  # the coordinator that asked for it
    with field.to_node("bob").wire(una) as wire:  # what bob's coordinator was to use
        assert wire.get(relayed.hops[1:], chunk).error().code in REFUSED_TICKETS
    assert field.way("bob").is_shut(una)
    with field.way("bob").wire(field.keys["carol"].operator) as wire:
        assert wire.get(relayed.hops, chunk).error().code in REFUSED_TICKETS
        assert wire.get(direct.hops, chunk).error().code in REFUSED_TICKETS
    with field.way("bob").wire(alice.operator) as wire:
        assert wire.get(relayed.hops, chunk).payload == stored(CONTENT)


# --- peerings that end, and come back ---------------------------------------------------------------


@asynccontextmanager
async def mallory(field: Field, folder: Path) -> AsyncIterator[Keys]:
    """Yield the keys of a fourth member, which alice has as a peer."""
    keys = Keys.made("mallory", "home.mallory", folder)
    await peered(field, keys, keys.bundle(1))
    yield keys


async def peered(field: Field, keys: Keys, bundle: Any) -> None:
    """Have ``keys`` redeem a code of alice's for its domain."""
    made = field.houses["alice"].cli("peer", "invite", keys.domain).text.splitlines()[-1]
    await redeem_peering(made, bundle)


def state_of(field: Field, member: str, domain: str) -> str | None:
    peers = field.houses[member].cli("peer", "list", "--all", "--json").json()
    found = peers["peers"] if isinstance(peers, dict) else peers
    return next((one["state"] for one in found if one["domain"] == domain), None)


async def exchange(way: Way, credentials: Credentials, **word: Any) -> Any:
    async with way.channel(credentials) as channel:
        return await raw_call(channel, "PeerLink", "Exchange", peering_pb.PeerWord(**word))


def message(signed: Any) -> peering_pb.SignedBundle:
    return peering_pb.SignedBundle(body=signed.body, signature=signed.signature)


async def test_a_removed_peer_does_not_come_back(field: Field, tmp_path: Path) -> None:
    """By its old certificate, its old bundle, a third member, or a new CA under its old name."""
    alice, way = field.houses["alice"], field.way("alice")
    async with mallory(field, tmp_path / "old") as keys:
        person = named(keys.user("mo"))
        alice.cli("grant", "add", "/shared:read", "@home.mallory")
        async with way.channel(keys.operator) as channel:
            assert await raw_call(
                channel, "Files", "Stat", pb.StatRequest(path="/shared/file"), person
            )
            alice.cli("peer", "remove", "home.mallory", "--yes")
            with pytest.raises(CollectiveError):  # on the connection that stands
                await raw_call(
                    channel, "Files", "Stat", pb.StatRequest(path="/shared/file"), person
                )
    newer = keys.bundle(1000)
    with pytest.raises(ShutOutError):
        await exchange(way, keys.operator, bundle=message(newer))
    again = Keys.made("mallory", "home.mallory", tmp_path / "new")
    with pytest.raises(CollectiveError):
        await exchange(way, again.operator, bundle=message(again.bundle(2000)))
    carol = field.keys["carol"].operator
    for bundle in (newer, again.bundle(2000)):
        await exchange(way, carol, news=[message(bundle)])
        with pytest.raises(CollectiveError):
            await exchange(way, carol, bundle=message(bundle))
    async with way.channel(carol) as channel:
        with pytest.raises(PermissionDeniedError):
            await raw_call(channel, "Files", "Stat", pb.StatRequest(path="/shared/file"), person)
    assert state_of(field, "alice", "home.mallory") == "removed"
    assert "home.mallory" not in alice.cli("grant", "list").text

    await peered(field, again, again.bundle(1))  # by a new code alone, and without what it had
    async with way.channel(again.operator) as channel:
        with pytest.raises(PermissionDeniedError):
            await raw_call(channel, "Files", "Stat", pb.StatRequest(path="/shared/file"), person)
    alice.cli("peer", "remove", "home.mallory", "--yes")


async def test_bundles_that_are_not_the_peers_own_word_change_nothing(
    field: Field, tmp_path: Path
) -> None:
    """Of the past, of a third party, of another member's name, or with a CA that is taken for another's."""
    way, alice = field.way("alice"), field.keys["alice"]
    async with mallory(field, tmp_path / "keys") as keys:
        await exchange(way, keys.operator, bundle=message(keys.bundle(5)))
        stranger = Keys.made("mallory", "home.mallory", tmp_path / "stranger")
        for bad in (
            stranger.bundle(9),
            field.keys["carol"].bundle(9),
            alice.bundle(9),
            keys.bundle(9, member="alice"),
            replace(
                keys.bundle(9), body=keys.bundle(9).body.replace(b'"sequence":9', b'"sequence":8')
            ),
        ):
            with pytest.raises(RejectedError):
                await exchange(way, keys.operator, bundle=message(bad))
        await exchange(way, keys.operator, bundle=message(keys.bundle(4)))  # shown the newer one
        with pytest.raises(RejectedError, match=r"the name of home\.mallory"):
            await exchange(way, keys.operator, bundle=message(_renamed(keys, alice)))
        answer = await exchange(way, keys.operator)
        assert answer.newest_of_yours == 5
    assert field.una.cli("ls", "/una").code == 0
    field.houses["alice"].cli("peer", "remove", "home.mallory", "--yes")


def _renamed(keys: Keys, other: Keys) -> Any:
    """Return a bundle of ``keys`` whose CA, with the key that counts, bears the name of another's CA."""
    return keys.bundle(9, authorities=(renamed_authority(keys, other),))


async def test_what_a_peer_says_of_the_own_number_uses_none_up(
    field: Field, tmp_path: Path
) -> None:
    """A bundle counts by its CA's word alone, and so does that there is a newer one of the own."""
    way = field.way("alice")
    before = (await exchange(way, field.keys["carol"].operator)).bundle
    await exchange(way, field.keys["bob"].operator, newest_of_yours=(1 << 53) - 2)
    await exchange(way, field.keys["bob"].operator, newest_of_yours=(1 << 61))
    forged = Keys.made("alice", "home.alice", tmp_path).bundle(1 << 50)
    await exchange(way, field.keys["bob"].operator, news=[message(forged)])
    after = (await exchange(way, field.keys["carol"].operator)).bundle
    assert after == before
    assert int(re.search(rb'"sequence":(\d+)', before.body)[1]) < 1 << 40  # type: ignore[index]


# --- codes ----------------------------------------------------------------------------------------


def test_a_code_for_a_user_peers_nobody(field: Field) -> None:
    code = field.houses["alice"].cli("invite", "generate", "--grant", "/una:read").text.split()[-1]
    unsaid = replace(invite_code.parse(code), kind=None).encode()
    for given, says in ((code, "not for a member"), (unsaid, "not for a peer")):
        done = field.houses["bob"].cli("peer", "accept", given, "--yes", check=False)
        assert (done.code, says in done.err) == (8, True), done.err
    assert uses_left(field, code) == 1


async def test_a_code_for_a_peer_lets_no_user_and_no_node_in(field: Field) -> None:
    code = field.houses["alice"].cli("peer", "invite", "home.dora").text.splitlines()[-1]
    person = Person(field.houses["alice"], "peerless")
    person.cli("identity", "init", "--global-id", "mo@home.mallory")
    assert person.cli("invite", "redeem", code, check=False).code == 8
    for wish in ("alice-node-77", "", "mo@home.mallory"):
        with pytest.raises(ConflictError):
            await joining.redeem(
                invite_code.parse(code),
                new_private_key(REAL.randomness),
                clock=SystemClock(),
                wish=wish,
                links=LINKS,
            )
    assert uses_left(field, code) == 1


async def test_a_code_for_one_peer_is_no_other_members(field: Field, tmp_path: Path) -> None:
    code = field.houses["alice"].cli("peer", "invite", "home.dora").text.splitlines()[-1]
    done = field.houses["bob"].cli("peer", "accept", code, "--yes", check=False)
    assert (done.code, "another member" in done.err) == (8, True), done.err
    keys = Keys.made("mallory", "home.other", tmp_path)
    with pytest.raises(ConflictError):
        await redeem_peering(code, keys.bundle(1))
    assert state_of(field, "alice", "home.other") is None
    assert uses_left(field, code) == 1


def uses_left(field: Field, code: str) -> int:
    wanted = invite_code.parse(code).code_id
    listed = field.houses["alice"].cli("invite", "list", "--json").json()
    rows = listed["invites"] if isinstance(listed, dict) else listed
    found: int = next(one["uses_left"] for one in rows if one["id"] == wanted)
    return found


class Spy(pb.BootstrapBase):
    """The attacker's bootstrap: remembers what it is sent, and passes it on."""

    def __init__(self, onward: pb.BootstrapStub | None = None) -> None:
        self.heard: list[object] = []
        self._onward = onward

    async def begin_peering(self, message: pb.BeginPeeringRequest) -> pb.BeginPeeringResponse:
        self.heard.append(message)
        assert self._onward is not None
        return await self._onward.begin_peering(message, timeout=60)

    async def peer(self, message: pb.PeerRequest) -> pb.PeerResponse:
        self.heard.append(message)
        assert self._onward is not None
        return await self._onward.peer(message, timeout=60)


@asynccontextmanager
async def bootstrap(spy: Spy, shown: Credentials) -> AsyncIterator[Address]:
    tls = server_context(shown, shown.trust(), client_certificates=False, alpn=("h2",))
    listener = TlsListener([spy], None, lambda: tls, REAL)
    try:
        yield await listener.listen(Address("127.0.0.1", 0))
    finally:
        await listener.shut(0.1)


@pytest.mark.parametrize("who", ["a CA of the same name", "user/home.alice/una", "bootstrap/old"])
async def test_who_stands_in_the_middle_of_peer_accept_gets_nothing(
    field: Field, tmp_path: Path, who: str
) -> None:
    """A stranger and an insider hear nothing at all; a stolen bootstrap's hearing is worth nothing."""
    alice = field.keys["alice"]
    if who.startswith("a CA"):
        shown = Keys.made("alice", "home.alice", tmp_path).operator
    else:
        shown = alice.issue(SpiffeId.parse(f"spiffe://home.alice/{who}"))
    code = invite_code.parse(
        field.houses["alice"].cli("peer", "invite", "home.bob").text.splitlines()[-1]
    )
    async with AsyncExitStack() as stack:
        gate = PeerGate(TrustStore({alice.domain: [alice.authority.certificate]}),
                        RevocationSet(), SystemClock())  # fmt: skip
        onward = LINKS.channel(code.addresses, credentials=None, gate=gate, expect=lambda _: True)
        await stack.enter_async_context(onward)
        spy = Spy(onward.stub(pb.BootstrapStub))
        where = await stack.enter_async_context(bootstrap(spy, shown))
        planted = replace(code, addresses=(where,)).encode()
        done = await asyncio.to_thread(
            field.houses["bob"].cli, "peer", "accept", planted, "--yes", check=False
        )
    assert done.code != 0
    assert uses_left(field, code.encode()) == 1
    if who.startswith("bootstrap"):
        told = [one for one in spy.heard if isinstance(one, pb.PeerRequest)]
        assert told, done.err
        assert not any(code.secret in bytes(one) for one in told)
    else:
        assert spy.heard == [], done.err


# --- floods ---------------------------------------------------------------------------------------


async def test_a_peer_that_floods_calls_is_told_to_wait_and_nobody_else_is(field: Field) -> None:
    request = pb.StatRequest(path="/shared/file")
    async with field.way("alice").channel(field.keys["bob"].operator) as channel:

        async def one() -> str:
            try:
                await raw_call(channel, "Files", "Stat", request, named(bo(field)))
            except CollectiveError as error:
                return error.code
            return "ok"

        got: set[str] = set()
        for _ in range(20):
            flood = asyncio.gather(*(one() for _ in range(80)))
            await asyncio.to_thread(field.houses["alice"].read, "/private/file")
            async with field.way("alice").channel(field.keys["carol"].operator) as other:
                cy = named(field.keys["carol"].user("cy"))
                with pytest.raises(PermissionDeniedError):  # and not BusyError
                    await raw_call(other, "Files", "Stat", request, cy)
            got |= set(await flood)
            if "busy" in got:
                break
    assert got == {"ok", "busy"}


async def test_a_peer_that_exchanges_again_and_again_is_told_to_wait(
    field: Field, tmp_path: Path
) -> None:
    """And of its bundles, each newer than the last, only some are taken up."""
    async with (
        mallory(field, tmp_path / "keys") as keys,
        field.way("alice").channel(keys.operator) as channel,
    ):
        taken: list[int] = []

        async def flood() -> None:
            for sequence in range(2, 500):
                word = peering_pb.PeerWord(bundle=message(keys.bundle(sequence)))
                answer = await raw_call(channel, "PeerLink", "Exchange", word)
                taken.append(answer.newest_of_yours)

        with pytest.raises(BusyError):
            await flood()
        assert taken[0] == 2
        assert len(set(taken)) < len(taken)
    field.houses["alice"].cli("peer", "remove", "home.mallory", "--yes")


def test_nothing_of_this_stands_in_the_logs_as_a_defect(field: Field) -> None:
    for cluster in field.houses.members.values():
        for service in cluster.services.values():
            assert "Traceback" not in service.log_text(), service.log_tail()
