"""Redemptions that were overheard, replayed, or made with a clock that is wrong."""

from __future__ import annotations

from dataclasses import replace

import pytest

from collective.client.joining import check_answer
from collective.core.errors import PermissionDeniedError, RejectedError
from collective.core.ids import SpiffeRole
from collective.model.people import InviteKind
from collective.model.trust import JoinAnswer, TrustedAuthorities
from collective.pki import certificates
from tests.unit.member.joiners import OPERATOR, World
from tests.worlds import REAL

ANN = "ann@friends.example"
HOUR_S = 3600.0


async def test_a_redemption_replayed_for_another_key_is_refused_and_costs_no_use(
    world: World,
) -> None:
    code = await world.code(uses=5, kind=InviteKind.USER)
    heard = world.attempt(code, wish=ANN)
    await world.joining.join(heard)
    mine = certificates.make_request(certificates.new_private_key(REAL.randomness))
    with pytest.raises(PermissionDeniedError):
        await world.joining.join(replace(heard, csr_der=mine))
    fresh = world.joining.begin_join(code.code_id)
    with pytest.raises(PermissionDeniedError):
        await world.joining.join(replace(heard, csr_der=mine, nonce=fresh))
    assert (await world.catalog.codes.get(code.code_id)).uses_left == 4


async def test_a_redemption_replayed_for_another_name_is_refused(world: World) -> None:
    code = await world.code(uses=5, kind=InviteKind.USER)
    heard = world.attempt(code, wish=ANN)
    with pytest.raises(PermissionDeniedError):
        await world.joining.join(replace(heard, wish="eve@friends.example"))
    assert (await world.catalog.codes.get(code.code_id)).uses_left == 5


async def test_a_bootstrap_changes_the_display_name_of_a_redemption(world: World) -> None:
    """It is in the signed transcript: whoever forwards a redemption cannot rename the joiner."""
    code = await world.code(uses=5, kind=InviteKind.USER)
    made = world.attempt(code, wish=ANN, display_name="Ann")
    for name in ("", "The operator"):
        with pytest.raises(PermissionDeniedError):
            await world.joining.join(replace(made, display_name=name))
    assert (await world.catalog.codes.get(code.code_id)).uses_left == 5
    await world.joining.join(made)


async def test_a_live_renewal_moves_to_a_thiefs_own_key(world: World) -> None:
    key, thief = (
        certificates.new_private_key(REAL.randomness),
        certificates.new_private_key(REAL.randomness),
    )
    got = await world.join(await world.code(), key)
    peer = certificates.describe(certificates.load_certificate(got.certificate_der))
    with pytest.raises(RejectedError, match="same key"):
        await world.renewal.renew_live(peer, certificates.make_request(thief))
    assert world.catalog.certificates.issued == []
    await world.renewal.renew_live(peer, certificates.make_request(key))


async def test_a_redemption_replayed_as_it_was_gives_the_thief_nothing_new(world: World) -> None:
    """The certificate is for the key of whoever was overheard, and no use is counted."""
    code = await world.code(uses=5, kind=InviteKind.USER)
    heard = world.attempt(code, wish=ANN)
    first = await world.joining.join(heard)
    again = await world.joining.join(heard)
    assert again.certificate_der == first.certificate_der
    assert (await world.catalog.codes.get(code.code_id)).uses_left == 4


async def test_a_clock_wrong_by_an_hour_at_the_joiner_is_named_and_costs_no_second_use(
    world: World,
) -> None:
    code = await world.code(uses=1, kind=InviteKind.USER)
    key = certificates.new_private_key(REAL.randomness)

    async def redeemed(wrong_s: float) -> str:
        admission = await world.join(code, key, wish=ANN)
        answer = JoinAnswer(
            certificate_der=admission.certificate_der,
            authority_der=certificates.certificate_der(world.ca.certificate),
            trusted=TrustedAuthorities((), ()),
            member="alice",
            domain="home.alice",
            collective_name="home",
            addresses=(),
        )
        now_s = world.clock.wall_s() + wrong_s
        roles: frozenset[SpiffeRole] = frozenset(("user",))
        joined = check_answer(answer, world.ca.digest, key, roles=roles, now_s=now_s)
        return str(joined.identity.global_id)

    with pytest.raises(RejectedError, match="compare the clocks"):
        await redeemed(-HOUR_S)
    assert await redeemed(0.0) == ANN
    assert await redeemed(HOUR_S) == ANN
    assert (await world.catalog.codes.get(code.code_id)).uses_left == 0


@pytest.mark.parametrize("jump_s", [-HOUR_S, HOUR_S])
async def test_a_coordinators_clock_set_by_an_hour_in_a_redemption_burns_no_use(
    world: World, jump_s: float
) -> None:
    """It works or is refused, and the same key may try again; never a use without a certificate."""
    made = await world.codes.create(OPERATOR, InviteKind.USER, uses=1, validity_s=24 * HOUR_S)
    code, key = made[1], certificates.new_private_key(REAL.randomness)
    attempt = world.attempt(code, key, wish=ANN)
    world.clock.jump_wall(jump_s)
    try:
        first = (await world.joining.join(attempt)).identity
    except PermissionDeniedError:
        assert (await world.catalog.codes.get(code.code_id)).uses_left == 1
        first = (await world.join(code, key, wish=ANN)).identity
    assert str(first.global_id) == ANN
    assert (await world.catalog.codes.get(code.code_id)).uses_left == 0
