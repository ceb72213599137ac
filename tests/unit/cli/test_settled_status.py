"""A node that has just joined is waited for, so that nobody is told that it is down."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from collective.cli.diagnosis.member import settled_status
from collective.core import limits
from collective.model.nodes import ShownState

pytestmark = pytest.mark.virtual_time


class Member:
    """Tells of one node these states, one after the other and the last for good."""

    def __init__(self, *states: ShownState) -> None:
        self._states = list(states)

    async def status(self) -> Any:
        state = self._states.pop(0) if len(self._states) > 1 else self._states[0]
        return SimpleNamespace(nodes=[SimpleNamespace(state=state)])


async def settled(*states: ShownState) -> tuple[ShownState, float]:
    """Return what is told in the end, and after how many seconds."""
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    status = await settled_status(cast("Any", Member(*states)))
    return status.nodes[0].state, loop.time() - began_s


async def test_its_first_heartbeat_is_waited_for() -> None:
    joined = [ShownState.SUSPECT] * 3 + [ShownState.PROBATION]
    state, waited_s = await settled(*joined)
    assert state is ShownState.PROBATION
    assert waited_s == pytest.approx(1.5)


@pytest.mark.parametrize("state", [ShownState.UP, ShownState.DOWN, ShownState.WAITING])
async def test_what_is_known_is_not_waited_for(state: ShownState) -> None:
    assert await settled(state) == (state, 0)


async def test_it_is_not_waited_for_longer_than_until_it_would_be_down() -> None:
    state, waited_s = await settled(ShownState.SUSPECT)
    assert state is ShownState.SUSPECT
    assert limits.NODE_DOWN_AFTER_S < waited_s < 2 * limits.NODE_DOWN_AFTER_S
