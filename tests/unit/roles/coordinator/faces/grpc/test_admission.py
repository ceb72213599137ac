from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import cast

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from collective.core.errors import BusyError, ConflictError, PermissionDeniedError
from collective.core.ids import Domain, NodeId, SpiffeId
from collective.core.paths import FilePath
from collective.federation.links.peer_call_limits import CALLS_MAX, PeerCallLimits
from collective.federation.links.tallies import PeerTallies
from collective.federation.peers.peer_book import PeerBook
from collective.member.metrics import MemberMetrics, cluster_health
from collective.member.nodes.unknown_nodes import UnknownNodes
from collective.member.trust.certificates_seen import CertificatesSeen
from collective.model.status import ChunkHealth, Totals
from collective.pki.certificates import Certified
from collective.roles.coordinator.faces.grpc.admission import Admission
from collective.rpc.headers import PRINCIPAL_KEY
from collective.rpc.server import context
from tests.unit.member.cluster import DOMAIN, OWN, USER, World, no_nodes, report
from tests.unit.member.farm import Scene, scene

BOBS = SpiffeId.parse("spiffe://garage.bob/coordinator")
BOB = SpiffeId.parse("spiffe://garage.bob/user/garage.bob/bob")


def speak_as(
    identity: SpiffeId,
    told: Mapping[str, str] | None = None,
    method: str = "/collective.v1.files.Files/Stat",
) -> None:
    peer = Certified(identity, "01", 0.0, 4e9, (), key_digest=b"k" * 32)
    context.enter(context.CallContext(peer, "r1", method, dict(told or {})))


@pytest.mark.parametrize(("identity", "operator"), [(USER, False), (OWN, True)])
async def test_the_certificate_says_who_calls(
    tmp_path: Path, identity: SpiffeId, operator: bool
) -> None:
    async with scene(tmp_path) as here:
        speak_as(identity)
        async with here.admission().call("stat", "/x") as caller:
            assert (caller.principal, caller.is_operator) == (identity, operator)
            assert caller.request_id == "r1"


@pytest.mark.parametrize(
    ("identity", "told", "actor", "why"),
    [
        (SpiffeId.node(DOMAIN, NodeId("a")), {}, None, "role node"),
        (SpiffeId.bootstrap(DOMAIN, "b"), {}, None, "role bootstrap"),
        (BOB, {}, None, "people of garage.bob through their own coordinator only"),
        (BOBS, {}, None, "garage.bob is no peer here"),
        (BOBS, {PRINCIPAL_KEY: str(BOB)}, f"{BOB}, by {BOBS}", "garage.bob is no peer here"),
    ],
)
async def test_a_certificate_of_another_role_or_member_used_as_client_is_refused_and_audited(
    tmp_path: Path, identity: SpiffeId, told: Mapping[str, str], actor: str | None, why: str
) -> None:
    async with scene(tmp_path) as here:
        speak_as(identity, told)
        calls = here.admission()
        with pytest.raises(PermissionDeniedError, match=re.escape(why)) as refused:
            async with calls.call("stat", "/x"):
                raise AssertionError("not reached")
        here.refusals().call(context.current(), refused.value)
        rows = await here.catalog.audit.list(since_ms=0, limit=100)
        assert any(row.actor == (actor or str(identity)) and row.target == "/x" for row in rows)


class Peers:
    """Bob is a peer until a test says otherwise."""

    is_there = True
    all: Mapping[Domain, object] = {}

    def watch(self, _: object) -> None:
        """Change unseen."""

    def is_peer(self, domain: Domain) -> bool:
        return self.is_there and domain == "garage.bob"


def peered(here: Scene) -> tuple[Admission, Peers]:
    """Return the admission of a member with one peer."""
    peers, clock = Peers(), here.world.clock
    book = cast("PeerBook", peers)
    call_limits = PeerCallLimits(book, PeerTallies(book), clock)
    return Admission(DOMAIN, here.metrics, clock, call_limits), peers


async def test_a_peers_coordinator_calls_for_its_person_who_is_judged(tmp_path: Path) -> None:
    async with scene(tmp_path) as here:
        calls, _ = peered(here)
        speak_as(BOBS, {PRINCIPAL_KEY: str(BOB)})
        async with calls.call("stat", "/x") as call:
            assert (call.principal, call.is_operator, call.via) == (BOB, False, "garage.bob")
            assert (call.carrier, call.holder, call.key_digest) == (BOBS, BOBS, b"")
            assert call.request_id == "r1"


@pytest.mark.parametrize(
    "told",
    [
        "spiffe://home.alice/user/home.alice/ann",
        "spiffe://home.alice/coordinator",
        "spiffe://home.carol/user/home.carol/dan",
        "spiffe://garage.bob/coordinator",
        "spiffe://garage.bob/node/n1",
        "spiffe://garage.bob/bootstrap/edge",
        "spiffe://garage.bob/user/",
        "spiffe://garage.bob.evil/user/garage.bob/eve",
        "eve@garage.bob",
        "x" * 100_000,
        "",
    ],
)
async def test_a_peer_speaks_for_its_own_people_and_for_nobody_else(
    tmp_path: Path, told: str
) -> None:
    async with scene(tmp_path) as here:
        calls, _ = peered(here)
        speak_as(BOBS, {PRINCIPAL_KEY: told})
        with pytest.raises(PermissionDeniedError):
            async with calls.call("stat", "/x"):
                raise AssertionError("not reached")
        assert len(context.current().subject.principal) <= 512


@pytest.mark.parametrize(
    "service",
    ["identities.Identities", "peering.Peers", "streams.Streams", "nodes.Nodes", "invites.Invites"],
)
async def test_a_peer_may_call_what_is_about_files_and_nothing_else(
    tmp_path: Path, service: str
) -> None:
    async with scene(tmp_path) as here:
        calls, _ = peered(here)
        speak_as(BOBS, {PRINCIPAL_KEY: str(BOB)}, method=f"/collective.v1.{service}/Any")
        with pytest.raises(PermissionDeniedError, match="Peers may not call"):
            async with calls.call("any", "/x"):
                raise AssertionError("not reached")


async def test_a_header_that_names_somebody_means_nothing_of_this_members_own(
    tmp_path: Path,
) -> None:
    async with scene(tmp_path) as here:
        calls, _ = peered(here)
        speak_as(USER, {PRINCIPAL_KEY: str(OWN)})
        async with calls.call("stat", "/x") as call:
            assert (call.principal, call.is_operator, call.via) == (USER, False, None)


async def test_calls_of_a_peer_take_a_place_until_they_end_however_they_end(
    tmp_path: Path,
) -> None:
    async with scene(tmp_path) as here:
        calls, _ = peered(here)
        speak_as(BOBS, {PRINCIPAL_KEY: str(BOB)})
        for _ in range(3):
            async with AsyncExitStack() as stack:
                for _ in range(CALLS_MAX):
                    await stack.enter_async_context(calls.call("stat", "/x"))
                with pytest.raises(BusyError):
                    await stack.enter_async_context(calls.call("stat", "/x"))
                calls.peer("exchange")
            with pytest.raises(ConflictError):
                async with calls.call("stat", "/x"):
                    raise ConflictError("as it went")


async def test_only_a_coordinator_of_a_peer_exchanges_with_this_one(tmp_path: Path) -> None:
    async with scene(tmp_path) as here:
        calls, peers = peered(here)
        speak_as(BOBS)
        assert calls.peer("exchange") == "garage.bob"
        for other in (OWN, USER, BOB, SpiffeId.parse("spiffe://garage.bob/node/n1")):
            speak_as(other)
            with pytest.raises(PermissionDeniedError, match="Only coordinators of peers"):
                calls.peer("exchange")
        peers.is_there = False
        speak_as(BOBS)
        with pytest.raises(PermissionDeniedError, match="no peer here"):
            calls.peer("exchange")


async def test_a_certificate_that_does_not_count_is_refused_at_its_first_call(
    tmp_path: Path,
) -> None:
    """As one signed offline, of an identity that an invite gave to another key."""

    class Claimed:
        async def see(self, *_: object) -> None:
            raise ConflictError("claimed by an invite")

    async with scene(tmp_path) as here:
        speak_as(USER)
        certificates_seen = CertificatesSeen(DOMAIN, Claimed())
        calls = here.admission(certificates_seen)
        for _ in range(2):
            with pytest.raises(PermissionDeniedError, match="claimed"):
                async with calls.call("stat", "/x"):
                    raise AssertionError("not reached")


async def test_a_bootstrap_signed_offline_is_known_once_it_asks_which_cas_count(
    tmp_path: Path,
) -> None:
    """The end of an old CA waits for those that are known."""
    bootstrap = SpiffeId.bootstrap(DOMAIN, "edge")
    async with scene(tmp_path) as here:
        certificates_seen = CertificatesSeen(DOMAIN, here.catalog.certificates)
        calls = here.admission(certificates_seen)
        speak_as(bootstrap)
        assert (await calls.own()).identity == bootstrap
        assert bootstrap in await here.catalog.certificates.holders()
        speak_as(SpiffeId.parse("spiffe://garage.bob/bootstrap/edge"))
        with pytest.raises(PermissionDeniedError, match="of this member only"):
            await calls.own()


def test_metrics_have_the_names_of_the_spec() -> None:
    registry = CollectorRegistry()
    world = World()
    metrics = MemberMetrics(registry, "alice", world.table, UnknownNodes(world.clock))
    world.table.refuse(NodeId("c"), "it is another store.")
    world.table.heard(NodeId("a"), report("a", used=10))
    metrics.totals(Totals(1, 2, ChunkHealth(3, 1, 0, (FilePath(),))))
    metrics.operation("read", "ok", 0.1)
    text = generate_latest(registry).decode()
    for line in (
        "# TYPE collective_nodes_total untyped",
        'collective_nodes_total{member="alice"} 2.0',
        'collective_nodes{member="alice",state="refused"} 1.0',
        'collective_cluster_health{member="alice"} 0.5',
        'collective_storage_capacity_bytes{member="alice"} 3.221225472e+09',
        'collective_storage_used_bytes{member="alice"} 10.0',
        'collective_file_operations_total{member="alice",operation="read",result="ok"} 1.0',
    ):
        assert line in text


def test_the_certificate_of_a_node_that_was_removed_is_shown_no_more() -> None:
    registry = CollectorRegistry()
    metrics = MemberMetrics(registry, "alice", *no_nodes())
    metrics.certificate("spiffe://home.alice/coordinator", 5.0)
    metrics.certificates({"spiffe://home.alice/coordinator": 5.0, "n1": 6.0, "ca, next": 7.0})
    metrics.certificates({"spiffe://home.alice/coordinator": 5.0, "n2": 8.0})
    text = generate_latest(registry).decode()
    assert 'identity="n2"' in text
    assert 'identity="n1"' not in text
    assert "ca, next" not in text
    metrics.certificates({})
    assert "home.alice/coordinator" not in generate_latest(registry).decode()


def test_cluster_health_is_the_worst_that_is_true() -> None:
    assert cluster_health(ChunkHealth(3, 0, 0, ())) == 1.0
    assert cluster_health(ChunkHealth(3, 1, 0, ())) == 0.5
    assert cluster_health(ChunkHealth(3, 1, 1, ())) == 0.0
