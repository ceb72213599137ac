"""A revocation says who else lost rights, which invites ended, and what is left to decide."""

from __future__ import annotations

import pytest

from collective.cli.identity_devices import revoked_lines
from collective.core.errors import ConflictError
from collective.core.ids import GlobalId, SpiffeId
from collective.core.paths import FilePath
from collective.model.calls import Call
from collective.model.people import Consequences, InviteKind
from collective.model.rights import GrantTerms, Right
from collective.model.trust import Revoked
from collective.pki import certificates
from collective.pki.revocation import key_entry
from tests.unit.member.trust.test_key_revocation import (
    ALICE,
    EVE,
    OPERATOR,
    Member,
    acting,
    digest_of,
    member,
)
from tests.worlds import REAL

__all__ = ("member",)

SHARED = FilePath.parse("/shared")
EVERYTHING = Right.READ | Right.WRITE | Right.SHARE


def user(name: str) -> SpiffeId:
    return SpiffeId.user(ALICE, GlobalId(name, ALICE))


async def chain(member: Member) -> tuple[Call, Call]:
    """Eve was given rights and passed them on to bob, and bob to cathy; dan has his own."""
    await member.catalog.grants.add(OPERATOR, SHARED, EVERYTHING, EVE, None)
    eve = Call(EVE, is_operator=False)
    bob = Call(user("bob"), is_operator=False)
    await member.catalog.grants.add(eve, SHARED, EVERYTHING, bob.principal, None)
    await member.catalog.grants.add(bob, SHARED, Right.READ, user("cathy"), None)
    await member.catalog.grants.add(OPERATOR, SHARED, Right.READ, user("dan"), None)
    return eve, bob


async def test_those_below_in_the_chain_their_invites_and_datastores_are_told(
    member: Member,
) -> None:
    eve, bob = await chain(member)
    await member.catalog.datastores.create(
        OPERATOR, FilePath.parse("/eves"), copies=0, quota_bytes=0, owner=EVE
    )
    for by in (eve, bob, OPERATOR):
        await member.codes.create(
            by, InviteKind.USER, uses=1, validity_s=60, grants=[GrantTerms(SHARED, Right.READ)]
        )
    done = await member.revoking.revoke(OPERATOR, str(EVE))
    assert done.consequences.losers == (user("bob"), user("cathy"))
    assert done.consequences.invites == 2
    assert done.consequences.datastores == (FilePath.parse("/eves"),)


async def test_a_device_takes_only_its_own_invites_with_it(member: Member) -> None:
    key = certificates.new_private_key(REAL.randomness)
    first = await member.join(await member.code(), key, str(EVE.global_id))
    await chain(member)
    await member.code(InviteKind.DEVICE, acting(first), EVE)
    done = await member.revoking.revoke(OPERATOR, key_entry(digest_of(key)))
    assert (done.consequences.losers, done.consequences.invites) == ((), 1)


async def test_revoking_again_says_so(member: Member) -> None:
    await chain(member)
    await member.revoking.revoke(OPERATOR, str(EVE))
    with pytest.raises(ConflictError, match=r"eve@home.alice is revoked here already"):
        await member.revoking.revoke(OPERATOR, str(EVE))


def test_people_read_whom_it_concerns() -> None:
    ended = Consequences(
        tuple(user(f"u{number}") for number in range(7)), 2, (FilePath.parse("/eves"),)
    )
    told = Revoked(epoch=1, closed=1, entries=(), consequences=ended, losers_count=7)
    text = "\n".join(revoked_lines("eve@home.alice", told))
    for part in ("1 connection ended", "u0@home.alice", "and 2 more", "2 open invites", "/eves"):
        assert part in text
