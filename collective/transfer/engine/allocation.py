"""Asking where chunks of an upload go."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from collective.core.errors import NotEnoughCopiesError, RejectedError
from collective.core.ids import SpiffeId, UploadId
from collective.model.calls import Call
from collective.model.extents import Extent, Hole
from collective.model.transfers import ChunkPlan
from collective.transfer.engine.control import UploadControl
from collective.transfer.engine.engine import Engine

PAUSE_S: Final = 0.5


def check_plans(extents: Sequence[Extent], plans: Sequence[ChunkPlan]) -> Sequence[ChunkPlan]:
    """Return ``plans``, or raise RejectedError unless they answer ``extents`` one by one."""
    if [plan.chunk for plan in plans] != [extent.chunk for extent in extents]:
        raise RejectedError("The coordinator's plan does not fit the request; update this client.")
    return plans


async def allocate(
    engine: Engine,
    control: UploadControl,
    call: Call,
    upload: UploadId,
    extents: Sequence[Extent],
    holes: Sequence[Hole] = (),
    *,
    patience_s: float | None = None,
) -> Sequence[ChunkPlan]:
    """Tell of ``holes``, and return a plan for each of ``extents``, without nodes that are avoided.

    When that leaves too few, those that cannot be reached directly are relayed to; then all nodes are
    asked for (a hung one may have come back), and again until ``patience_s`` (by default the
    engine's) are over.  Raises NotEnoughCopiesError then.
    """
    if patience_s is None:
        patience_s = engine.options.patience_s
    until_s = engine.clock.monotonic_s() + patience_s
    exclude: Sequence[SpiffeId] = engine.health.avoided()
    while True:
        try:
            plans = await control.allocate(
                call, upload, extents, holes, mode=engine.choice.mode, exclude=exclude
            )
        except NotEnoughCopiesError:
            if exclude and engine.choice.relay_to_the_rest():
                exclude = engine.health.avoided()
                continue
            if engine.clock.monotonic_s() + PAUSE_S > until_s:
                raise
            if not exclude:
                await asyncio.sleep(PAUSE_S)
            exclude = ()
        else:
            return check_plans(extents, plans)
