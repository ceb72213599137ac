from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3

from collective.chunking.store import ChunkStore
from collective.core import limits
from collective.core.clock import ManualClock
from collective.core.errors import (
    ConflictError,
    CorruptionError,
    NoSpaceError,
    NotFoundError,
    PermissionDeniedError,
    UnreachableError,
    UsageError,
)
from collective.core.ids import ChunkId, Domain, Generation, NodeId, SpiffeId
from collective.core.limits import KIB, MIB
from collective.core.randomness import SeededRandomness
from collective.model import routes
from collective.model.routes import PutAnswer
from collective.pki.certificates import Certified
from collective.roles.node.bad_copies import Problems
from collective.roles.node.commands import COPIES_MAX, NodeService
from collective.roles.node.durable_memory import DurableMemory
from collective.roles.node.metrics import NodeMetrics
from collective.roles.node.storage import DELETED_KEPT_S, NodeStorage
from collective.roles.runtime.metrics import Metrics
from collective.rpc.conversions.node_registry import stated_from
from collective.rpc.gen.collective.v1.node import (
    CatalogPosition,
    ChallengeCopiesRequest,
    CopyChunkRequest,
    CopyFinding,
    CopyRecord,
    DeleteCopiesRequest,
)
from collective.rpc.gen.collective.v1.transfer import PutResult, Route, SignedTicket
from collective.rpc.server.context import CallContext, enter
from collective.transfer.buffers import BufferPool
from tests.worlds import REAL, world_of

DOMAIN = Domain("home.alice")
COORDINATOR = SpiffeId.coordinator(DOMAIN)
NONCE = bytes(range(32))
NOW = CatalogPosition(catalog_id="c1", epoch=2, sequence=50)


THERE = SpiffeId.parse("spiffe://home.alice/node/there")


class Sender:
    """A chunk client that keeps what it was given to send."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.results: list[PutAnswer] = [PutAnswer(THERE)]
        self.closed = 0

    def put(self, _route: routes.Route, parts: list[memoryview], *, request_id: str = "") -> Any:
        self.sent.append(b"".join(bytes(part) for part in parts))
        return Transfer(self)


class Transfer:
    def __init__(self, sender: Sender) -> None:
        self.sender = sender
        self.left = list(sender.results)

    def __aiter__(self) -> Transfer:
        return self

    async def __anext__(self) -> PutAnswer:
        if not self.left:
            raise StopAsyncIteration
        return self.left.pop(0)

    async def aclose(self) -> None:
        self.sender.closed += 1


class Bench:
    def __init__(self, folder: Path, store: ChunkStore) -> None:
        self.folder = folder
        self.store = store
        self.problems = Problems()
        self.memory = DurableMemory(str(folder / "memory.json"), REAL)
        self.sender = Sender()
        self.pool = BufferPool(32 * MIB)
        self.clock = ManualClock()
        self.storage = NodeStorage(store, self.problems, NodeMetrics(Metrics()), self.clock)
        sender: Any = self.sender
        self.service = NodeService(COORDINATOR, store, self.storage, self.memory, sender, self.pool)

    async def put(self, content: bytes, generation: int = 1) -> CopyRecord:
        chunk = ChunkId(blake3(content).digest())
        await self.store.put(chunk, Generation(generation), content)
        return CopyRecord(chunk_id=chunk, generation=generation, length=len(content))

    def damage(self, record: CopyRecord) -> None:
        (path,) = (self.folder / "store").rglob(f"*{record.chunk_id.hex()}*")
        raw = bytearray(path.read_bytes())
        raw[-1] ^= 1
        path.write_bytes(raw)


def called_by(identity: SpiffeId) -> None:
    certified = Certified(identity, "1", 0.0, 2e9)
    enter(CallContext(certified, "r1", "/collective.v1.node.Node/Test", {}))


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    store = await ChunkStore.open(
        str(tmp_path / "store"),
        world_of(randomness=SeededRandomness(1)),
        capacity_bytes=64 * MIB,
        threads=2,
    )
    async with store:
        made = Bench(tmp_path, store)
        yield made
        await made.memory.close()


async def test_only_the_generation_that_was_named_is_deleted(bench: Bench) -> None:
    called_by(COORDINATOR)
    first = await bench.put(b"x" * 1000, 1)
    second = await bench.put(b"x" * 1000, 2)
    answer = await bench.service.delete_copies(DeleteCopiesRequest(position=NOW, copies=[first]))
    assert answer.deleted == [first]
    assert bench.store.holds(ChunkId(second.chunk_id), Generation(2))
    assert not bench.store.holds(ChunkId(first.chunk_id), Generation(1))
    again = await bench.service.delete_copies(DeleteCopiesRequest(position=NOW, copies=[first]))
    assert again.deleted == []


async def test_a_copy_that_was_deleted_before_it_came_does_not_come_any_more(bench: Bench) -> None:
    called_by(COORDINATOR)
    content = b"x" * 1000
    late = CopyRecord(chunk_id=blake3(content).digest(), generation=1, length=1000)
    answer = await bench.service.delete_copies(DeleteCopiesRequest(position=NOW, copies=[late]))
    assert answer.absent == [late]
    chunk = ChunkId(late.chunk_id)
    bench.clock.advance(DELETED_KEPT_S - 1)
    with pytest.raises(ConflictError, match="deleted before it came"):
        await bench.storage.put(chunk, Generation(1), content)
    assert not bench.store.holds(chunk)
    await bench.storage.put(chunk, Generation(2), content)
    bench.clock.advance(2)
    await bench.storage.put(chunk, Generation(1), content)
    assert bench.store.holds(chunk, Generation(1))


async def test_a_restored_old_catalogue_deletes_nothing(bench: Bench) -> None:
    called_by(COORDINATOR)
    record = await bench.put(b"x" * 1000)
    await bench.memory.heard(stated_from(NOW), 0, ())
    old = CatalogPosition(catalog_id="c1", epoch=2, sequence=49)
    with pytest.raises(ConflictError):
        await bench.service.delete_copies(DeleteCopiesRequest(position=old, copies=[record]))
    assert bench.store.holds(ChunkId(record.chunk_id))


@pytest.mark.parametrize(
    "stranger",
    [
        SpiffeId.coordinator(Domain("garage.bob")),
        SpiffeId.node(DOMAIN, NodeId("alice-node-02")),
        SpiffeId.parse("spiffe://home.alice/user/home.alice/eve"),
    ],
)
async def test_nobody_but_the_own_coordinator_is_obeyed(bench: Bench, stranger: SpiffeId) -> None:
    called_by(stranger)
    record = await bench.put(b"x" * 1000)
    with pytest.raises(PermissionDeniedError):
        await bench.service.delete_copies(DeleteCopiesRequest(position=NOW, copies=[record]))
    with pytest.raises(PermissionDeniedError):
        await bench.service.challenge_copies(ChallengeCopiesRequest(nonce=NONCE, copies=[record]))
    with pytest.raises(PermissionDeniedError):
        await bench.service.copy_chunk(CopyChunkRequest(chunk_id=record.chunk_id, generation=1))
    assert bench.store.holds(ChunkId(record.chunk_id))


async def test_a_chunk_id_that_is_a_path_is_refused(bench: Bench) -> None:
    called_by(COORDINATOR)
    record = CopyRecord(chunk_id=b"../../../../etc/passwd", generation=1)
    with pytest.raises(UsageError):
        await bench.service.delete_copies(DeleteCopiesRequest(position=NOW, copies=[record]))
    assert bench.memory.kept.catalog_id == "", "a refused delete moves no position"


async def test_a_list_without_end_is_refused(bench: Bench) -> None:
    called_by(COORDINATOR)
    copies = [CopyRecord(chunk_id=bytes(32), generation=1)] * (limits.CHALLENGE_MAX_COPIES + 1)
    with pytest.raises(UsageError):
        await bench.service.challenge_copies(ChallengeCopiesRequest(nonce=NONCE, copies=copies))


async def test_a_deletion_names_no_more_than_it_may(bench: Bench) -> None:
    called_by(COORDINATOR)
    copies = [CopyRecord(chunk_id=bytes(32), generation=1)] * (COPIES_MAX + 1)
    with pytest.raises(UsageError):
        await bench.service.delete_copies(DeleteCopiesRequest(position=NOW, copies=copies))


async def test_a_challenge_is_answered_by_the_bytes_alone(bench: Bench) -> None:
    called_by(COORDINATOR)
    content = b"a" * (300 * KIB)
    good = await bench.put(content)
    bad = await bench.put(b"b" * (300 * KIB))
    bench.damage(bad)
    missing = CopyRecord(chunk_id=bytes(32), generation=1)
    other = CopyRecord(chunk_id=good.chunk_id, generation=2)
    answer = await bench.service.challenge_copies(
        ChallengeCopiesRequest(nonce=NONCE, copies=[good, bad, missing, other])
    )
    assert [(one.chunk_id, one.generation, one.finding, one.digest) for one in answer.answers] == [
        (good.chunk_id, 1, CopyFinding.SOUND, blake3(content, key=NONCE).digest()),
        (bad.chunk_id, 1, CopyFinding.CORRUPT, b""),
        (missing.chunk_id, 1, CopyFinding.MISSING, b""),
        (other.chunk_id, 2, CopyFinding.MISSING, b""),
    ]
    assert (ChunkId(bad.chunk_id), 1) in bench.problems.batch()


async def test_a_challenge_reads_no_more_than_it_may_and_says_so(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    called_by(COORDINATOR)
    monkeypatch.setattr(limits, "CHALLENGE_MAX_BYTES", 700 * KIB)
    copies = [await bench.put(bytes([n]) * (300 * KIB)) for n in range(4)]
    answer = await bench.service.challenge_copies(
        ChallengeCopiesRequest(nonce=NONCE, copies=copies)
    )
    findings = [one.finding for one in answer.answers]
    assert findings.count(CopyFinding.SOUND) == 2
    assert findings.count(CopyFinding.UNSPECIFIED) == 2


@pytest.mark.parametrize("length", [0, 31, 33])
async def test_a_challenge_without_a_whole_nonce_is_refused(bench: Bench, length: int) -> None:
    called_by(COORDINATOR)
    with pytest.raises(UsageError):
        await bench.service.challenge_copies(ChallengeCopiesRequest(nonce=bytes(length)))


async def test_a_deletion_tells_what_was_not_here_and_nothing_of_what_failed(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    called_by(COORDINATOR)
    here, broken = await bench.put(b"a"), await bench.put(b"b")
    absent = CopyRecord(chunk_id=here.chunk_id, generation=9)
    delete = bench.store.delete

    async def failing(chunk: ChunkId, generation: Generation) -> bool:
        if chunk == broken.chunk_id:
            raise NoSpaceError("no room for a tombstone")
        return await delete(chunk, generation)

    monkeypatch.setattr(bench.store, "delete", failing)
    answer = await bench.service.delete_copies(
        DeleteCopiesRequest(position=NOW, copies=[here, broken, absent])
    )
    assert [one.chunk_id for one in answer.deleted] == [here.chunk_id]
    assert [(one.chunk_id, one.generation) for one in answer.absent] == [(here.chunk_id, 9)]


ROUTE = Route(
    chunk_id=bytes(32),
    hops=[SignedTicket(body=b"t", mac=bytes(32))],
    first_node=str(THERE),
    storing=[str(THERE)],
    stored_length=1,
)


async def test_a_copy_is_sent_whole_and_its_buffer_comes_back(bench: Bench) -> None:
    called_by(COORDINATOR)
    record = await bench.put(b"c" * (300 * KIB))
    answer = await bench.service.copy_chunk(
        CopyChunkRequest(chunk_id=record.chunk_id, generation=1, route=ROUTE)
    )
    assert answer.result == PutResult(node=str(THERE))
    assert bench.sender.sent == [b"c" * (300 * KIB)]
    assert bench.sender.closed == 1
    assert bench.pool.outstanding == 0


async def test_a_damaged_copy_is_never_sent_on(bench: Bench) -> None:
    called_by(COORDINATOR)
    record = await bench.put(b"d" * (300 * KIB))
    bench.damage(record)
    with pytest.raises(CorruptionError):
        await bench.service.copy_chunk(
            CopyChunkRequest(chunk_id=record.chunk_id, generation=1, route=ROUTE)
        )
    assert bench.sender.sent == []
    assert bench.problems.batch() == {(record.chunk_id, 1): True}
    assert bench.pool.outstanding == 0


async def test_a_copy_of_what_is_not_here_is_refused(bench: Bench) -> None:
    called_by(COORDINATOR)
    with pytest.raises(NotFoundError):
        await bench.service.copy_chunk(
            CopyChunkRequest(chunk_id=bytes(32), generation=1, route=ROUTE)
        )


async def test_a_hop_that_gives_no_answer_is_no_success(bench: Bench) -> None:
    called_by(COORDINATOR)
    record = await bench.put(b"e" * 1000)
    bench.sender.results = []
    with pytest.raises(UnreachableError):
        await bench.service.copy_chunk(
            CopyChunkRequest(chunk_id=record.chunk_id, generation=1, route=ROUTE)
        )
