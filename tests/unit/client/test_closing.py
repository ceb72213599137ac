"""A connection is closed whole, also where giving back what it holds is interrupted."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from collective.client.connection import Connection
from collective.core.clock import ManualClock
from collective.core.errors import UnreachableError
from collective.core.ids import Domain, GlobalId, SpiffeId
from collective.rpc.remote.connection import Control

WHO = SpiffeId.user(Domain("home.alice"), GlobalId("una", Domain("friends.net")))


class Parts:
    """What a connection holds; ``failing`` is the step that does not return."""

    def __init__(self, failing: str, error: BaseException) -> None:
        self.failing, self.error = failing, error
        self.closed: set[str] = set()

    def stub(self, _service: type) -> Any:
        return None

    def _step(self, name: str) -> None:
        if name == self.failing:
            raise self.error
        self.closed.add(name)

    async def settle(self) -> None:
        self._step("settle")

    async def close(self) -> None:
        self._step("nodes")

    async def aclose(self) -> None:
        self._step("channel")


@pytest.mark.parametrize("error", [asyncio.CancelledError(), UnreachableError("Gone.")])
@pytest.mark.parametrize("failing", ["settle", "nodes", "channel"])
async def test_all_else_is_closed_where_one_step_fails(failing: str, error: BaseException) -> None:
    parts = Parts(failing, error)
    clock = ManualClock()
    connection = Connection(
        cast("Any", parts), Control(clock), WHO, lambda: cast("Any", parts), clock
    )
    assert connection.transfers is not None
    with pytest.raises(type(error)):
        await connection.close()
    assert parts.closed == {"settle", "nodes", "channel"} - {failing}
