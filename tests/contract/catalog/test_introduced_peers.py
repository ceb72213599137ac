"""Peers by the introductions folder: nobody invited them, so they take nothing from anybody."""

from __future__ import annotations

from dataclasses import replace

import pytest

from collective.catalog.interface import Catalog
from collective.core.errors import ConflictError
from collective.core.ids import Domain, MemberId
from collective.core.limits import PEERS_MAX
from collective.model.peers import Peer, PeerState
from tests.contract.catalog.world import OPERATOR

BOB = Domain("home.bob")


def peer(domain: Domain = BOB, *, authority: bytes = b"\x0b" * 32, sequence: int = 1) -> Peer:
    return Peer(
        domain=domain,
        member=MemberId("bob"),
        state=PeerState.ACTIVE,
        authority_digest=authority,
        sequence=sequence,
        body=b"body %d" % sequence,
        signature=b"signature",
        since_ms=0,
    )


async def test_one_who_is_introduced_counts_and_stands_there_until_it_is_seen(
    catalog: Catalog,
) -> None:
    stored = await catalog.peers.introduce(peer())
    assert (stored.state, stored.is_seen, stored.came_by) == (PeerState.ACTIVE, False, "")
    assert stored.since_ms > 0
    assert await catalog.peers.all() == [stored]
    await catalog.peers.note_seen(OPERATOR, [BOB])
    assert [one.is_seen for one in await catalog.peers.all()] == [True]
    audit = await catalog.audit.list(since_ms=0, limit=10)
    assert any(row.action == "peer" and row.target == BOB for row in audit)


async def test_an_introduction_changes_no_peer_that_is_there(catalog: Catalog) -> None:
    first = await catalog.peers.accept(OPERATOR, peer(sequence=2))
    for sequence in (1, 2, 3):
        assert await catalog.peers.introduce(peer(sequence=sequence)) == first
    with pytest.raises(ConflictError, match="another CA"):
        await catalog.peers.introduce(peer(authority=b"\x0c" * 32, sequence=9))
    assert await catalog.peers.all() == [first]


async def test_one_that_was_removed_is_not_introduced_again_by_any_ca(catalog: Catalog) -> None:
    await catalog.peers.introduce(peer())
    tombstone = await catalog.peers.remove(OPERATOR, BOB)
    for wanted in (peer(sequence=2), peer(authority=b"\x0c" * 32)):
        with pytest.raises(ConflictError, match="removed"):
            await catalog.peers.introduce(wanted)
    assert await catalog.peers.all() == [tombstone]
    again = await catalog.peers.accept(OPERATOR, peer(authority=b"\x0c" * 32))
    assert again.state is PeerState.ACTIVE, "the operator may"


async def test_no_more_are_introduced_than_there_is_room_for(catalog: Catalog) -> None:
    for number in range(PEERS_MAX):
        await catalog.peers.introduce(peer(Domain(f"home.m{number}")))
    with pytest.raises(ConflictError, match="already"):
        await catalog.peers.introduce(peer())
    assert len(await catalog.peers.all()) == PEERS_MAX
    same = replace(peer(Domain("home.m1")), sequence=2)
    assert (await catalog.peers.introduce(same)).sequence == 1
