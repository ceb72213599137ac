"""A peer's files: named below /@DOMAIN here, judged there in the caller's name, and believed no further."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, cast

import pytest

from collective.core.clock import ManualClock
from collective.core.errors import ConflictError, NotFoundError, RejectedError
from collective.core.ids import ChunkId, Domain, LeaseId, LeaseKey, SpiffeId, UploadId, UploadKey
from collective.core.paths import FilePath
from collective.core.units import Address
from collective.federation.files.relayed_routes import RelayedRoutes
from collective.federation.files.remote_member import RemoteMember
from collective.federation.files.remote_members import RemoteMembers
from collective.federation.links.peer_link import PeerLink
from collective.federation.links.peer_links import PeerLinks
from collective.model.calls import Call
from collective.model.entries import EntryKind
from collective.model.routes import Route, RouteMode
from collective.model.writing import Attributes, Precondition
from collective.rpc.gen.collective.v1 import Entry, files, reads, transfer, uploads
from collective.rpc.gen.collective.v1 import EntryKind as KindMessage
from collective.rpc.headers import PRINCIPAL_KEY
from collective.transfer.tickets.key_ring import KeyRing
from tests.roots import Roots
from tests.unit.pki.bundles import CAROL
from tests.unit.pki.forge import ALICE, BOB

OURS: Final = SpiffeId.coordinator(ALICE)
ANNA: Final = SpiffeId.parse("spiffe://home.alice/user/home.alice/anna")
CALL: Final = Call(ANNA, is_operator=False)
CARRIED: Final = CALL._replace(carrier=OURS)
KEY: Final = "ab" * 16
UPLOAD, LEASE = UploadId(UploadKey(KEY), BOB), LeaseId(LeaseKey(KEY), BOB)
CHUNK: Final = ChunkId(b"c" * 32)


class Owner:
    """The peer's coordinator: remembers what it was asked, by whom, and answers what a test says."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.principals: set[Any] = set()
        self.answers: dict[str, Any] = {}

    def __getattr__(self, name: str) -> Any:
        async def method(message: Any, *, metadata: Any = None, **_: Any) -> Any:
            self.asked.append(message)
            self.principals.add(dict(metadata or {}).get(PRINCIPAL_KEY))
            return self.answers[name]

        return method


class Line:
    """A link that lends one channel."""

    domain, identity = BOB, SpiffeId.coordinator(BOB)
    addresses = (Address("10.0.0.2", 1),)

    def __init__(self, owner: Owner) -> None:
        self.owner, self.calls, self.under_way = owner, 0, 0

    @asynccontextmanager
    async def call(self, within_s: float) -> Any:
        self.calls += 1
        self.under_way += 1
        try:
            yield self, within_s
        finally:
            self.under_way -= 1

    def stub(self, _: type) -> Owner:
        return self.owner


class World:
    def __init__(self) -> None:
        self.owner = Owner()
        self.line = Line(self.owner)
        self.asked_for: list[tuple[str, str]] = []
        self.member = RemoteMember(
            cast("PeerLink", self.line), cast("RelayedRoutes", self), ManualClock()
        )

    def of(
        self, call: Call, routes: Sequence[Route], operation: Any, chunk: ChunkId, transfer: str
    ) -> Sequence[Route]:
        assert chunk == CHUNK
        self.asked_for.append((operation.value, transfer))
        return routes


def path(text: str) -> FilePath:
    return FilePath.parse(text)


def entry(text: str, kind: KindMessage = KindMessage.FILE) -> Entry:
    return Entry(path=text, kind=kind)


async def test_a_name_is_the_owners_without_its_domain_and_here_with_it() -> None:
    world = World()
    world.owner.answers["stat"] = entry("/a/b")
    found = await world.member.names.stat(CALL, path("/@garage.bob/a/b"))
    assert str(found.path) == "/@garage.bob/a/b"
    assert [one.path for one in world.owner.asked] == ["/a/b"]
    assert world.owner.principals == {str(ANNA)}
    world.owner.answers["stat"] = entry("/", KindMessage.DIRECTORY)
    found = await world.member.names.stat(CALL, path("/@garage.bob"))
    assert (str(found.path), found.kind) == ("/@garage.bob", EntryKind.PEER)
    assert (world.line.calls, world.line.under_way) == (2, 0)


async def test_a_page_and_both_names_of_a_move_are_the_owners() -> None:
    world = World()
    world.owner.answers["list"] = files.ListResponse(
        entries=[entry("/a/x"), entry("/a/y")], next_page_token="t"
    )
    page = await world.member.names.list(
        CALL, path("/@garage.bob/a"), recursive=True, page_size=9, token="s"
    )
    assert [str(one.path) for one in page.entries] == ["/@garage.bob/a/x", "/@garage.bob/a/y"]
    assert page.next_token == "t"
    world.owner.answers["move"] = entry("/c")
    moved = await world.member.names.move(
        CALL, path("/@garage.bob/b"), path("/@garage.bob/c"), condition=Precondition()
    )
    assert str(moved.path) == "/@garage.bob/c"
    asked = world.owner.asked[-1]
    assert (asked.source, asked.destination) == ("/b", "/c")


async def test_a_call_that_came_from_a_peer_is_not_passed_on() -> None:
    world = World()
    forwarded = CALL._replace(via=CAROL)
    for refused in (
        world.member.names.stat(forwarded, path("/@garage.bob/a")),
        world.member.uploads.abort_upload(forwarded, UPLOAD),
        world.member.reads.close_reads(forwarded, [LEASE]),
    ):
        with pytest.raises(ConflictError, match="no further"):
            await refused
    assert (world.owner.asked, world.line.calls) == ([], 0)


@pytest.mark.parametrize(
    ("call", "asked", "mode"),
    [
        (CALL, RouteMode.DIRECT, transfer.RouteMode.DIRECT),
        (CALL, RouteMode.RELAY, transfer.RouteMode.RELAY),
        (CARRIED, RouteMode.DIRECT, transfer.RouteMode.RELAY),
    ],
)
async def test_what_our_coordinator_carries_goes_through_the_peers(
    call: Call, asked: RouteMode, mode: transfer.RouteMode
) -> None:
    """The peer's nodes know our people, and not our coordinator."""
    world = World()
    world.owner.answers["allocate_chunks"] = uploads.AllocateChunksResponse()
    await world.member.uploads.allocate(call, UPLOAD, [], mode=asked)
    world.owner.answers["plan_read"] = reads.PlanReadResponse()
    await world.member.reads.plan_read(call, LEASE, offset=0, length=1, mode=asked)
    assert [one.mode for one in world.owner.asked] == [mode, mode]
    assert world.owner.principals == {str(ANNA)}


async def test_an_upload_or_a_lease_of_another_member_is_refused() -> None:
    """Calls about it would go there, in this caller's name."""
    world = World()
    for domain in ("home.alice", "home.carol"):
        world.owner.answers["open_upload"] = uploads.OpenUploadResponse(upload_id=f"{KEY}@{domain}")
        with pytest.raises(RejectedError, match=f"an upload of {domain}"):
            await world.member.uploads.open_upload(
                CALL,
                path("/@garage.bob/a"),
                Attributes(),
                Precondition(),
                [],
                mode=RouteMode.DIRECT,
            )
        world.owner.answers["open_read"] = reads.OpenReadResponse(
            lease_id=f"{KEY}@{domain}", entry=entry("/a")
        )
        with pytest.raises(RejectedError, match=f"a lease of {domain}"):
            await world.member.reads.open_read(
                CALL, path("/@garage.bob/a"), offset=0, length=0, mode=RouteMode.DIRECT
            )


async def test_routes_of_both_ways_are_made_usable_under_the_transfers_id() -> None:
    world = World()
    route = transfer.Route(
        chunk_id=CHUNK,
        hops=[transfer.SignedTicket(body=b"t")],
        first_node="spiffe://garage.bob/node/n0",
        storing=["spiffe://garage.bob/node/n0"],
        stored_length=100,
    )
    world.owner.answers["open_upload"] = uploads.OpenUploadResponse(
        upload_id=f"{KEY}@{BOB}",
        plans=[uploads.ChunkPlan(chunk_id=CHUNK, routes=[route], quorum=1)],
    )
    opened = await world.member.uploads.open_upload(
        CALL, path("/@garage.bob/a"), Attributes(), Precondition(), [], mode=RouteMode.DIRECT
    )
    assert opened.id == UPLOAD
    extent = transfer.Extent(length=10, chunk_id=CHUNK, stored_length=100)
    world.owner.answers["plan_read"] = reads.PlanReadResponse(
        plans=[reads.ExtentPlan(extent=extent, routes=[route])]
    )
    await world.member.reads.plan_read(CALL, LEASE, offset=0, length=10, mode=RouteMode.DIRECT)
    assert world.asked_for == [("put", KEY), ("get", KEY)]


# --- every peer --------------------------------------------------------------------------------------


class Links:
    """Links that come and go."""

    def __init__(self) -> None:
        self.all: dict[Domain, Any] = {}

    def to(self, domain: Domain) -> Any:
        if domain not in self.all:
            raise NotFoundError(f"No peer {domain} is known here.")
        return self.all[domain]


def test_each_peer_has_files_while_it_is_one_and_others_once_it_peered_again() -> None:
    links, clock = Links(), ManualClock()
    ring = KeyRing(OURS, Roots(b"r" * 32), clock)
    members = RemoteMembers(OURS, (Address("h", 1),), ring, cast("PeerLinks", links), clock)
    assert members.domains() == ()
    links.all[BOB] = Line(Owner())
    first = members.files(BOB)
    assert members.files(BOB) is first
    assert members.domains() == (BOB,)
    links.all[BOB] = Line(Owner())
    assert members.files(BOB) is not first, "the link of before is closed"
    links.all.clear()
    with pytest.raises(NotFoundError):
        members.files(BOB)
