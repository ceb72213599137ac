"""A scripted workload on the chunk store, and what must hold after the power went."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from collective.chunking.ids import chunk_id
from collective.chunking.store import StoreCore, StoreOptions
from collective.chunking.store.packlog import Pending
from collective.chunking.store.record import Kind
from collective.core.errors import CollectiveError
from collective.core.ids import ChunkId, Generation, StoreUuid
from collective.core.randomness import SeededRandomness
from tests.faults.disk import FaultDisk, Faults, Loss, PowerLostError

DATA_DIR: Final = "/srv/collective/node"
OPTIONS: Final = StoreOptions(
    small_max_bytes=1024,
    pack_max_bytes=2600,
    batch_max_bytes=4096,
    free_margin_bytes=0,
    dead_ratio=0.4,
)
BIG, SMALL = 2500, 700

Step = tuple[str, str, int]
WORKLOAD: Final[tuple[Step, ...]] = (
    ("put", "small-1", 1),
    ("put", "big-1", 1),
    ("put", "small-2", 1),
    ("put", "small-2", 2),
    ("put", "small-3", 1),
    ("delete", "small-1", 1),
    ("put", "big-1", 2),
    ("put_many", "batch-a batch-b batch-c", 1),
    ("delete", "big-1", 1),
    ("delete", "small-2", 2),
    ("compact", "", 0),
    ("delete", "batch-b", 1),
    ("put", "small-1", 1),
    ("put", "small-4", 1),
    ("delete", "small-3", 1),
    ("delete", "small-2", 1),
    ("compact", "", 0),
    ("reopen", "", 0),
    ("put", "small-5", 1),
    ("delete", "small-4", 1),
    ("delete", "batch-a", 1),
    ("delete", "batch-c", 1),
    ("compact", "", 0),
    ("compact", "", 0),
    ("put", "big-2", 1),
    ("delete", "small-1", 1),
    ("delete", "big-1", 2),
    ("put", "small-6", 1),
    ("put", "small-7", 1),
    ("compact", "", 0),
)


def content(label: str) -> bytes:
    """Return the bytes of the chunk called ``label``."""
    size = BIG if label.startswith("big") else SMALL
    return SeededRandomness(sum(label.encode()) * 1000 + len(label)).token(size)


def identity(label: str, number: int) -> tuple[ChunkId, Generation]:
    return chunk_id(content(label)), Generation(number)


@dataclass(slots=True)
class Ledger:
    """What was promised: ``held`` and ``gone`` are acknowledged, ``open`` may be either."""

    uuid: StoreUuid | None = None
    held: set[tuple[str, int]] = field(default_factory=set)
    gone: set[tuple[str, int]] = field(default_factory=set)
    open: set[tuple[str, int]] = field(default_factory=set)

    def start(self, copy: tuple[str, int]) -> None:
        self.held.discard(copy)
        self.gone.discard(copy)
        self.open.add(copy)

    def finish(self, copy: tuple[str, int], *, held: bool) -> None:
        self.open.discard(copy)
        (self.held if held else self.gone).add(copy)


def open_store(disk: FaultDisk, ledger: Ledger) -> StoreCore:
    disk.phase = "open"
    store = StoreCore.open(
        DATA_DIR,
        disk,
        capacity_bytes=1 << 30,
        expected_uuid=ledger.uuid,
        randomness=SeededRandomness(7),
        options=OPTIONS,
    )
    ledger.uuid = store.uuid
    disk.phase = "run"
    return store


def run(disk: FaultDisk, ledger: Ledger) -> StoreCore:
    """Run the workload, writing down promises as they are made."""
    store = open_store(disk, ledger)
    for act, labels, number in WORKLOAD:
        copies = [(label, number) for label in labels.split()]
        for copy in copies:
            ledger.start(copy)
        match act:
            case "put":
                chunk, generation = identity(labels, number)
                store.put(chunk, generation, content(labels))
            case "put_many":
                store._log.append(
                    [
                        Pending(Kind.PUT, *identity(label, number), [content(label)], SMALL)
                        for label in labels.split()
                    ]
                )
            case "delete":
                assert store.delete(*identity(labels, number))
            case "compact":
                disk.phase = "compact"
                store.compact()
                disk.phase = "run"
            case "reopen":
                store.close()
                store = open_store(disk, ledger)
        for copy in copies:
            ledger.finish(copy, held=act != "delete")
    return store


def check(store: StoreCore, ledger: Ledger) -> None:
    """Raise AssertionError or a typed error unless the store keeps every promise."""
    for label, number in ledger.held:
        assert store.read(*identity(label, number)) == content(label), f"{label} differs"
    for label, number in ledger.gone:
        assert not store.holds(*identity(label, number)), f"{label}.{number} came back"
    for label, number in ledger.open:
        if store.holds(*identity(label, number)):
            assert store.read(*identity(label, number)) == content(label), f"{label} is garbage"
    listed = [copy for page in store.inventory(3) for copy in page]
    assert listed == sorted(listed)
    known = {identity(*copy) for copy in ledger.held | ledger.open}
    assert {(copy.chunk, copy.generation) for copy in listed} <= known
    assert len(listed) == store.chunk_count


def carry_on(store: StoreCore, ledger: Ledger) -> None:
    """Repeat what was in doubt, and change more, so that later losses would show."""
    for label, number in sorted(ledger.open):
        store.put(*identity(label, number), content(label))
        ledger.finish((label, number), held=True)
    for label, number in sorted(ledger.gone):
        assert not store.delete(*identity(label, number))
    store.compact()


def survive(faults: Faults, loss: Loss, seed: int) -> None:
    """Run to the crash, lose power, check, carry on, lose power again, check again."""
    disk, ledger = FaultDisk(faults), Ledger()
    try:
        run(disk, ledger)
    except PowerLostError:
        pass
    lasting = Faults(ignore_kind=faults.ignore_kind)
    disk.restart(loss, seed, lasting)
    store = open_store(disk, ledger)
    check(store, ledger)
    carry_on(store, ledger)
    disk.restart(Loss.DROP if seed % 2 == 0 else Loss.SUBSET, seed, lasting)
    store = open_store(disk, ledger)
    check(store, ledger)


def failure(faults: Faults, loss: Loss, seed: int) -> str:
    """Return what :func:`survive` found wrong, or nothing."""
    try:
        survive(faults, loss, seed)
    except (AssertionError, CollectiveError, FileNotFoundError, FileExistsError) as error:
        return f"{type(error).__name__}: {error}"
    return ""
