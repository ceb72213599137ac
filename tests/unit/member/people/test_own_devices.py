"""A person ends other devices of his own, after one was lost, and nobody else's."""

from __future__ import annotations

import pytest

from collective.core.errors import ConflictError, PermissionDeniedError
from collective.core.ids import GlobalId, SpiffeId
from collective.member.people.joining import Admitted
from collective.model.calls import Call
from collective.model.people import InviteKind
from collective.pki import certificates
from collective.pki.revocation import key_entry
from tests.unit.member.trust.test_key_revocation import (
    ALICE,
    EVE,
    OPERATOR,
    Key,
    Member,
    acting,
    digest_of,
    leaf,
    member,
)
from tests.worlds import REAL

__all__ = ("member",)

BOB = SpiffeId.user(ALICE, GlobalId("bob", ALICE))


async def two_devices(member: Member) -> tuple[tuple[Admitted, Key], tuple[Admitted, Key]]:
    laptop, phone = (
        certificates.new_private_key(REAL.randomness),
        certificates.new_private_key(REAL.randomness),
    )
    first = await member.join(await member.code(), laptop, str(EVE.global_id))
    other = await member.join(await member.code(InviteKind.DEVICE, acting(first), EVE), phone)
    return (first, laptop), (other, phone)


@pytest.mark.parametrize("by", ["key", "serial"])
async def test_a_device_ends_a_lost_one_of_the_same_identity(member: Member, by: str) -> None:
    (first, laptop), (other, phone) = await two_devices(member)
    who = key_entry(digest_of(phone)) if by == "key" else f"serial:{leaf(other).serial.upper()}"
    done = await member.revoking.revoke(acting(first), who)
    assert key_entry(digest_of(phone)) in done.entries
    assert member.gate.objection(leaf(other)) == "revoked"
    assert member.gate.objection(leaf(first)) is None
    await member.renewal.renew_live(leaf(first), certificates.make_request(laptop))


async def test_a_user_revokes_another_users_device_or_identity(member: Member) -> None:
    (first, _), _ = await two_devices(member)
    key = certificates.new_private_key(REAL.randomness)
    bob = await member.join(await member.code(), key, str(BOB.global_id))
    whom = [
        key_entry(digest_of(key)),
        f"serial:{leaf(bob).serial}",
        str(BOB),
        str(EVE),
        "key:" + "0" * 64,
    ]
    whom += ["serial:0123", str(BOB.global_id), str(EVE.global_id), "nobody@home.alice"]
    for who in whom:
        with pytest.raises(PermissionDeniedError):
            await member.revoking.revoke(acting(first), who)
        entry = who if "@" not in who else str(BOB)
        with pytest.raises(PermissionDeniedError):
            await member.catalog.revocations.revoke(acting(first), entry)
    assert not member.revocations.present.entries


async def test_a_device_does_not_shut_itself_out_by_mistake(member: Member) -> None:
    (first, laptop), _ = await two_devices(member)
    for who in (key_entry(digest_of(laptop)), f"serial:{leaf(first).serial}"):
        with pytest.raises(ConflictError, match="this machine"):
            await member.revoking.revoke(acting(first), who)
    await member.revoking.revoke(OPERATOR, key_entry(digest_of(laptop)))


async def test_a_revoked_device_does_not_end_the_others(member: Member) -> None:
    (first, laptop), (other, phone) = await two_devices(member)
    await member.revoking.revoke(acting(first), key_entry(digest_of(phone)))
    with pytest.raises(PermissionDeniedError):
        await member.catalog.revocations.revoke(acting(other), key_entry(digest_of(laptop)))


async def test_without_a_key_nobody_is_taken_for_the_owner_of_a_device(member: Member) -> None:
    _, (_, phone) = await two_devices(member)
    nobody = Call(BOB, is_operator=False)
    with pytest.raises(PermissionDeniedError):
        await member.catalog.revocations.revoke(nobody, key_entry(digest_of(phone)))
