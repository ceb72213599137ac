"""What a node does on its own coordinator's word: delete, copy, prove.

Everything else comes by the chunk stream with tickets.  Invariants: only the coordinator whose CA
certified this node is obeyed; deletes from an older catalogue than one obeyed before are refused.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeVar

import structlog

from collective.chunking.store import ChunkStore
from collective.core import limits
from collective.core.errors import (
    CollectiveError,
    CorruptionError,
    NotFoundError,
    PermissionDeniedError,
    UnreachableError,
    UsageError,
)
from collective.core.ids import ChunkId, Generation, SpiffeId, parse_chunk_id
from collective.model.routes import Route
from collective.roles.node.durable_memory import DurableMemory
from collective.roles.node.storage import NodeStorage
from collective.rpc.conversions.node_registry import stated_from
from collective.rpc.conversions.transfers import answer_message, route_from
from collective.rpc.gen.collective.v1.node import (
    ChallengeAnswer,
    ChallengeCopiesRequest,
    ChallengeCopiesResponse,
    CopyChunkRequest,
    CopyChunkResponse,
    CopyFinding,
    CopyRecord,
    DeleteCopiesRequest,
    DeleteCopiesResponse,
    NodeBase,
)
from collective.rpc.server.context import current
from collective.transfer.buffers import BufferPool
from collective.transfer.stream.chunk_client import ChunkClient

COPIES_MAX: Final = 2000
"""Copies named in one call."""
PARALLEL_MAX: Final = 8
COPY_TIMEOUT_S: Final = 60.0

T = TypeVar("T")
R = TypeVar("R")


class NodeService(NodeBase):
    """The gRPC service of a node."""

    def __init__(
        self,
        coordinator: SpiffeId,
        store: ChunkStore,
        storage: NodeStorage,
        memory: DurableMemory,
        client: ChunkClient,
        pool: BufferPool,
    ) -> None:
        """Obey ``coordinator`` and nobody else."""
        self._coordinator = coordinator
        self._store = store
        self._storage = storage
        self._memory = memory
        self._client = client
        self._pool = pool
        self._log = structlog.get_logger("collective.node.service")

    async def delete_copies(self, message: DeleteCopiesRequest) -> DeleteCopiesResponse:
        """Delete exactly the generations named; tell which were there and which were not."""
        self._check_caller()
        wanted = _keys(message.copies)
        await self._memory.admit(stated_from(message.position))

        async def delete(key: tuple[ChunkId, Generation]) -> bool | None:
            try:
                return await self._storage.delete(*key)
            except CollectiveError as error:  # the others may go nevertheless
                self._log.warning("copy not deleted", chunk=key[0].hex(), reason=error.message)
                return None

        removed = await _in_parallel(wanted, delete)
        answered = list(zip(message.copies, removed, strict=True))
        deleted = [record for record, gone in answered if gone]
        absent = [record for record, gone in answered if gone is False]
        self._log.info("copies deleted", asked=len(wanted), deleted=len(deleted))
        return DeleteCopiesResponse(deleted=deleted, absent=absent)

    async def copy_chunk(self, message: CopyChunkRequest) -> CopyChunkResponse:
        """Send one copy along a route to the node that shall have another."""
        self._check_caller()
        chunk, generation = _key(message.chunk_id, message.generation)
        if message.route is None:
            raise UsageError("A copy needs a route.")
        route = route_from(message.route)
        try:
            return await self._copy(chunk, generation, route)
        except CorruptionError:
            self._storage.note_damage(chunk)
            raise

    async def _copy(
        self, chunk: ChunkId, generation: Generation, route: Route
    ) -> CopyChunkResponse:
        length = self._store.length_of(chunk, generation)
        request_id = current().request_id
        try:
            async with asyncio.timeout(current().remaining_s(COPY_TIMEOUT_S)):
                with await self._pool.acquire(length) as buffer:
                    count = await self._store.get_into(chunk, buffer.view, generation)
                    transfer = self._client.put(route, [buffer.view[:count]], request_id=request_id)
                    try:
                        async for answer in transfer:
                            return CopyChunkResponse(result=answer_message(answer))
                    finally:
                        await transfer.aclose()
        except TimeoutError as error:
            raise UnreachableError("The copy did not arrive in time.") from error
        raise UnreachableError("The other node gave no answer.")

    async def challenge_copies(self, message: ChallengeCopiesRequest) -> ChallengeCopiesResponse:
        """Prove that the copies named are here, or tell what is wrong with each.

        Every copy is compared with its id before it is answered for: a node that answers wrongly
        does not have the bytes.
        """
        self._check_caller()
        if len(message.nonce) != limits.CHALLENGE_NONCE_BYTES:
            raise UsageError(f"A challenge has a nonce of {limits.CHALLENGE_NONCE_BYTES} bytes.")
        if len(message.copies) > limits.CHALLENGE_MAX_COPIES:
            raise UsageError(
                f"At most {limits.CHALLENGE_MAX_COPIES} copies may be challenged in one call."
            )
        left = limits.CHALLENGE_MAX_BYTES

        async def answer(key: tuple[ChunkId, Generation]) -> ChallengeAnswer:
            nonlocal left
            finding, digest = CopyFinding.UNSPECIFIED, b""
            try:
                left -= self._store.length_of(*key)
                if left >= 0:
                    digest = await self._store.challenge(*key, message.nonce)
                    finding = CopyFinding.SOUND
            except NotFoundError:
                finding = CopyFinding.MISSING
            except CorruptionError:
                self._storage.note_damage(key[0])
                finding = CopyFinding.CORRUPT
            except CollectiveError as error:  # the disk, not the copy
                self._log.warning("copy not read", chunk=key[0].hex(), reason=error.message)
            return ChallengeAnswer(
                chunk_id=key[0], generation=key[1], finding=finding, digest=digest
            )

        answers = await _in_parallel(_keys(message.copies), answer)
        return ChallengeCopiesResponse(answers=answers)

    def _check_caller(self) -> None:
        if current().peer.identity != self._coordinator:
            raise PermissionDeniedError("A node obeys its own coordinator only.")


def _key(chunk_id: bytes, generation: int) -> tuple[ChunkId, Generation]:
    return parse_chunk_id(chunk_id), Generation(generation)


def _keys(copies: Sequence[CopyRecord]) -> list[tuple[ChunkId, Generation]]:
    if len(copies) > COPIES_MAX:
        raise UsageError(f"At most {COPIES_MAX} copies may be named in one call.")
    if any(record.length > limits.CHUNK_STORED_MAX_BYTES for record in copies):
        raise UsageError("No chunk is so long.")
    return [_key(record.chunk_id, record.generation) for record in copies]


async def _in_parallel(items: Sequence[T], act: Callable[[T], Awaitable[R]]) -> list[R]:
    """Run ``act`` on each item, a few at a time; the first error ends all and is raised."""
    results: dict[int, R] = {}
    pending = iter(enumerate(items))

    async def work() -> None:
        for index, item in pending:
            results[index] = await act(item)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(min(PARALLEL_MAX, len(items))):
                group.create_task(work())
    except ExceptionGroup as group_error:
        raise group_error.exceptions[0] from group_error
    return [results[index] for index in range(len(items))]
