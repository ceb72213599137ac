"""The connection to one peer: who may wait on it, and what happens to calls when it changes under them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Any, Final, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collective.core.clock import ManualClock
from collective.core.errors import (
    BusyError,
    CollectiveError,
    OtherAuthorityError,
    PeeringEndedError,
    RejectedError,
    ShutOutError,
    UnreachableError,
    WrongTimeError,
)
from collective.core.units import Address
from collective.federation.links.peer_link import CALLS_MAX, WAITING_MAX, PeerLink
from collective.model.peers import Reach
from collective.rpc.links import Links, OwnCredentials
from tests.unit.member.alone import tallies
from tests.unit.pki.forge import BOB

HOME, AWAY = Address("10.0.0.2", 8001), Address("192.0.2.2", 8001)
GONE: Final = UnreachableError("No answer.")


class Channel:
    """A channel that does nothing but being open."""

    def __init__(self, addresses: Sequence[Address]) -> None:
        self.addresses = addresses
        self.is_open = True
        self.is_connected = True

    def close(self) -> None:
        self.is_open = False


class Lines:
    """Makes channels, and shows a certificate."""

    def __init__(self) -> None:
        self.made: list[Channel] = []
        self.expected = ""
        """Who must be at the other end of the last one."""

    credentials = gate = cast("Any", object())

    def attach(self, _: object) -> None:
        pass

    def channel(self, addresses: Sequence[Address], **how: Any) -> Channel:
        self.expected = str(how["expect"])
        self.made.append(Channel(addresses))
        return self.made[-1]

    @property
    def open(self) -> list[Channel]:
        return [one for one in self.made if one.is_open]


class World:
    def __init__(self) -> None:
        self.lines, self.clock = Lines(), ManualClock()
        self.link = PeerLink(
            BOB,
            (HOME,),
            cast("OwnCredentials", self.lines),
            cast("Links", self.lines),
            self.clock,
            tallies(),
        )

    async def hold(self, until: asyncio.Event) -> Channel:
        """Make a call that ends when it is told to; return its channel."""
        async with self.link.call(10.0) as (channel, _):
            await until.wait()
        return cast("Channel", channel)

    async def calls(self, count: int, until: asyncio.Event) -> list[asyncio.Task[Channel]]:
        tasks = [asyncio.create_task(self.hold(until)) for _ in range(count)]
        await settle()
        return tasks


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def ended(*tasks: asyncio.Task[Any]) -> list[Any]:
    return await asyncio.gather(*tasks, return_exceptions=True)


async def test_nothing_is_opened_before_the_first_call_and_one_channel_serves_all() -> None:
    world, end = World(), asyncio.Event()
    assert world.lines.made == []
    tasks = await world.calls(3, end)
    end.set()
    assert set(await ended(*tasks)) == set(world.lines.made)
    assert len(world.lines.open) == 1, "it is kept for the next call"
    assert world.lines.expected == "spiffe://garage.bob/coordinator"


async def test_calls_beyond_the_bound_wait_for_their_turn_and_beyond_that_are_refused() -> None:
    world, end = World(), asyncio.Event()
    tasks = await world.calls(CALLS_MAX + WAITING_MAX, end)
    with pytest.raises(BusyError, match="Too many calls wait"):
        await world.hold(end)
    with world.link.exchange():  # the exchange waits for no call
        pass
    end.set()
    assert not [one for one in await ended(*tasks) if isinstance(one, BaseException)]
    await world.hold(end)


@pytest.mark.virtual_time
async def test_a_call_that_waited_its_time_out_is_not_sent_and_leaves_its_place() -> None:
    world, end = World(), asyncio.Event()
    tasks = await world.calls(CALLS_MAX, end)
    with pytest.raises(BusyError, match=r"took all the 0\.5 s"):
        async with world.link.call(0.5):
            pytest.fail("it was sent")
    assert world.link._waiting == 0
    end.set()
    assert not [one for one in await ended(*tasks) if isinstance(one, BaseException)]


async def test_a_call_whose_time_had_passed_before_does_not_blame_other_calls() -> None:
    world = World()
    for within_s in (0.0, -1.0, 0.01):
        with pytest.raises(BusyError, match="No time was left"):
            async with world.link.call(within_s):
                pytest.fail("it was sent")
    assert world.lines.made == []


async def test_after_its_end_a_peer_is_not_away_but_none() -> None:
    world = World()
    world.link.failed(GONE)
    world.link.close()
    with pytest.raises(PeeringEndedError):
        async with world.link.call(1.0):
            pytest.fail("it was sent")


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (UnreachableError("No connection to 10.0.0.9:22: connection refused."), Reach.NOT_REACHED),
        (UnreachableError("No answer from 10.0.0.9:22 within 2 s."), Reach.NOT_REACHED),
        (RejectedError("10.0.0.9:22 is a node, not a coordinator."), Reach.NOT_REACHED),
        (ShutOutError(), Reach.NOT_REACHED),
        (OtherAuthorityError("Of another CA."), Reach.OTHER_AUTHORITY),
        (WrongTimeError("It has expired."), Reach.CLOCKS_DIFFER),
    ],
)
def test_a_peer_is_told_one_word_and_the_own_admin_all_of_it(
    error: CollectiveError, told: Reach
) -> None:
    link = World().link
    found = []
    for _ in range(2):
        link.failed(error)
        found.append(link.reach)
        assert link.health.why
    assert found == [None, told], "the first may come before its end of the peering is ready"
    link.answered(0.0)
    assert link.reach is Reach.REACHED
    link.failed(error)
    assert link.reach is told


async def test_a_call_has_for_itself_what_waiting_left_of_its_time() -> None:
    world, end = World(), asyncio.Event()
    tasks = await world.calls(CALLS_MAX, end)
    given: list[float] = []

    async def wait(within_s: float) -> None:
        async with world.link.call(within_s) as (_, left_s):
            given.append(left_s)

    waiting = [asyncio.create_task(wait(within_s)) for within_s in (10.0, 5.0)]
    await settle()
    world.clock.advance(6.0)
    end.set()
    answers = await ended(*waiting)
    assert given == [pytest.approx(4.0)]
    assert [type(one) for one in answers] == [type(None), BusyError]
    await ended(*tasks)
    async with world.link.call(3.0) as (_, left_s):
        assert left_s == pytest.approx(3.0)


async def test_one_that_is_cancelled_while_it_waits_leaves_its_place() -> None:
    world, end = World(), asyncio.Event()
    tasks = await world.calls(CALLS_MAX + WAITING_MAX, end)
    for task in tasks[CALLS_MAX:]:
        task.cancel()
    await settle()
    more = await world.calls(WAITING_MAX, end)
    end.set()
    answers = await ended(*tasks[:CALLS_MAX], *more)
    assert not [one for one in answers if isinstance(one, BaseException)]


async def test_calls_to_a_peer_that_is_away_fail_at_once_those_that_wait_too() -> None:
    world, end = World(), asyncio.Event()
    tasks = await world.calls(CALLS_MAX + 3, end)
    assert world.link.failed(GONE)
    assert world.lines.open == [], "those under way end with the connection"
    with pytest.raises(UnreachableError, match="is away since"):
        await world.hold(end)
    end.set()
    answers = await ended(*tasks)
    assert [isinstance(one, UnreachableError) for one in answers[CALLS_MAX:]] == [True] * 3
    world.link.answered(0.0)
    assert await world.hold(end) is world.lines.made[-1]
    assert len(world.lines.made) == 2


async def test_a_peer_that_shut_this_member_out_is_away_in_words_that_say_so() -> None:
    world = World()
    world.link.failed(ShutOutError("This certificate is revoked."))
    assert world.link.health.why == "it has ended the peering; ask its operator"


async def test_an_answer_is_taken_by_how_long_it_took() -> None:
    world = World()
    world.clock.advance(10.0)
    world.link.answered(9.75)
    assert world.link.health.latency_ms == pytest.approx(250.0)
    assert world.link.health.last_seen_ms == int(world.clock.wall_s() * 1000)


async def test_a_renewed_certificate_lets_calls_end_as_they_began() -> None:
    world, end, later = World(), asyncio.Event(), asyncio.Event()
    old = await world.calls(2, end)
    world.link.retire()
    new = await world.calls(1, later)
    first, second = world.lines.made
    assert (first.is_open, second.is_open) == (True, True)
    end.set()
    assert await ended(*old) == [first, first]
    assert not first.is_open, "it goes with the last call on it"
    later.set()
    assert await ended(*new) == [second]
    assert second.is_open
    world.link.retire()
    assert world.lines.open == [], "nothing was under way"


async def test_a_renewed_certificate_does_not_end_an_exchange() -> None:
    """Else each renewal that meets one would have the peer taken for away."""
    world = World()
    with world.link.exchange() as channel:
        world.link.retire()
        assert cast("Channel", channel).is_open
    assert world.lines.open == []


async def test_a_peer_that_moved_is_looked_for_there_and_loses_no_call_that_is_under_way() -> None:
    world, end = World(), asyncio.Event()
    tasks = await world.calls(1, end)
    world.link.move((AWAY,))
    assert world.link.addresses == (AWAY,)
    assert len(world.lines.open) == 1, "the connection that stands stays"
    world.link.retire()
    await world.calls(1, end)
    world.lines.made[1].is_connected = False
    world.link.move((HOME,))
    assert [one.is_open for one in world.lines.made] == [True, False]
    end.set()
    assert await ended(*tasks) == [world.lines.made[0]]
    assert (await world.hold(end)).addresses == (HOME,)
    world.link.move((HOME,))
    assert len(world.lines.open) == 1


async def test_after_the_end_nothing_is_opened_and_all_that_was_is_closed() -> None:
    world, end = World(), asyncio.Event()
    tasks = await world.calls(2, end)
    world.link.retire()
    tasks += await world.calls(CALLS_MAX, end)
    world.link.close()
    world.link.close()
    assert world.lines.open == []
    end.set()
    for begin in (world.hold(end), _exchange(world.link)):
        with pytest.raises(PeeringEndedError):
            await begin
    answers = await ended(*tasks)
    assert {type(one) for one in answers} <= {Channel, PeeringEndedError}
    assert len(world.lines.made) == 2


async def _exchange(link: PeerLink) -> None:
    with link.exchange():
        pass


class Play:
    """Calls and exchanges that begin and end while the link changes under them."""

    def __init__(self, picks: Any) -> None:
        self.world, self.picks = World(), picks
        self.link = self.world.link
        self.begun: list[tuple[asyncio.Task[None], asyncio.Event]] = []

    def act(self, name: str) -> None:
        link = self.link
        acts: dict[str, Callable[[], object]] = {
            "call": lambda: self._begin(self._call),
            "exchange": lambda: self._begin(self._exchange),
            "end": lambda: self.begun and self.picks.choice(self.begun)[1].set(),
            "cancel": lambda: self.begun and self.picks.choice(self.begun)[0].cancel(),
            "retire": link.retire,
            "failed": lambda: link.failed(GONE),
            "answered": lambda: link.answered(0.0),
            "move": lambda: link.move((self.picks.choice([HOME, AWAY]),)),
            "lose": self._lose,
        }
        acts[name]()
        assert link._kept is None or cast("Channel", link._kept.channel).is_open

    def _begin(self, use: Callable[[asyncio.Event], Coroutine[Any, Any, None]]) -> None:
        end = asyncio.Event()
        self.begun.append((asyncio.create_task(use(end)), end))

    async def _call(self, end: asyncio.Event) -> None:
        with suppress(CollectiveError):
            async with self.link.call(10.0):
                await end.wait()

    async def _exchange(self, end: asyncio.Event) -> None:
        with suppress(CollectiveError), self.link.exchange():
            await end.wait()

    def _lose(self) -> None:
        for one in self.world.lines.made:
            one.is_connected = False

    async def end(self) -> None:
        for _, end in self.begun:
            end.set()
        await ended(*(task for task, _ in self.begun))
        assert self.link._slots._value == CALLS_MAX
        assert self.link._waiting == 0
        assert len(self.world.lines.open) <= 1, "only the one that is kept"
        self.link.close()
        assert self.world.lines.open == []


ACTS: Final = (
    "call", "exchange", "end", "cancel", "retire", "failed", "answered", "move", "lose", "turn",
)  # fmt: skip


@given(acts=st.lists(st.sampled_from(ACTS), max_size=40), picks=st.randoms(use_true_random=False))
def test_whatever_happens_in_whatever_order_no_slot_is_lost_and_no_channel_left_open(
    acts: list[str], picks: Any
) -> None:
    async def run() -> None:
        play = Play(picks)
        for act in acts:
            if act == "turn":
                await settle()
            else:
                play.act(act)
        await play.end()

    asyncio.run(run())
