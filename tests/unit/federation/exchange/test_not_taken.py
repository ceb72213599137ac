"""What a peer tells and is not taken: told to the operator with what to do, until something better comes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
from structlog.testing import capture_logs

from collective.core.errors import RejectedError, UsageError
from collective.federation.exchange.exchanging import (
    REPEATED_S,
    REVOKED_BURST,
    REVOKED_PER_S,
)
from collective.federation.peers.peer_book import BUNDLES_BURST, BUNDLES_PER_S
from collective.model.peers import MemberRecord
from collective.pki.bundle import SignedBundle
from tests.unit.federation.houses import House
from tests.unit.federation.links.test_peer_links import End, end_of, word
from tests.unit.pki.bundles import BOBS, CAROL, CAROLS, ca_of, signed_of
from tests.unit.pki.forge import BOB


@pytest.fixture
async def end(alice: House) -> AsyncIterator[End]:
    made = end_of(alice)
    await alice.book.accept(alice.operator, signed_of(BOBS), replaces=False)
    yield made
    await made.links.close()


async def tell(end: End, bundle: SignedBundle | None, **more: Any) -> None:
    await end.links.answer(BOB, replace(word(bundle, 0), **more))


async def warnings(end: End) -> Sequence[str]:
    return [one for one in await end.links.warnings() if "taken" in one or "read" in one]


async def test_a_bundle_that_is_refused_is_told_of_until_one_is_taken(end: End) -> None:
    for wrong in (signed_of(ca_of(BOB), 9), signed_of(CAROLS, 9)):
        with pytest.raises(RejectedError):
            await tell(end, wrong)
        [warning] = await warnings(end)
        assert warning.startswith(f"The bundle of {BOB} is not taken: ")
        facts = end.links.describe(end.house.book.all[BOB], {})
        assert facts.not_taken == (warning,)
    assert "ask its operator" in warning
    await tell(end, None)
    assert await warnings(end) == [warning], "it has told no other"
    await tell(end, signed_of(BOBS, 9))
    assert await warnings(end) == []


async def test_two_coordinators_that_are_one_member_are_told_of_until_its_bundle_is_taken(
    end: End,
) -> None:
    with capture_logs() as logs:
        for _ in range(5):
            await tell(end, signed_of(BOBS, 1, version="other"))
    assert len([one for one in logs if one["event"] == "not taken"]) == 1
    [warning] = await warnings(end)
    assert "Two coordinators" in warning
    assert "stop the one" in warning
    known = end.house.book.all[BOB].peer
    await tell(end, SignedBundle(known.body, known.signature))
    assert await warnings(end) == []


async def test_a_bundle_that_changes_too_often_is_told_of_and_taken_in_its_time(end: End) -> None:
    for number in range(int(BUNDLES_BURST)):
        await tell(end, signed_of(BOBS, 10 + number))
    assert await warnings(end) == []
    await tell(end, signed_of(BOBS, 99))
    assert "too often" in (await warnings(end))[0]
    end.house.clock.advance(1 / BUNDLES_PER_S)
    await tell(end, signed_of(BOBS, 99))
    assert (await warnings(end), end.sequence_of(BOB)) == ([], 99)


async def test_one_that_came_by_way_of_another_is_taken_for_its_own_teller_as_well(
    end: End,
) -> None:
    await end.house.book.accept(end.house.operator, signed_of(CAROLS, 3), replaces=False)
    for number in range(int(BUNDLES_BURST) + 1):
        await tell(end, signed_of(BOBS, 10 + number))
    assert "too often" in (await warnings(end))[0]
    end.house.clock.advance(1 / BUNDLES_PER_S)
    await end.links.answer(CAROL, replace(word(None, 0), news=[signed_of(BOBS, 99)]))
    assert (await warnings(end), end.sequence_of(BOB)) == ([], 99)


async def test_what_is_refused_anyway_uses_up_none_of_what_may_change(end: End) -> None:
    """A copy of a coordinator tells its own bundle at each exchange, and must not keep the true one's out."""
    await end.house.book.accept(end.house.operator, signed_of(CAROLS, 3), replaces=False)
    for _ in range(int(BUNDLES_BURST) * 3):
        await tell(end, signed_of(BOBS, 1, version="other"))
    assert "Two coordinators" in (await warnings(end))[0]
    await tell(end, signed_of(BOBS, 2))
    assert (await warnings(end), end.sequence_of(BOB)) == ([], 2)


async def test_what_a_peer_passes_on_of_another_stands_with_the_one_who_passed_it_on(
    end: End,
) -> None:
    await end.house.book.accept(end.house.operator, signed_of(CAROLS, 3), replaces=False)
    await tell(end, None, news=[signed_of(ca_of(CAROL), 9)])
    [warning] = await warnings(end)
    assert warning.startswith(f"{BOB} passes on a bundle of {CAROL} that is not taken: ")
    assert end.links.describe(end.house.book.all[CAROL], {}).not_taken == ()
    await tell(end, None, news=[signed_of(CAROLS, 4)])
    assert await warnings(end) == []
    await tell(end, None, news=[signed_of(ca_of(CAROL), 9)])
    end.house.clock.advance(REPEATED_S)
    assert await warnings(end) == [], "it was not told again"


async def test_a_word_that_cannot_be_read_is_told_of_until_one_can(end: End) -> None:
    end.links.not_understood(BOB, UsageError("A digest is too long."))
    end.links.not_understood(CAROL, UsageError("A digest is too long."))
    assert await warnings(end) == [
        f"What {BOB} tells cannot be read: A digest is too long; ask its operator which version it runs."
    ]
    await tell(end, None)
    assert await warnings(end) == []


async def test_news_of_all_kinds_cause_lines_in_the_log_at_a_rate(end: End) -> None:
    await end.house.book.accept(end.house.operator, signed_of(CAROLS, 3), replaces=False)
    news = [signed_of(ca_of(CAROL), 9), signed_of(CAROLS, 3, version="x")]
    with capture_logs() as logs:
        for _ in range(100):
            await tell(end, None, news=news)
    assert 2 <= len([one for one in logs if one["event"] == "not taken"]) < 100


async def test_a_list_of_revoked_that_changes_each_time_reaches_nodes_at_a_rate(end: End) -> None:
    book = end.house.book
    digests = set()
    for number in range(100):
        record = MemberRecord(revoked=(f"serial:{number:02x}",))
        await tell(end, None, record=record, record_digest=bytes([number]))
        digests.add(book.digest)
    assert len(digests) == REVOKED_BURST
    assert book.revoked_of(BOB) == (f"serial:{int(REVOKED_BURST) - 1:02x}",)
    answer = await end.links.answer(BOB, word(None, 0))
    assert answer.record_of_yours == bytes([99]), "it is not told again for that"
    end.house.clock.advance(1 / REVOKED_PER_S)
    await tell(end, None)
    assert book.revoked_of(BOB) == ("serial:63",), "the newest counts as soon as it may"
