"""A copy goes on after an interruption, and not without an end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from collective.core.errors import UnreachableError
from collective.core.paths import FilePath
from collective.model.writing import Precondition
from collective.rpc.gen.collective.v1.streams import CopyResponse
from collective.rpc.remote.connection import RETRY_S
from collective.rpc.remote.copying import RemoteCopying
from tests.simulation.loop import VirtualLoop

SOURCE, TARGET = FilePath.parse("/@home.bob/a"), FilePath.parse("/b")


class Away:
    """A coordinator that says that it is at it, and then that the peer is away."""

    def __init__(self, copied: int) -> None:
        self.calls = 0
        self._copied = copied

    def copy(self, request: Any) -> AsyncIterator[CopyResponse]:
        del request
        self.calls += 1
        return self._answers(min(self.calls, self._copied))

    async def _answers(self, copied: int) -> AsyncIterator[CopyResponse]:
        yield CopyResponse(copied_bytes=copied)
        raise UnreachableError("home.bob is away.")


class Clock:
    """That of a loop."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop

    def monotonic_s(self) -> float:
        return self._loop.now_s

    wall_s = monotonic_s


@pytest.mark.parametrize("copied", [0, 40], ids=("nothing is copied", "something is"))
def test_a_copy_from_a_peer_that_is_away_has_an_end(copied: int) -> None:
    loop, away = VirtualLoop(), Away(copied)

    async def copy() -> float:
        with pytest.raises(UnreachableError):
            async with asyncio.timeout(20 * RETRY_S):
                await RemoteCopying(away, away, Clock(loop)).copy(  # type: ignore[arg-type]
                    SOURCE, TARGET, Precondition()
                )
        return loop.now_s

    took_s = loop.run(copy())
    loop.close()
    progress_s = 0.1 * copied
    assert RETRY_S - 2.0 < took_s - progress_s < RETRY_S + 1.0
