"""Whoever holds an open invite tries out which global ids are known here."""

from __future__ import annotations

import pytest

from collective.core.errors import BusyError, NameTakenError
from collective.member.people.guess_limiter import FAILURES_MAX
from collective.model.people import InviteKind
from tests.unit.member.joiners import World, failure


async def test_names_tried_out_by_an_invite_are_slowed_like_guessed_codes(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def taken(*_: object, **__: object) -> None:
        raise NameTakenError("eve@home.alice cannot be had by this invite.")

    code = await world.code(kind=InviteKind.USER)
    with monkeypatch.context() as patched:
        patched.setattr(world.catalog.codes, "redeem", taken)
        for _ in range(FAILURES_MAX):
            assert isinstance(await failure(world, code, wish="eve@home.alice"), NameTakenError)
        assert world.slept == []
        assert isinstance(await failure(world, code, wish="eve@home.alice"), BusyError)
        assert world.slept
    assert (await world.join(code, wish="ann@home.alice")).identity.global_id is not None
