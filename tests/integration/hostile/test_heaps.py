"""Users who pile up grants and invites, so that the lists of others grow too long to be answered."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from collective.core.errors import ConflictError, PermissionDeniedError
from tests import protocol as pb
from tests.integration.hostile.attacker import Target

LONG = "/mallory/" + "/".join(["d" * 250] * 15)
GIVERS = [f"heap{number}" for number in range(10)]
RIGHTS = [pb.Right.READ, pb.Right.WRITE, pb.Right.SHARE]


@pytest.fixture(scope="module")
def heaps(target: Target) -> Iterator[None]:
    """Ten users who may share; what they gave goes with what they have."""
    given = [
        target.cluster.cli(
            "grant", "add", "/mallory:read+write+share", f"{one}@home.alice"
        ).text.strip()
        for one in GIVERS
    ]
    yield
    for grant_id in given:
        target.cluster.cli("grant", "remove", grant_id)


@pytest.mark.slow
async def test_a_thousand_long_grants_hide_nothing_from_victim_and_operator(
    target: Target, heaps: None
) -> None:
    for giver in GIVERS:
        async with target.channel(target.user(giver)) as channel:
            stub = channel.stub(pb.MemberStubs)
            wanted = pb.AddGrantRequest(path=LONG, rights=RIGHTS, principal="victim@home.alice")
            async with asyncio.TaskGroup() as group:
                for _ in range(100):
                    group.create_task(stub.add_grant(wanted))
            with pytest.raises(ConflictError, match="the most"):
                await stub.add_grant(wanted)
    listed = target.cluster.cli("grant", "list", "--json").json()
    assert sum(one["path"].startswith(LONG) for one in listed) == 1000
    async with target.channel(target.user("victim")) as channel:
        stub = channel.stub(pb.MemberStubs)
        status = await stub.get_status(pb.GetStatusRequest())
        assert status.you is not None
        assert len(status.you.grants) + status.you.grants_left == 1000
        assert any("grant list" in one for one in status.warnings)
        first = status.you.grants[0]
        await stub.remove_grant(pb.RemoveGrantRequest(id=first.id))
        status = await stub.get_status(pb.GetStatusRequest())
        assert status.you is not None
        assert len(status.you.grants) + status.you.grants_left == 999
    async with target.channel(target.mallory) as channel:
        with pytest.raises(PermissionDeniedError):
            await channel.stub(pb.PeopleStub).remove_grant(
                pb.RemoveGrantRequest(id=status.you.grants[0].id)
            )


async def test_invites_of_many_megabytes_are_all_listed_and_end_at_a_bound(
    target: Target, heaps: None
) -> None:
    wanted = pb.GenerateInviteRequest(
        kind=pb.InviteKind.USER,
        grants=[pb.GrantTerms(path=LONG, rights=[pb.Right.READ])] * 64,
    )
    made = 0
    for giver in GIVERS[:2]:
        async with target.channel(target.user(giver)) as channel:
            stub = channel.stub(pb.PeopleStub)
            try:
                while made < 100:
                    await stub.generate_invite(wanted)
                    made += 1
            except ConflictError as error:
                assert "24 hours" in error.message  # noqa: PT017 - after many that were made
    assert 20 < made < 40
    listed = target.cluster.cli("invite", "list", "--json").json()
    assert sum(len(one["grants"]) == 64 for one in listed) == made
    assert target.cluster.cli("status", "--json").json()["node_code"] is not None
