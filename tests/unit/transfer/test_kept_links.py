"""Whose turn it is on full connections, and that no connection that hangs, fails or ends holds up the others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Final

import pytest

from collective.core.errors import (
    BusyError,
    InternalError,
    RejectedError,
    UnreachableError,
)
from collective.core.ids import Domain, NodeId, SpiffeId
from collective.core.units import Address
from collective.rpc.links import Keeper, ProtocolFactory
from collective.transfer.stream import kept_links
from collective.transfer.stream.connection import ChunkConnection
from collective.transfer.stream.frames import Frame, FrameFlag, FrameType
from collective.transfer.stream.kept_links import KeptLinks, LinkLimits
from collective.transfer.stream.link import FOREIGN_EXCHANGES_MAX, Link

from .memory import MemoryTransport, Overheard, Silent, connect

pytestmark = pytest.mark.virtual_time

HOME: Final = Domain("studio.carol")
NODE: Final = SpiffeId.node(Domain("home.alice"), NodeId("a"))
"""Of another member: 16 exchanges on a connection."""
MOST: Final = FOREIGN_EXCHANGES_MAX
LIMITS: Final = LinkLimits(connections_per_peer=2, crowded_at_requests=4, dial_s=0.4)
WHERE: Final = (Address("node-a", 1),)

Place = tuple[Link, int]


class FakeDialer:
    """Connects at once, unless it is told what becomes of the next connections."""

    def __init__(self) -> None:
        self.generation = 0
        self.dials: list[tuple[Address, ...]] = []
        self.next: list[Exception | asyncio.Event | str] = []
        """An error: refused; an event: waits for it; "ends": closed as soon as it is open; "mute":
        the other end says nothing."""
        self.ends: list[tuple[MemoryTransport, MemoryTransport]] = []

    def attach(self, keeper: Keeper) -> None:
        pass

    async def dial(
        self,
        peer: SpiffeId,
        addresses: Sequence[Address],
        factory: ProtocolFactory,
    ) -> None:
        self.dials.append(tuple(addresses))
        fate = self.next.pop(0) if self.next else None
        await asyncio.sleep(0)
        if isinstance(fate, Exception):
            raise fate
        if isinstance(fate, asyncio.Event):
            await fate.wait()
        ours, theirs = factory(), ChunkConnection()
        theirs.handler = Silent()
        assert isinstance(ours, asyncio.BufferedProtocol)
        self.ends.append(connect(ours, theirs))
        if fate == "mute":
            self.ends[-1][1].stuck = True
        if fate == "ends":
            self.ends[-1][0].abort()
            await asyncio.sleep(0)


@pytest.fixture
def dialer() -> FakeDialer:
    return FakeDialer()


@pytest.fixture
async def links(dialer: FakeDialer) -> AsyncIterator[KeptLinks]:
    kept = KeptLinks(dialer, home=HOME, limits=LIMITS)
    yield kept
    await kept.close()


async def enter(links: KeptLinks, exchange: Overheard | None = None) -> Place:
    return await links.enter(NODE, WHERE, exchange or Overheard())


def leave(place: Place, *, over: bool = True) -> None:
    link, request_id = place
    link.leave(request_id, over=over)


def now_s() -> float:
    return asyncio.get_running_loop().time()


async def settle() -> None:
    for _ in range(30):
        await asyncio.sleep(0)


async def filled(links: KeptLinks, count: int = 2 * MOST) -> list[Place]:
    return [await enter(links) for _ in range(count)]


async def test_two_connections_are_opened_and_filled_evenly(
    links: KeptLinks, dialer: FakeDialer
) -> None:
    places = await filled(links)
    assert len(dialer.dials) == 2
    assert sorted(len(link) for link in {link for link, _ in places}) == [MOST, MOST]


async def test_those_who_wait_are_served_in_turn_and_passed_by_no_newcomer(
    links: KeptLinks,
) -> None:
    places = await filled(links)
    order: list[int] = []

    async def waits(number: int) -> None:
        await enter(links)
        order.append(number)

    waiting = [asyncio.create_task(waits(number)) for number in range(3)]
    await settle()
    newcomer = asyncio.create_task(waits(3))  # it runs before the first of those is served
    leave(places.pop())
    await settle()
    assert order == [0]
    for place in places[:3]:
        leave(place)
        await settle()
    await asyncio.gather(*waiting, newcomer)
    assert order == [0, 1, 2, 3]


async def test_one_that_gives_up_loses_nothing_for_those_behind_it(links: KeptLinks) -> None:
    places = await filled(links)
    first, second, third = (asyncio.create_task(enter(links)) for _ in range(3))
    await settle()
    second.cancel()
    leave(places.pop())
    await asyncio.sleep(0)  # the first has its place, and has not run yet
    first.cancel()
    await settle()
    assert first.cancelled()
    assert second.cancelled()
    link, _ = await third
    assert len(link) == MOST, "the place that was given up was given on"


async def test_a_further_connection_that_hangs_holds_nobody_up(
    links: KeptLinks, dialer: FakeDialer
) -> None:
    await filled(links, 4)
    dialer.next = [asyncio.Event()]
    waits_s: list[float] = []

    async def works() -> None:
        for _ in range(20):
            began_s = now_s()
            place = await enter(links)
            waits_s.append(now_s() - began_s)
            await asyncio.sleep(0)
            leave(place)

    await asyncio.gather(*(works() for _ in range(8)))
    assert len(waits_s) == 160
    assert len(dialer.dials) == 2
    assert max(waits_s) < 2 * kept_links.ANOTHER_S
    assert sum(waits_s) < 8 * 2 * kept_links.ANOTHER_S, "each waited once"


async def test_dials_that_take_long_do_not_add_up(links: KeptLinks, dialer: FakeDialer) -> None:
    slow = [asyncio.Event() for _ in range(2)]
    dialer.next = [*slow]
    asyncio.get_running_loop().call_later(0.2, slow[0].set)
    asyncio.get_running_loop().call_later(0.4, slow[1].set)
    began_s = now_s()
    await asyncio.gather(*(enter(links) for _ in range(MOST)))
    assert now_s() - began_s < 0.4


@pytest.mark.parametrize("refused", [UnreachableError("Full."), RejectedError("Somebody else.")])
async def test_a_further_connection_that_is_refused_is_not_asked_for_again_at_once(
    links: KeptLinks, dialer: FakeDialer, refused: Exception
) -> None:
    places = await filled(links, 4)
    dialer.next = [refused]
    places += await filled(links, MOST - 4)
    waiting = [asyncio.create_task(enter(links)) for _ in range(5)]
    await settle()
    assert not any(one.done() for one in waiting), "a full connection is no error"
    for place in places:
        leave(place)
    await asyncio.gather(*waiting)
    assert len(dialer.dials) == 2


async def test_a_further_connection_is_asked_for_again_after_a_while(
    links: KeptLinks, dialer: FakeDialer
) -> None:
    await filled(links, 4)
    dialer.next = [UnreachableError("Full.")]
    await filled(links, 2)
    await asyncio.sleep(kept_links.ANOTHER_AGAIN_S / 2)
    await filled(links, 2)
    assert len(dialer.dials) == 2
    await asyncio.sleep(kept_links.ANOTHER_AGAIN_S / 2)
    await filled(links, 2)
    assert len(dialer.dials) == 3


async def test_a_further_connection_that_ends_as_soon_as_it_is_open_takes_no_exchange(
    links: KeptLinks, dialer: FakeDialer
) -> None:
    """By TLS 1.3 a server refuses a client after the client believes to be connected."""
    [(first, _), *_] = await filled(links, 4)
    dialer.next = ["ends"] * 9
    for _ in range(10):
        exchange = Overheard()
        place = await enter(links, exchange)
        await settle()
        assert place[0] is first
        assert exchange.error is None
        leave(place)
    assert len(dialer.dials) == 2


async def test_a_further_connection_that_says_nothing_takes_no_exchange(
    links: KeptLinks, dialer: FakeDialer
) -> None:
    [(first, _), *_] = await filled(links, 4)
    dialer.next = ["mute"]
    places = await filled(links, MOST - 4)
    assert {link for link, _ in places} == {first}
    await asyncio.sleep(LIMITS.dial_s)
    assert dialer.ends[1][0].is_closing()


async def test_all_who_wait_for_the_only_connection_hear_why_there_is_none(
    links: KeptLinks, dialer: FakeDialer
) -> None:
    dialer.next = [asyncio.Event()]
    began_s = now_s()
    found = await asyncio.gather(
        *(enter(links) for _ in range(3 * MOST)), links.reach(NODE, WHERE), return_exceptions=True
    )
    assert {type(one) for one in found} == {UnreachableError}
    assert now_s() - began_s == pytest.approx(LIMITS.dial_s)
    assert len(dialer.dials) == 1
    for error in (RejectedError("Somebody else."), ValueError("a fault of ours")):
        dialer.next = [error]
        both = await asyncio.gather(enter(links), enter(links), return_exceptions=True)
        assert all(one is error for one in both)
    await enter(links)
    assert len(dialer.dials) == 4


async def test_a_silent_peer_fails_those_who_wait_once_its_connections_are_in_doubt(
    links: KeptLinks, dialer: FakeDialer
) -> None:
    places = await filled(links)
    for ours, theirs in dialer.ends:
        ours.stuck = theirs.stuck = True
    waiting = [asyncio.create_task(enter(links)) for _ in range(MOST)]
    await settle()
    dialer.next = [asyncio.Event()]
    for place in places:
        leave(place, over=False)  # each has waited for long enough
    found = await asyncio.gather(*waiting, return_exceptions=True)
    assert {type(one) for one in found} == {UnreachableError}


async def test_a_doubt_that_ends_lets_those_who_wait_begin(
    links: KeptLinks, dialer: FakeDialer
) -> None:
    places = await filled(links, MOST + 4)
    dialer.next = [asyncio.Event()]
    for _, theirs in dialer.ends:
        theirs.stuck = True
    for place in places[:2] + places[-1:]:
        leave(place, over=False)
    waiting = asyncio.create_task(enter(links))
    await asyncio.sleep(LIMITS.dial_s / 2)
    assert not waiting.done()
    for _, theirs in dialer.ends:
        theirs.unstick()
    began_s = now_s()
    await waiting
    assert now_s() - began_s < LIMITS.dial_s / 2, "nobody waited for the end of the dial"


async def test_a_doubt_that_is_fresh_is_waited_for_where_no_other_connection_can_be_opened(
    links: KeptLinks, dialer: FakeDialer
) -> None:
    [place, *_] = await filled(links, 4)
    _, theirs = dialer.ends[0]
    theirs.stuck = True
    leave(place, over=False)
    dialer.next = [UnreachableError("Full.")] * 9
    waiting = asyncio.create_task(enter(links))
    await asyncio.sleep(LIMITS.dial_s / 2)
    theirs.unstick()
    link, _ = await waiting
    assert link is place[0]
    theirs.stuck = True
    leave((link, 1), over=False)
    leave((link, 2), over=False)
    began_s = now_s()
    with pytest.raises(UnreachableError, match="Full"):
        await enter(links)
    assert now_s() - began_s < 2 * LIMITS.dial_s + 1
    assert len(dialer.dials) < 5


async def test_no_room_for_long_is_busy_unless_others_move(links: KeptLinks) -> None:
    places = await filled(links)
    began_s = now_s()
    with pytest.raises(BusyError, match="Too much is under way"):
        await enter(links)
    assert now_s() - began_s == pytest.approx(kept_links.ROOM_S, rel=0.02)
    waiting = asyncio.create_task(enter(links))
    for _ in range(5):
        await asyncio.sleep(0.9 * kept_links.ROOM_S)
        link, request_id = places[0]
        link.moved(request_id)
        assert not waiting.done()
    leave(places.pop())
    await waiting


async def test_one_that_waits_hears_of_what_others_move(links: KeptLinks) -> None:
    places = await filled(links)
    one = Overheard()
    waiting = asyncio.create_task(enter(links, one))
    await settle()
    link, request_id = places[0]
    link.moved(request_id)
    assert one.neighbours_moved == 1
    await asyncio.sleep(1)
    link.frame_begun(Frame(FrameType.GET_RESULT, request_id, FrameFlag.NONE, 0, 0), b"")
    assert one.neighbours_moved == 2, "an answer is a sign of life, too"
    waiting.cancel()


async def test_a_full_connection_is_reached(links: KeptLinks, dialer: FakeDialer) -> None:
    await filled(links)
    link = await links.reach(NODE, WHERE)
    assert link.connection.open
    assert len(dialer.dials) == 2


async def test_a_peer_that_ends_every_connection_is_not_asked_for_ever(
    links: KeptLinks, dialer: FakeDialer
) -> None:
    dialer.next = ["ends"] * 9
    found = await asyncio.gather(
        enter(links), enter(links), links.reach(NODE, WHERE), return_exceptions=True
    )
    assert all("ends every connection" in str(one) for one in found)
    assert len(dialer.dials) == 3


async def test_a_connection_that_was_heard_long_ago_hides_no_refusals(
    links: KeptLinks, dialer: FakeDialer
) -> None:
    """As after a lost NAT entry: the peer still counts a connection on which nothing comes any more."""
    [place, *_] = await filled(links, 4)
    await place[0].connection.heard(1)
    dialer.ends[0][1].stuck = True
    leave(place, over=False)
    dialer.next = ["ends"] * 99
    began_s = now_s()
    with pytest.raises(UnreachableError, match="ends every connection"):
        await enter(links)
    assert now_s() - began_s < 2 * LIMITS.dial_s
    assert len(dialer.dials) == 4


async def test_a_fresh_doubt_outlasts_refusals(links: KeptLinks, dialer: FakeDialer) -> None:
    [place, *_] = await filled(links, 4)
    dialer.ends[0][1].stuck = True
    leave(place, over=False)
    dialer.next = ["ends"] * 99
    waiting = asyncio.create_task(enter(links))
    await asyncio.sleep(LIMITS.dial_s / 2)
    assert not waiting.done()
    dialer.ends[0][1].unstick()
    link, _ = await waiting
    assert link is place[0]
    assert len(dialer.dials) == 4


async def test_a_lost_connection_makes_room_by_another(
    links: KeptLinks, dialer: FakeDialer
) -> None:
    places = await filled(links)
    waiting = asyncio.create_task(enter(links))
    await settle()
    dialer.ends[0][0].abort()
    link, _ = await waiting
    assert link is not places[0][0]
    assert len(dialer.dials) == 3


async def test_each_caller_hears_of_its_own_addresses_only(
    links: KeptLinks, dialer: FakeDialer
) -> None:
    moved = (Address("elsewhere", 2),)
    hangs = asyncio.Event()
    dialer.next = [hangs]
    former = [asyncio.create_task(enter(links)) for _ in range(2)]
    await settle()
    newer = asyncio.create_task(links.enter(NODE, moved, Overheard()))
    found = await asyncio.gather(*former, return_exceptions=True)
    assert {type(one) for one in found} == {UnreachableError}
    await newer
    assert dialer.dials == [WHERE, moved]


async def test_a_connection_that_nobody_uses_is_closed_in_a_while(
    links: KeptLinks, dialer: FakeDialer
) -> None:
    hangs = asyncio.Event()
    dialer.next = [hangs]
    gives_up = asyncio.create_task(enter(links))
    await settle()
    gives_up.cancel()
    hangs.set()
    await settle()
    assert not dialer.ends[0][0].is_closing()
    await asyncio.sleep(LIMITS.idle_s)
    assert dialer.ends[0][0].is_closing()


async def test_a_healthy_connection_is_not_closed_to_make_room_for_another(
    links: KeptLinks, dialer: FakeDialer
) -> None:
    doubted = []
    for _ in range(3):
        places = await filled(links, 4)
        dialer.ends[-1][1].stuck = True
        doubted.append(places[0][0])
        for _ in range(3):
            doubted[-1].enter(Overheard())
        leave(places[0], over=False)
    [place, *_] = await filled(links, 4)
    kept = links._peers[NODE]
    kept._links.sort(key=lambda link: link is not place[0])  # the eldest
    exchanges = [Overheard() for _ in range(MOST)]
    for exchange in exchanges:
        await enter(links, exchange)
    assert place[0].connection.open
    assert not any(exchange.error for exchange in exchanges)
    assert [link.connection.open for link in doubted].count(False) == 1


async def test_whoever_waits_hears_that_the_client_is_closed(
    links: KeptLinks, dialer: FakeDialer
) -> None:
    await filled(links)
    other = SpiffeId.node(HOME, NodeId("b"))
    waiting: list[asyncio.Task[object]] = [asyncio.create_task(enter(links)) for _ in range(3)]
    dialer.next = [asyncio.Event()]
    waiting.append(asyncio.create_task(links.reach(other, WHERE)))
    waiting.append(asyncio.create_task(links.enter(other, WHERE, Overheard())))
    await settle()
    await links.close()
    found = await asyncio.gather(*waiting, return_exceptions=True)
    assert {(type(one), str(one)) for one in found} == {
        (UnreachableError, "This client is closed; open another.")
    }
    for late in (enter(links), links.reach(NODE, WHERE)):
        with pytest.raises(UnreachableError, match="is closed"):
            await late
    assert len(dialer.dials) == 3


async def test_peers_without_a_connection_are_forgotten(
    links: KeptLinks, dialer: FakeDialer
) -> None:
    for number in range(5):
        node = SpiffeId.node(HOME, NodeId(f"n{number}"))
        dialer.next = [InternalError("No.")]
        with pytest.raises(InternalError):
            await links.enter(node, WHERE, Overheard())
    assert len(links._peers) == 1


def test_the_wait_for_a_dial_is_shorter_than_a_dial() -> None:
    dial_s = LinkLimits().dial_s
    assert kept_links.ANOTHER_S < dial_s < kept_links.ANOTHER_AGAIN_S
    assert dial_s < kept_links.ROOM_S
