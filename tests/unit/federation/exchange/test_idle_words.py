"""What peers tell each other while nothing happens: next to nothing, and nothing is made anew for it."""

from __future__ import annotations

import pytest

from collective.pki.bundle import Bundle, body_of
from collective.rpc.conversions.peering import word_message
from tests.bench.federation.members import Member, Members

IDLE_MOST_BYTES = 48
"""Four digests of 8 bytes, a number, and what tells them apart."""


@pytest.fixture
async def members() -> Members:
    """Three, of which each has heard of each."""
    made = Members(3, 2, seed=1)
    await made.meet()
    await made.round()
    await made.round()
    return made


async def test_an_idle_exchange_tells_nothing_again(members: Members) -> None:
    for member in members.all:
        for other in others(members, member):
            word = await member.words.to(other.domain)
            assert (word.bundle, word.record, word.known, list(word.news)) == (None, None, None, [])
            assert len(bytes(word_message(word))) <= IDLE_MOST_BYTES


async def test_a_record_that_is_new_is_told_to_each_once(members: Members) -> None:
    one, other = members.all[:2]
    before = other.words.record_of(one.domain)
    for _ in range(16):  # until it is no longer fresh
        await members.round()
    assert other.words.record_of(one.domain) != before
    assert (await one.words.to(other.domain)).record is None


async def test_an_idle_exchange_makes_no_bundle(
    members: Members, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = 0

    def counted(bundle: Bundle) -> bytes:
        nonlocal made
        made += 1
        return body_of(bundle)

    monkeypatch.setattr("collective.federation.peers.own_bundle.body_of", counted)
    await members.round()
    assert made == 0
    mover = members.all[0]
    mover.move()
    await members.round()
    assert made == 1
    for other in others(members, mover):
        assert other.has(mover.domain) == (await mover.bundle.current())[1]


async def test_a_move_is_heard_of_through_a_common_peer(members: Members) -> None:
    members.up = {0, 1}
    mover, late = members.all[0], members.all[2]
    mover.move()
    await members.round()
    members.up = {1, 2}
    await members.round()
    assert late.has(mover.domain) == (await mover.bundle.current())[1]


def others(members: Members, member: Member) -> list[Member]:
    return [one for one in members.all if one is not member]
