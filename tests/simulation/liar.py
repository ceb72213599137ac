"""A node that lies: its messages, receipts, storage and answers are not what its program says.

The program is the real one; what it sends and does is replaced where it leaves the process.  Which
process lies, and how, stands in ``Process.lies``.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, TypeVar
from unittest import mock

from collective.chunking.store.facade import ChunkStore
from collective.core.errors import BusyError
from collective.roles.node.bad_copies import Problems
from collective.roles.node.commands import NodeService
from collective.roles.node.storage import NodeStorage
from collective.transfer.stream import put_job
from collective.transfer.tickets import receipts
from tests import protocol as pb
from tests.simulation.process import PROCESS, Process

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

KINDS: Final = (
    "wrong lengths",
    "invented inventory",
    "missing inventory",
    "invented receipts",
    "refused deletes",
    "pretended deletes",
    "other bytes",
    "invented problems",
    "wrong proofs",
    "no proofs",
    "unread copies",
    "others' addresses",
    "invented capacity",
)


@dataclass(slots=True)
class Lies:
    """How one process lies."""

    kind: str
    chance: random.Random
    known: list[tuple[bytes, int]]
    """Chunks and generations of copies that the liar has heard of."""

    def told(self, message: Any) -> Any:
        """Return what is sent in the place of a message that no kind here is about."""
        return message


def _lies(*kinds: str) -> Lies | None:
    process = PROCESS.get()
    lies = process.lies if process is not None else None
    return lies if lies is not None and lies.kind in kinds else None


def as_sent(process: Process, method: str, message: Any) -> Any:
    """Return what ``process`` sends instead of ``message``."""
    lies: Lies | None = process.lies
    if lies is None:
        return message
    if isinstance(message, pb.InventoryPage):
        return _inventory(lies, message)
    if isinstance(message, pb.HeartbeatRequest):
        if lies.kind == "others' addresses":
            return _changed(message, addresses=[pb.Address(host="coordinator", port=7000)])
        if lies.kind == "invented capacity":
            return _changed(message, total_capacity=1 << 50, used_capacity=0)
    if isinstance(message, pb.ChallengeCopiesResponse):
        return _changed(message, answers=[_answer(lies, one) for one in message.answers])
    del method
    return lies.told(message)


M = TypeVar("M", bound="DataclassInstance")


def _changed(message: M, **fields: Any) -> M:
    return replace(message, **fields)


def _answer(lies: Lies, answer: pb.ChallengeAnswer) -> pb.ChallengeAnswer:
    if lies.kind == "wrong proofs":
        return _changed(answer, digest=lies.chance.randbytes(len(answer.digest)))
    if lies.kind == "unread copies":
        return _changed(answer, finding=pb.CopyFinding.UNSPECIFIED, digest=b"")
    return answer


def _inventory(lies: Lies, page: pb.InventoryPage) -> pb.InventoryPage:
    copies = list(page.copies)
    lies.known.extend((copy.chunk_id, copy.generation) for copy in copies)
    if lies.kind == "wrong lengths":
        copies = [_changed(copy, length=7) for copy in copies]
    elif lies.kind == "missing inventory":
        copies = [copy for copy in copies if lies.chance.random() < 0.5]
    elif lies.kind == "invented inventory" and copies:
        invented = [
            pb.CopyRecord(
                chunk_id=lies.chance.randbytes(32),
                generation=lies.chance.randrange(1, 50),
                length=99,
            )
            for _ in range(5)
        ]
        # of chunks that there are, with generations of others
        invented += [_changed(copy, generation=copy.generation + 1) for copy in copies[:5]]
        copies = sorted((*copies, *invented), key=lambda one: (one.chunk_id, one.generation))
    return _changed(page, copies=copies)


@contextmanager
def able_to_lie() -> Iterator[None]:  # noqa: C901 - one function for each place
    """Have the places where a liar's program differs from an honest one."""
    sign, put, get_into = receipts.sign_receipt, NodeStorage.put, NodeStorage.get_into
    delete, challenge = NodeService.delete_copies, NodeService.challenge_copies
    store_get, batch = ChunkStore.get_into, Problems.batch

    def lying_sign(key: Any, receipt: Any) -> Any:
        if _lies("wrong lengths"):
            receipt = _changed(receipt, length=7)
        return sign(key, receipt)

    async def lying_put(self: Any, *args: Any, **kwargs: Any) -> None:
        lies = _lies("invented receipts")
        if lies is not None:
            return
        await put(self, *args, **kwargs)

    async def lying_get(self: Any, chunk: Any, buffer: Any) -> int:
        count = await get_into(self, chunk, buffer)
        lies = _lies("other bytes")
        if lies is not None:
            buffer[count // 2 : count] = lies.chance.randbytes(count - count // 2)
        return count

    async def lying_store_get(self: Any, chunk: Any, buffer: Any, generation: Any = None) -> int:
        count = await store_get(self, chunk, buffer, generation)
        lies = _lies("other bytes")
        if lies is not None:
            buffer[count // 2 : count] = lies.chance.randbytes(count - count // 2)
        return count

    def lying_batch(self: Any) -> Any:
        lies = _lies("invented problems")
        found: dict[Any, bool] = dict(batch(self))
        if lies is not None:
            for chunk, generation in lies.known[-3:]:
                found[chunk, generation] = lies.chance.random() < 0.5
            found[lies.chance.randbytes(32), 5] = True
        return found

    async def lying_delete(self: Any, message: Any) -> Any:
        if _lies("refused deletes"):
            raise BusyError("Not now.")
        if _lies("pretended deletes"):
            return pb.DeleteCopiesResponse(deleted=list(message.copies))
        return await delete(self, message)

    async def silent_challenge(self: Any, message: Any) -> Any:
        if _lies("no proofs"):
            await asyncio.sleep(3600.0)
        return await challenge(self, message)

    with ExitStack() as stack:
        for target, name, value in (
            (put_job, "sign_receipt", lying_sign),
            (NodeStorage, "put", lying_put),
            (NodeStorage, "get_into", lying_get),
            (ChunkStore, "get_into", lying_store_get),
            (NodeService, "delete_copies", lying_delete),
            (NodeService, "challenge_copies", silent_challenge),
            (Problems, "batch", lying_batch),
        ):
            stack.enter_context(mock.patch.object(target, name, value))
        yield
