"""A member that was put back from a backup, and its peers, which hold bundles of its lost future."""

from __future__ import annotations

from tests.bench.federation.members import Members


async def test_a_restored_member_that_moves_is_followed_whatever_number_its_peers_hold() -> None:
    """Its next number was the one that the peers held with other content: they never took another."""
    members = Members(3, 2, seed=1)
    await members.meet()
    await members.round()
    mover, *others = members.all
    backup = mover.kept.own
    for _ in range(3):
        mover.move()  # in the lost future
        await members.round()
        mover.put_back(backup)
        mover.move()  # before it has heard from anybody
        for _ in range(2):
            await members.round()
        now = (await mover.bundle.current())[0].body
        assert [other.book.all[mover.domain].peer.body for other in others] == [now, now]
