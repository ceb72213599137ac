"""Asking the coordinator where chunks of an upload go."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from collective.client.model import NewChunk
from collective.client.session import Session
from collective.core.errors import NotEnoughCopiesError, RejectedError
from collective.model.extents import Hole
from collective.rpc.gen.collective.v1.transfer import Hole as HoleMessage
from collective.rpc.gen.collective.v1.uploads import AllocateChunksRequest, ChunkIntent, ChunkPlan

PATIENCE_S: Final = 6.0
"""A coordinator that has just restarted hears from its nodes within a few seconds."""
PAUSE_S: Final = 0.5


def intent_message(chunk: NewChunk) -> ChunkIntent:
    """Return ``chunk`` as the coordinator is asked to place it."""
    return ChunkIntent(
        chunk_id=chunk.chunk,
        stored_length=chunk.stored_length,
        offset=chunk.offset,
        length=chunk.length,
    )


def check_plans(chunks: Sequence[NewChunk], plans: Sequence[ChunkPlan]) -> list[ChunkPlan]:
    """Return ``plans``, or raise RejectedError unless they answer ``chunks`` one by one."""
    if [plan.chunk_id for plan in plans] != [chunk.chunk for chunk in chunks]:
        raise RejectedError("The coordinator's plan does not fit the request; update this client.")
    return list(plans)


def hole_messages(holes: Sequence[Hole]) -> list[HoleMessage]:
    """Return ``holes`` as the coordinator is told of them."""
    return [HoleMessage(offset=hole.offset, length=hole.length) for hole in holes]


async def allocate(
    session: Session,
    upload_id: str,
    chunks: Sequence[NewChunk],
    *,
    holes: Sequence[Hole] = (),
    patience_s: float = PATIENCE_S,
) -> list[ChunkPlan]:
    """Tell of ``holes``, and return a plan for each of ``chunks``, leaving out nodes that are avoided.

    When that leaves too few, all nodes are asked for (a hung one may have come back), and again
    until ``patience_s`` are over.  Raises NotEnoughCopiesError then.
    """
    until_s = session.clock.monotonic_s() + patience_s
    exclude = list(session.health.avoided())
    while True:
        request = AllocateChunksRequest(
            upload_id=upload_id,
            chunks=[intent_message(chunk) for chunk in chunks],
            mode=session.choice.mode,
            exclude_nodes=exclude,
            holes=hole_messages(holes),
        )
        try:
            answer = await session.control.persist(session.uploads.allocate_chunks, request)
        except NotEnoughCopiesError:
            if session.clock.monotonic_s() + PAUSE_S > until_s:
                raise
            if not exclude:
                await asyncio.sleep(PAUSE_S)
            exclude = []
        else:
            return check_plans(chunks, answer.plans)
