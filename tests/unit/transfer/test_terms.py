"""What a connection may do: wide for a few of each other member, for as long as those are there."""

from __future__ import annotations

import asyncio

from collective.core.ids import Domain
from collective.rpc.http2.closing import OpenTransports
from collective.rpc.http2.member_share import WIDE_STREAMS_MAX
from collective.transfer.stream.connection import WriteBounds
from collective.transfer.stream.link import FOREIGN_EXCHANGES_MAX
from collective.transfer.stream.terms import FOREIGN_WRITES, WIDE_FOREIGN_WRITES, ServingTerms

HOME, BOB, CAROL = Domain("home.alice"), Domain("garage.bob"), Domain("studio.carol")


def made(terms: ServingTerms, member: Domain) -> tuple[OpenTransports | None, asyncio.Transport]:
    """Return what a new connection of ``member`` holds: what counts it, and its transport."""
    transport = asyncio.Transport()
    counted = terms.of(member).transports
    if counted is not None:
        counted.made(transport)
    return counted, transport


def test_the_own_member_has_all_that_there_is() -> None:
    terms = ServingTerms(HOME, 64)
    for _ in range(3 * WIDE_STREAMS_MAX):
        made(terms, HOME)
    assert terms.of(HOME).writes == WriteBounds()
    assert terms.of(HOME).requests_max >= 64


def test_the_first_of_another_member_are_wide_until_their_transports_are_gone() -> None:
    terms = ServingTerms(HOME, 64)
    connections = [made(terms, BOB) for _ in range(WIDE_STREAMS_MAX)]
    assert terms.of(CAROL).writes is WIDE_FOREIGN_WRITES, "members do not share"
    assert terms.of(BOB).writes is FOREIGN_WRITES
    assert terms.of(BOB).requests_max == terms.of(CAROL).requests_max
    assert FOREIGN_EXCHANGES_MAX <= terms.of(BOB).requests_max < 64
    counted, transport = connections.pop()
    assert counted is not None
    counted.gone(transport)
    assert terms.of(BOB).writes is WIDE_FOREIGN_WRITES


def test_members_without_connections_are_forgotten() -> None:
    terms = ServingTerms(HOME, 64)
    for number in range(100):
        last = terms.of(Domain(f"home.m{number}"))
    assert last.writes is WIDE_FOREIGN_WRITES
    assert len(terms._wide) == 1
