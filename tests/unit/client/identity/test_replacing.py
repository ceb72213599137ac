"""A new invite of a member whose CA was replaced, and of one that only says that it is the same."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from collective.client.identity.documents import JoinedCollective
from collective.client.identity.redemption import Redeemed, redeem_invite
from collective.client.identity.replacing import Standing
from collective.client.identity.store import IdentityStore
from collective.client.joining import Joined
from collective.core.clock import ManualClock
from tests.unit.client.identity.bootstrap import Member
from tests.worlds import LINKS, world_of


class Network:
    """Who answers where a collective that was joined before used to be."""

    def __init__(self, standing: Standing) -> None:
        self.standing = standing
        self.asked: list[str] = []

    async def __call__(self, known: JoinedCollective, joined: Joined) -> Standing:
        del joined
        self.asked.append(known.name)
        return self.standing


async def redeem(store: IdentityStore, member: Member, network: Network) -> Redeemed:
    return await redeem_invite(
        store,
        member.code(),
        world=world_of(member.clock),
        links=LINKS,
        passphrase=lambda: b"",
        redeem=member.redeem,
        standing=network,
    )


@pytest.fixture
def reborn(clock: ManualClock) -> Member:
    """Alice under another CA, or somebody who says that he is alice."""
    return Member("alice", "home.alice", clock)


async def test_a_member_whose_ca_was_replaced_takes_its_own_place(
    store: IdentityStore, alice: Member, bob: Member, reborn: Member
) -> None:
    network = Network(Standing.REPLACED)
    await redeem(store, alice, network)
    await redeem(store, bob, network)
    assert network.asked == []
    done = await redeem(store, reborn, network)
    assert network.asked == ["alice-homelab"]
    assert done.collective.name == "alice-homelab"
    assert done.is_current
    assert store.find("alice").authority_digest == reborn.authority.digest
    assert [one.name for one in store.collectives()] == ["alice-homelab", "bob-homelab"]
    assert done.aside is not None
    kept = os.path.join(done.aside, "collectives", "alice-homelab")
    assert sorted(os.listdir(kept)) == ["ca.crt", "client.crt", "collective.json"]


async def test_another_member_that_claims_the_domain_of_a_live_one_does_not_replace_it(
    store: IdentityStore, alice: Member, reborn: Member
) -> None:
    await redeem(store, alice, Network(Standing.LIVE))
    done = await redeem(store, reborn, Network(Standing.LIVE))
    assert done.collective.name == "alice-homelab-2"
    assert not done.is_current
    assert store.selected(None).authority_digest == alice.authority.digest
    assert (done.aside, done.rival) == (None, ("alice-homelab", Standing.LIVE))


async def test_nor_one_that_cannot_be_asked_now(
    store: IdentityStore, alice: Member, reborn: Member
) -> None:
    await redeem(store, alice, Network(Standing.SILENT))
    done = await redeem(store, reborn, Network(Standing.SILENT))
    assert done.collective.name == "alice-homelab-2"
    assert store.selected(None).authority_digest == alice.authority.digest
    assert done.rival == ("alice-homelab", Standing.SILENT)


async def test_a_member_of_the_same_domain_with_another_id_is_no_rival(
    store: IdentityStore, alice: Member, clock: ManualClock
) -> None:
    network = Network(Standing.REPLACED)
    await redeem(store, alice, network)
    done = await redeem(store, Member("alicia", "home.alice", clock), network)
    assert network.asked == []
    assert done.is_new
    assert len(store.collectives()) == 2


async def test_the_same_invite_again_replaces_nothing(
    store: IdentityStore, alice: Member, reborn: Member
) -> None:
    network = Network(Standing.REPLACED)
    await redeem(store, alice, network)
    await redeem(store, reborn, network)
    again = await redeem(store, reborn, network)
    assert network.asked == ["alice-homelab"]
    assert (again.is_new, again.aside, again.rival) == (False, None, None)


async def test_a_crash_while_it_takes_its_place_is_mended_by_the_same_command(
    make_store: Callable[..., IdentityStore],
    tmp_path_factory: pytest.TempPathFactory,
    clock: ManualClock,
) -> None:
    from tests.unit.client.identity.test_redemption import CrashError, CrashingDisk  # noqa: PLC0415

    network = Network(Standing.REPLACED)
    for at in range(1, 200):
        alice, reborn = (Member("alice", "home.alice", clock) for _ in range(2))
        folder = tmp_path_factory.mktemp("config")
        await redeem(make_store(folder), alice, network)
        code = reborn.code()

        async def again(store: IdentityStore, code: str, member: Member) -> Redeemed:
            return await redeem_invite(
                store,
                code,
                world=world_of(member.clock),
                links=LINKS,
                passphrase=lambda: b"",
                redeem=member.redeem,
                standing=network,
            )

        try:
            await again(make_store(folder, CrashingDisk(at)), code, reborn)
            break
        except CrashError:
            pass
        survivor = make_store(folder)
        for one in survivor.collectives():
            assert survivor.credentials(one, lambda: b"").identity
        done = await again(survivor, code, reborn)
        assert survivor.selected(None) == done.collective
        assert [one.name for one in survivor.collectives()] == ["alice-homelab"]
    else:
        raise AssertionError("it never came through")
    assert at > 5
