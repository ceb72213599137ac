"""Links in step with who is a peer, and what two coordinators tell each other over them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, cast
from unittest import mock

import pytest
import structlog

from collective.core.errors import (
    BusyError,
    CollectiveError,
    NotFoundError,
    RejectedError,
    UnreachableError,
)
from collective.core.ids import Domain, SpiffeId
from collective.core.log_rate import LINES_BURST
from collective.core.paths import FilePath
from collective.federation.exchange.exchanging import PeerWords
from collective.federation.exchange.own_record import OwnRecord
from collective.federation.links import peer_links
from collective.federation.links.peer_link import CONNECT_TIMEOUT_S
from collective.federation.links.peer_links import (
    EXCHANGE_S,
    EXCHANGE_TIMEOUT_S,
    OWN_MOST_S,
    PROBE_MOST_S,
    TICK_S,
    PeerLinks,
)
from collective.federation.links.tallies import PeerTallies
from collective.model.grants import Grant
from collective.model.nodes import NodeStatus
from collective.model.peers import PeerState, Reach
from collective.model.rights import Right
from collective.pki.bundle import SignedBundle, open_bundle, sign_bundle
from collective.pki.revocation import RevocationSet
from collective.rpc.client.connect import STAGGER_S
from collective.rpc.conversions.peering import (
    grants_message,
    grants_there_from,
    told_grants_message,
    word_from,
    word_message,
)
from collective.rpc.gen.collective.v1 import peering as pb
from collective.rpc.links import Links, OwnCredentials
from collective.rpc.peer_word import PeerWord
from tests.unit.federation.houses import House
from tests.unit.federation.links.test_peer_link import Lines
from tests.unit.pki.bundles import ALICES, BOBS, CAROL, CAROLS, ca_of, signed_of
from tests.unit.pki.forge import ALICE, BOB


class Line(Lines):
    """A line to one other end, which answers, or does not."""

    other: PeerLinks | None = None
    caller: Domain
    error: CollectiveError | None = None

    def channel(self, *args: Any, **how: Any) -> Any:
        made: Any = super().channel(*args, **how)
        made.stub = lambda _: self
        return made

    async def exchange(self, message: pb.PeerWord, **_: Any) -> pb.PeerWord:
        if self.error is not None:
            raise self.error
        assert self.other is not None
        return word_message(await self.other.answer(self.caller, word_from(message)))


@dataclass
class End:
    """One coordinator with its links."""

    house: House
    line: Line
    links: PeerLinks

    async def round(self) -> None:
        """Begin what is due, and let it end."""
        await self.links._begin_due()
        await asyncio.gather(*self.links._under_way.values())

    def sequence_of(self, domain: Domain) -> int:
        return self.house.book.require(domain).peer.sequence


class NoNodes:
    """A member without nodes, of whom nobody is revoked."""

    present = RevocationSet()

    def shown(self) -> Sequence[NodeStatus]:
        return ()


def word(bundle: SignedBundle | None, seen: int) -> PeerWord:
    """Return what a peer tells of its bundle, and that it has seen ours up to a number."""
    return PeerWord(seen, b"", b"", bundle)


def end_of(house: House) -> End:
    line = Line()
    line.caller = house.domain
    record = OwnRecord(cast("Any", NoNodes()), cast("Any", NoNodes()), house.clock)
    words = PeerWords(house.bundle, record, house.book, house.clock)
    links = PeerLinks(
        house.book,
        words,
        cast("OwnCredentials", line),
        cast("Links", line),
        house.world,
        PeerTallies(house.book),
    )
    return End(house, line, links)


@pytest.fixture
async def ends(alice: House, bob: House) -> AsyncIterator[tuple[End, End]]:
    """Two peers, each reached by the other."""
    one, other = end_of(alice), end_of(bob)
    one.line.caller, other.line.caller = ALICE, BOB
    one.line.other, other.line.other = other.links, one.links
    await alice.takes(bob)
    await bob.takes(alice)
    yield one, other
    await one.links.close()
    await other.links.close()


async def test_a_link_is_there_while_its_peer_is_one(alice: House) -> None:
    end = end_of(alice)
    with pytest.raises(NotFoundError):
        end.links.to(BOB)
    await alice.book.accept(alice.operator, signed_of(BOBS), replaces=False)
    link = end.links.to(BOB)
    assert dict(end.links.all) == {BOB: link}
    with link.exchange():
        pass
    await alice.book.remove(alice.operator, BOB)
    assert (dict(end.links.all), end.line.open) == ({}, [])
    with pytest.raises(NotFoundError):
        end.links.to(BOB)
    with pytest.raises(UnreachableError, match="no peer any more"), link.exchange():
        pass
    await alice.book.accept(alice.operator, signed_of(BOBS, 2), replaces=False)
    assert end.links.to(BOB) is not link


async def test_without_a_peer_the_worker_sleeps_until_one_comes(alice: House) -> None:
    with mock.patch.object(peer_links, "TICK_S", 0.0):
        end = end_of(alice)
        worker = end.links.worker()
        waiting = asyncio.create_task(worker.wait())
        for _ in range(50):
            await asyncio.sleep(0)
        assert not waiting.done(), "there is nobody to ask"
        await alice.book.accept(alice.operator, signed_of(BOBS), replaces=False)
        await waiting
        await worker.wait()  # and from now on it looks again and again
        await end.links.close()


async def test_one_that_waits_has_no_link_and_is_told_of_with_its_fingerprint(alice: House) -> None:
    end = end_of(alice)
    made = await alice.inviting.invite(alice.operator, BOB, confirms=True)
    await alice.book.redeem(made.invite.id, signed_of(BOBS), request_id="")
    assert dict(end.links.all) == {}
    [warning] = await end.links.warnings()
    facts = end.links.describe(alice.book.all[BOB], {})
    assert facts.fingerprint in warning
    assert "peer confirm garage.bob" in warning
    assert (facts.state, facts.is_healthy) == (PeerState.WAITING, False)


async def test_an_exchange_says_that_a_peer_is_there(ends: tuple[End, End]) -> None:
    one, _ = ends
    assert [status.is_healthy for status in one.links.statuses()] == [False]
    await one.round()
    [status] = one.links.statuses()
    assert (status.domain, status.is_healthy, status.address) == (BOB, True, "10.0.0.2:8001")
    assert await one.links.warnings() == []


async def test_bundles_are_told_until_the_other_has_them_and_then_no_more(
    ends: tuple[End, End],
) -> None:
    one, other = ends
    before = other.sequence_of(ALICE)
    one.house.own.addresses = one.house.own.addresses * 2
    await one.round()
    assert other.sequence_of(ALICE) > before
    assert other.links.to(ALICE).addresses == one.house.own.addresses
    signed, sequence = await one.house.bundle.current()
    answer = await one.links.answer(BOB, word(None, sequence))
    assert answer.bundle is None
    assert (await one.links.answer(BOB, word(None, before))).bundle == signed


def test_an_address_that_is_silent_is_named_before_the_exchange_ends() -> None:
    """Else the operator reads "No answer within 2 s." of a peer, and not where it was looked for."""
    assert CONNECT_TIMEOUT_S + STAGGER_S < EXCHANGE_TIMEOUT_S


async def test_a_dead_peer_is_away_at_once_and_asked_less_and_less_often(
    ends: tuple[End, End],
) -> None:
    one, _ = ends
    one.line.error = UnreachableError("No answer.")
    waits = []
    for _ in range(12):
        await one.round()
        waits.append(one.links._due_s[BOB] - one.house.clock.monotonic_s())
        one.house.clock.advance(max(waits[-1], 0.0))
    assert waits[0] <= 2 * EXCHANGE_S
    assert 5 * EXCHANGE_S < waits[-1] <= 2 * PROBE_MOST_S
    assert ["is away" in warning for warning in await one.links.warnings()] == [True]
    one.line.error = None
    await one.round()
    assert await one.links.warnings() == []


@pytest.mark.parametrize("part", ["to", "take"])
@pytest.mark.parametrize("error", [TimeoutError(), OSError(5, "I/O error"), BusyError("Busy.")])
async def test_trouble_at_the_own_disk_is_not_the_peers_and_tried_again(
    ends: tuple[End, End], part: str, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, _ = ends
    await one.round()

    async def fail(*_: Any) -> None:
        raise error

    one.house.clock.advance(EXCHANGE_S)
    with monkeypatch.context() as patched:
        patched.setattr(one.links._words, part, fail)
        await one.round()
        assert one.links.to(BOB).health.is_healthy
        assert await one.links.warnings() == []
        one.links.to(BOB).health.require()
    one.house.clock.advance(EXCHANGE_S)
    one.line.error = UnreachableError("No answer.")
    await one.round()
    assert not one.links.to(BOB).health.is_healthy, "what goes over the network counts"


async def test_a_peer_that_tells_what_is_not_to_be_believed_is_away(ends: tuple[End, End]) -> None:
    one, _ = ends

    async def lie(*_: Any, **__: Any) -> pb.PeerWord:
        return word_message(word(signed_of(CAROLS, 9), 0))

    one.line.exchange = lie  # type: ignore[method-assign]
    await one.round()
    assert not one.links.to(BOB).health.is_healthy


async def test_a_peer_that_calls_again_is_asked_at_once(ends: tuple[End, End]) -> None:
    one, other = ends
    one.line.error = UnreachableError("No answer.")
    await one.round()
    one.line.error = None
    await one.round()
    assert not one.links.to(BOB).health.is_healthy, "its turn has not come"
    await other.round()
    await one.round()
    assert one.links.to(BOB).health.is_healthy


class Turns:
    """Ticks of both ends, and who began an exchange when."""

    def __init__(self, ends: tuple[End, End]) -> None:
        self.ends = ends
        self.began: list[list[float]] = [[], []]
        self.now_s = 0.0
        for number, end in enumerate(ends):
            self._watch(end, self.began[number])

    def _watch(self, end: End, began: list[float]) -> None:
        exchange = end.line.exchange

        async def watched(message: pb.PeerWord, **how: Any) -> pb.PeerWord:
            began.append(self.now_s)
            return await exchange(message, **how)

        end.line.exchange = watched  # type: ignore[method-assign]

    async def pass_s(self, seconds: float, *, only: int | None = None) -> None:
        """Let time pass, tick by tick; ``only``: the other end does nothing."""
        for _ in range(round(seconds / TICK_S)):
            self.now_s += TICK_S
            for clock in {id(end.house.clock): end.house.clock for end in self.ends}.values():
                clock.advance(TICK_S)
            for number, end in enumerate(self.ends):
                if only in {None, number}:
                    await end.round()


def gaps(times: Sequence[float]) -> list[float]:
    return [after - before for before, after in pairwise(times)]


async def test_an_exchange_that_the_peer_began_puts_off_the_own_one(ends: tuple[End, End]) -> None:
    turns = Turns(ends)
    await turns.pass_s(120.0)
    one, other = turns.began
    both = sorted({*one, *other})
    assert max(gaps(both)) <= EXCHANGE_S + TICK_S, "each end hears of the other as often as before"
    assert max(*gaps(one), *gaps(other)) <= OWN_MOST_S + TICK_S, "and each looks by itself"
    assert len(one) + len(other) <= 0.65 * 2 * 120.0 / EXCHANGE_S, "by fewer exchanges"


async def test_a_peer_that_falls_silent_is_asked_as_soon_as_ever(ends: tuple[End, End]) -> None:
    turns = Turns(ends)
    await turns.pass_s(31.0)
    last_s = max(max(began) for began in turns.began)
    ends[0].line.error = UnreachableError("No answer.")
    await turns.pass_s(last_s + EXCHANGE_S + TICK_S - turns.now_s, only=0)
    assert not ends[0].links.to(BOB).health.is_healthy


async def test_a_peer_that_calls_all_the_time_is_asked_all_the_same(ends: tuple[End, End]) -> None:
    """One whose calls arrive here, and that cannot be reached: nothing else shows that."""
    turns = Turns(ends)
    await turns.pass_s(2.0)
    ends[0].line.error = UnreachableError("No way there.")
    for _ in range(round((OWN_MOST_S + TICK_S) / TICK_S)):
        await ends[0].links.answer(BOB, word(None, 0))
        await turns.pass_s(TICK_S, only=0)
    assert not ends[0].links.to(BOB).health.is_healthy


async def test_nothing_is_put_off_while_the_own_connection_is_down(ends: tuple[End, End]) -> None:
    turns = Turns(ends)
    await turns.pass_s(2.0)
    for channel in ends[0].line.made:
        channel.is_connected = False
    ends[0].line.error = UnreachableError("No way there.")
    for _ in range(round((EXCHANGE_S + TICK_S) / TICK_S)):
        await ends[0].links.answer(BOB, word(None, 0))
        await turns.pass_s(TICK_S, only=0)
    assert not ends[0].links.to(BOB).health.is_healthy


async def test_a_call_without_an_answer_has_the_peer_asked_at_once(ends: tuple[End, End]) -> None:
    turns = Turns(ends)
    await turns.pass_s(2.0)
    await ends[0].links.answer(BOB, word(None, 0))  # so the own one has time
    began = len(turns.began[0])
    link = ends[0].links.to(BOB)
    with pytest.raises(UnreachableError):
        async with link.call(5.0):
            raise UnreachableError("No answer.")
    await turns.pass_s(TICK_S, only=0)
    await turns.pass_s(TICK_S, only=0)
    assert len(turns.began[0]) == began + 1, "once: it answered"
    assert link.health.is_healthy


async def test_who_calls_was_seen(ends: tuple[End, End]) -> None:
    turns = Turns(ends)
    await turns.pass_s(2.0)
    ends[0].house.clock.advance(1.0)
    await ends[0].links.answer(BOB, word(None, 0))
    now_ms = int(ends[0].house.clock.wall_s() * 1000)
    assert ends[0].links.statuses()[0].last_seen_ms == now_ms


async def test_a_peer_that_was_restored_resumes_above_what_is_known_whoever_calls(
    ends: tuple[End, End],
) -> None:
    """Also where only the restored one can reach the other: it is answered, not refused."""
    one, other = ends
    lost = one.sequence_of(BOB) + 30
    newer = signed_of(BOBS, lost, addresses=other.house.own.addresses)
    await one.house.book.renew(newer, open_bundle(newer), one.house.clock.monotonic_s())
    one.line.error = UnreachableError("No way there.")
    await other.round()
    _, resumed = await other.house.bundle.current()
    assert resumed > lost
    other.house.clock.advance(5.0)
    await other.round()
    assert one.sequence_of(BOB) == resumed
    assert other.links.to(ALICE).health.is_healthy


async def test_a_restored_member_hears_of_its_number_from_a_peer_that_calls(
    ends: tuple[End, End],
) -> None:
    one, _ = ends
    own = open_bundle(await one.house.signed())
    given_out = replace(own, sequence=own.sequence + 40)
    shown = replace(word(None, given_out.sequence), news=[sign_bundle(given_out, ALICES)])
    answer = await one.links.answer(BOB, shown)
    assert answer.bundle == await one.house.signed()
    assert (await one.house.bundle.current())[1] > given_out.sequence


async def test_a_number_alone_moves_nothing(ends: tuple[End, End]) -> None:
    one, _ = ends
    _, before = await one.house.bundle.current()
    await one.links.answer(BOB, word(None, before + 40))
    assert (await one.house.bundle.current())[1] == before


async def test_a_bundle_that_is_none_of_the_peers_is_refused_and_changes_nothing(
    ends: tuple[End, End],
) -> None:
    one, other = ends
    before = one.sequence_of(BOB), other.sequence_of(ALICE)
    for wrong in (await one.house.signed(), signed_of(CAROLS, 9), signed_of(ca_of(BOB), 9)):
        with pytest.raises(RejectedError):
            await one.links.answer(BOB, word(wrong, 0))
    assert (one.sequence_of(BOB), other.sequence_of(ALICE)) == before


async def test_two_coordinators_of_one_member_do_not_replace_each_other(
    ends: tuple[End, End],
) -> None:
    one, _ = ends
    known, addresses = one.sequence_of(BOB), one.links.to(BOB).addresses
    await one.links.answer(BOB, word(signed_of(BOBS, known, version="other"), 1))
    assert (one.sequence_of(BOB), one.links.to(BOB).addresses) == (known, addresses)


async def test_a_stranger_and_a_removed_peer_have_no_answer(ends: tuple[End, End]) -> None:
    one, _ = ends
    with pytest.raises(NotFoundError):
        await one.links.answer(CAROL, word(None, 0))
    await one.house.book.remove(one.house.operator, BOB)
    for told in (None, signed_of(BOBS, 9)):
        with pytest.raises(NotFoundError):
            await one.links.answer(BOB, word(told, 0))


async def test_a_peer_that_echoes_any_number_has_nobody_sign_without_end(
    ends: tuple[End, End],
) -> None:
    one, _ = ends
    signed, sequence = await one.house.bundle.current()
    answer = await one.links.answer(BOB, word(None, (1 << 64) - 1))
    assert answer.bundle == signed
    assert (await one.house.bundle.current())[1] == sequence


async def test_the_end_stops_exchanges_that_are_under_way(ends: tuple[End, End]) -> None:
    one, _ = ends
    hung, calls = asyncio.Event(), []

    async def hang(*_: Any, **__: Any) -> None:
        calls.append(1)
        hung.set()
        await asyncio.Event().wait()

    one.line.exchange = hang  # type: ignore[method-assign, assignment]
    await one.links._begin_due()
    await hung.wait()
    await one.links._begin_due()
    for _ in range(20):
        await asyncio.sleep(0)
    assert calls == [1], "one at a time for each peer"
    [task] = one.links._under_way.values()
    await one.links.close()
    assert task.cancelled()
    assert one.line.open == []


async def test_each_end_learns_how_the_other_reaches_it(ends: tuple[End, End]) -> None:
    """The answer goes over the connection of the one that is not reached: nobody else could tell it."""
    one, other = ends

    def told(end: End, domain: Domain) -> Reach | None:
        return end.links.describe(end.house.book.all[domain], {}).reach

    async def ask(end: End) -> None:
        end.links._due_s.clear()
        await end.round()

    await ask(one)
    assert told(one, BOB) is None, "the other has not tried yet"
    assert told(other, ALICE) is None
    await ask(other)
    await ask(one)
    assert told(one, BOB) is Reach.REACHED
    assert told(other, ALICE) is Reach.REACHED
    other.line.error = UnreachableError("No connection to 10.0.0.1:8001: no route to host.")
    await ask(other)
    await ask(one)
    assert told(one, BOB) is Reach.NOT_REACHED


@pytest.mark.parametrize("why", ["connection refused", "no route to host", "name not known"])
async def test_what_a_peer_is_told_of_an_address_that_it_chose_is_the_same_whatever_is_there(
    ends: tuple[End, End], why: str
) -> None:
    """Else it could look around in the network of the one that it asks to dial."""
    one, _ = ends
    one.line.error = UnreachableError(f"No connection to 192.168.1.7:445: {why}.")
    for _ in range(2):
        one.links._due_s.clear()
        await one.round()
    answer = word_message(await one.links.answer(BOB, word(None, 0)))
    assert answer.reach is pb.Reach.NOT_REACHED
    assert why.encode() not in bytes(answer)
    assert b"192.168.1.7" not in bytes(answer)
    assert why in one.links.describe(one.house.book.all[BOB], {}).why_away


@pytest.mark.parametrize("reach", [None, *Reach])
def test_how_a_peer_is_reached_goes_over_the_wire(reach: Reach | None) -> None:
    sent = pb.PeerWord.parse(bytes(word_message(PeerWord(0, b"", b"", reach=reach))))
    assert word_from(sent).reach is reach


def test_a_word_of_a_later_version_says_nothing() -> None:
    later = bytes(pb.PeerWord()) + bytes([11 << 3, 77])
    assert word_from(pb.PeerWord.parse(later)).reach is None


def test_a_peer_is_not_told_who_gave_a_grant_nor_out_of_what() -> None:
    ann = SpiffeId.parse(f"spiffe://{ALICE}/user/{ALICE}/ann")
    grant = Grant(
        id="g2",
        path=FilePath.parse("/photos"),
        rights=Right.READ,
        principal=SpiffeId.parse(f"spiffe://{BOB}/user/{BOB}/ben"),
        granted_by=ann,
        expires_s=None,
        sources=("g1",),
    )
    sent = told_grants_message([grant])
    assert b"ann" not in bytes(sent)
    assert b"g1" not in bytes(sent)
    [found] = grants_there_from(sent, ALICE)
    assert (found.id, str(found.path)) == ("g2@home.alice", "/@home.alice/photos")
    assert (found.granted_by, found.sources) == (SpiffeId.coordinator(ALICE), ())
    [of_an_earlier_version] = grants_there_from(
        pb.ListGrantsToYouResponse(grants=grants_message([grant])), ALICE
    )
    assert of_an_earlier_version == found


def lines_of(log: list[Any], event: str) -> list[Any]:
    return [one for one in log if one["event"] == event]


async def test_a_peer_that_comes_and_goes_fills_no_log(ends: tuple[End, End]) -> None:
    one, _ = ends
    with structlog.testing.capture_logs() as log:
        for turn in range(200):
            one.line.error = UnreachableError("No answer.") if turn % 2 else None
            one.links._due_s.clear()
            await one.round()
    written = len(lines_of(log, "peer is away")) + len(lines_of(log, "peer is back"))
    assert 0 < written <= LINES_BURST


async def test_trouble_of_the_own_part_is_logged_when_it_begins_and_when_it_changes(
    ends: tuple[End, End], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, _ = ends
    errors: list[Exception] = [OSError(5, "I/O error")] * 9
    errors += [OSError(28, "No space")] * 9

    async def fail(*_: Any) -> None:
        raise errors.pop(0)

    async def rounds(count: int) -> None:
        for _ in range(count):
            one.links._due_s.clear()
            await one.round()

    event = "own part of an exchange failed"
    with structlog.testing.capture_logs() as log:
        with monkeypatch.context() as patched:
            patched.setattr(one.links._words, "take", fail)
            await rounds(18)
        assert [line["reason"] for line in lines_of(log, event)] == [
            "OSError: [Errno 5] I/O error",
            "OSError: [Errno 28] No space",
        ]
        await rounds(1)
        errors[:] = [OSError(28, "No space")]
        monkeypatch.setattr(one.links._words, "take", fail)
        await rounds(1)
    assert len(lines_of(log, event)) == 3, "it was over meanwhile"
