from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from collective.client.identity.redemption import Redeemed, parse_invite, redeem_invite
from collective.client.identity.store import IdentityStore
from collective.core.clock import ManualClock
from collective.core.disk import DiskFile, OpenMode, OsDisk
from collective.core.errors import RejectedError, UnreachableError, UsageError
from collective.core.ids import Domain, GlobalId
from tests.unit.client.identity.bootstrap import BOOTSTRAP, Member
from tests.worlds import LINKS, world_of

ME = GlobalId("yourname", Domain("homelab.collective.local"))


async def redeem(store: IdentityStore, member: Member, code: str) -> Redeemed:
    return await redeem_invite(
        store,
        code,
        world=world_of(member.clock),
        links=LINKS,
        passphrase=lambda: b"",
        redeem=member.redeem,
    )


async def test_needs_nothing_but_the_code(store: IdentityStore, alice: Member) -> None:
    done = await redeem(store, alice, alice.code())
    assert alice.wishes == ["@"]
    assert done.is_new
    assert done.is_current
    assert done.identity is not None
    assert str(done.identity.global_id) == "guest-1@home.alice"
    assert done.collective.bootstrap_addresses == BOOTSTRAP


async def test_asks_for_the_global_id_of_this_machine(store: IdentityStore, alice: Member) -> None:
    store.create_identity(ME)
    done = await redeem(store, alice, alice.code())
    assert alice.wishes == [str(ME)]
    assert done.collective.global_id == str(ME)


async def test_again_gives_the_same_and_costs_no_use(store: IdentityStore, alice: Member) -> None:
    code = alice.code()
    first = await redeem(store, alice, code)
    again = await redeem(store, alice, code)
    assert (first.is_new, again.is_new) == (True, False)
    assert again.collective == first.collective
    assert alice.uses == 1
    assert len(store.collectives()) == 1


async def test_a_url_and_a_code_in_pieces_do_as_well(store: IdentityStore, alice: Member) -> None:
    code = alice.code()
    await redeem(store, alice, f"collective://join/{code}")
    pieces = "-".join(code.upper()[i : i + 6] for i in range(0, len(code), 6))
    await redeem(store, alice, f"  {pieces}\n")
    assert alice.uses == 1


async def test_a_mistyped_code_is_found_before_anyone_is_asked(
    store: IdentityStore, alice: Member
) -> None:
    code = alice.code()
    wrong = code[:20] + ("0" if code[20] != "0" else "1") + code[21:]
    for text in (wrong, code[:-3], "", "--help me", "x" * 5000, "ü"):
        with pytest.raises(UsageError, match="Invalid invite code"):
            parse_invite(text)
        with pytest.raises(UsageError, match="Invalid invite code"):
            await redeem(store, alice, text)
    assert alice.wishes == []
    assert not os.path.exists(store.place.path)


async def test_a_certificate_of_a_node_is_not_kept(store: IdentityStore, alice: Member) -> None:
    alice.role = "node"
    with pytest.raises(RejectedError, match="for a user"):
        await redeem(store, alice, alice.code())
    assert store.collectives() == []
    assert store.identity() is None


async def test_an_answer_that_was_lost_is_asked_for_again(
    store: IdentityStore, alice: Member
) -> None:
    code = alice.code()

    def lose() -> None:
        raise UnreachableError("No answer.")

    alice.after = lose
    with pytest.raises(UnreachableError):
        await redeem(store, alice, code)
    alice.after = lambda: None
    assert (await redeem(store, alice, code)).is_new
    assert alice.uses == 1


class CrashError(BaseException):
    """The process ends here."""


class CrashingDisk(OsDisk):
    """Ends the process at the ``at``-th change of anything."""

    def __init__(self, at: int) -> None:
        self.left = at

    def _step(self) -> None:
        self.left -= 1
        if self.left == 0:
            raise CrashError

    def open(
        self, path: str, mode: OpenMode, *, permissions: int = 0o600, direct: bool = False
    ) -> DiskFile:
        if mode != "read":
            self._step()
        return super().open(path, mode, permissions=permissions, direct=direct)

    def rename(self, source: str, target: str) -> None:
        self._step()
        super().rename(source, target)

    def make_dir(self, path: str) -> None:
        self._step()
        super().make_dir(path)

    def sync_dir(self, path: str) -> None:
        self._step()
        super().sync_dir(path)

    def unlink(self, path: str) -> None:
        super().unlink(path)
        self._step()


@pytest.mark.parametrize("joined_before", [False, True])
async def test_a_crash_at_any_step_costs_no_use_and_no_collective(
    tmp_path_factory: pytest.TempPathFactory,
    make_store: Callable[..., IdentityStore],
    clock: ManualClock,
    joined_before: bool,
) -> None:
    for at in range(1, 200):
        alice, bob = Member("alice", "home.alice", clock), Member("bob", "garage.bob", clock)
        folder = tmp_path_factory.mktemp("config")
        if joined_before:
            await redeem(make_store(folder), bob, bob.code())
        code = alice.code()
        try:
            await redeem(make_store(folder, CrashingDisk(at)), alice, code)
            break
        except CrashError:
            pass
        survivor = make_store(folder)
        kept = survivor.collectives()
        assert all(survivor.credentials(one, lambda: b"").identity for one in kept)
        done = await redeem(survivor, alice, code)
        assert alice.uses == 1
        assert survivor.find("alice") == done.collective
        assert len(survivor.collectives()) == 1 + joined_before
        assert survivor.selected(None).member == ("bob" if joined_before else "alice")
    else:
        raise AssertionError("it never came through")
    assert at > 10
