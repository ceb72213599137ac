"""How news of members spreads, and what that costs, for 3 to 500 members in one process without sockets.

Each member has the real words, book and bundle; only its catalogue is a dictionary that decides as the
real one does.  Each peers with some others that a seed chose.  A round is EXCHANGE_S: each member that is
up exchanges with each of its peers that is, in an order by the seed, and what they tell is encoded and
decoded as on the wire.  Bytes are those of the words; what carries them is measured in ``idle``.

Two things happen: a member changes its address while a third of the others are down; and when these come
back, the member itself is gone, so that they can hear of it only through a peer that both have.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from typing import Final

from collective.federation.links.peer_links import EXCHANGE_S
from tests.bench.federation.members import Members
from tests.bench.report import Row

PEERS: Final = 8
"""Others that each member chooses; with those that choose it, most have about twice as many."""
MINUTE_ROUNDS: Final = round(60 / EXCHANGE_S)
ROUNDS_MAX: Final = 60
LINEAR: Final = 1.25
"""What a peer costs may be so many times what it costs where there are fewest."""
HEARD_ROUNDS: Final = 1
"""A member that moved calls its peers itself."""
_SEED: Final = 5


@dataclass(frozen=True, slots=True)
class Plan:
    """What is simulated."""

    members: tuple[int, ...]
    peers: tuple[int, ...]
    """That each chooses, among ``members_alike``."""
    members_alike: int


FULL: Final = Plan((3, 10, 30, 100, 300, 500), (4, 8, 16, 32), 100)
QUICK: Final = Plan((3, 10, 30), (4, 8), 30)


@dataclass(frozen=True, slots=True)
class Gossip:
    """What happened among so many members."""

    members: int
    peers: float
    """Of one, on average."""
    rounds: int
    """Until each peer that was up knew where the moved member is; ROUNDS_MAX + 1: not within that."""
    rounds_through_others: int
    """Until each that came back and could hear of it through others did; 0: there was none."""
    steady_bytes: float
    """Of a member in a minute, sent and received."""
    change_bytes: float
    """The same, in the minute of the change, for those that are up."""
    steady_peer_bytes: float
    """Of a member in a minute with one peer that is up."""
    change_peer_bytes: float


async def _simulate(count: int, peers: int) -> Gossip:
    members = Members(count, peers, _SEED)
    await members.meet()
    for _ in range(3):
        await members.round()
    steady, steady_peer = await members.minute(MINUTE_ROUNDS)
    moved = 0
    mover = members.all[moved]
    down = set(random.Random(_SEED).sample(range(1, count), count // 3))
    members.up -= down
    mover.move()
    _, newest = await mover.bundle.current()

    def behind(who: set[int]) -> set[int]:
        return {one for one in who if members.all[one].has(mover.domain) < newest}

    members.bytes = [0] * count
    rounds = 0
    for number in range(1, max(ROUNDS_MAX, MINUTE_ROUNDS) + 1):
        is_behind = bool(behind(mover.peers & members.up))
        rounds += is_behind
        if not is_behind and number > MINUTE_ROUNDS:
            break
        await members.round()
        if number == MINUTE_ROUNDS:
            change, change_peer = members.spent()
    through_others = await _come_back(members, moved, down, newest)
    return Gossip(
        members=count,
        peers=sum(len(one.peers) for one in members.all) / count,
        rounds=rounds,
        rounds_through_others=through_others,
        steady_bytes=steady,
        change_bytes=change,
        steady_peer_bytes=steady_peer,
        change_peer_bytes=change_peer,
    )


async def _come_back(members: Members, moved: int, down: set[int], newest: int) -> int:
    """Return how many rounds those that were down need to hear of the move while the mover is away."""
    members.up = set(range(len(members.all))) - {moved}
    domain = members.all[moved].domain
    waiting = members.heard_through(moved) & down
    rounds = 0
    while any(members.all[one].has(domain) < newest for one in waiting):
        rounds += 1
        if rounds > ROUNDS_MAX:
            break
        await members.round()
    return rounds


def measure_gossip(plan: Plan) -> tuple[list[Gossip], list[Gossip]]:
    """Return what happened for each number of members, and at one size for each number of peers."""
    return (
        [asyncio.run(_simulate(count, PEERS)) for count in plan.members],
        [asyncio.run(_simulate(plan.members_alike, peers)) for peers in plan.peers],
    )


def gossip_rows(by_size: list[Gossip], by_peers: list[Gossip]) -> list[Row]:
    """Return the lines of the table."""
    rows: list[Row] = []
    for one in [*by_size, *by_peers]:
        name = f"gossip, {one.members} members with {one.peers:.1f} peers"
        rows += [
            Row(
                f"{name}: rounds until a move is known",
                f"{one.rounds}; through others {one.rounds_through_others or '-'}",
                "",
                f"<= {HEARD_ROUNDS}, <= {ROUNDS_MAX}",
                one.rounds <= HEARD_ROUNDS and one.rounds_through_others <= ROUNDS_MAX,
            ),
            Row(
                f"{name}: KB a minute, steady and at the change",
                f"{one.steady_bytes / 1e3:.1f}, {one.change_bytes / 1e3:.1f}",
                f"{one.steady_peer_bytes / 1e3:.2f}, {one.change_peer_bytes / 1e3:.2f} a peer",
                "",
                None,
            ),
        ]
    return [*rows, _linear("members", by_size), _linear("peers", by_peers)]


def _linear(of: str, found: list[Gossip]) -> Row:
    first = found[0]
    steady = max(one.steady_peer_bytes / first.steady_peer_bytes for one in found)
    change = max(one.change_peer_bytes / first.change_peer_bytes for one in found)
    return Row(
        f"gossip: bytes with one peer, to those where {of} are fewest",
        "",
        f"{steady:.2f} x, {change:.2f} x",
        f"<= {LINEAR:g} x",
        max(steady, change) <= LINEAR,
    )
