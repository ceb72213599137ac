"""A scripted workload on the chunk store, and what must hold after the power went."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import Final

from collective.chunking.chunk_ids import chunk_id
from collective.chunking.store import StoreCore, StoreOptions
from collective.chunking.store.pack_record import Kind
from collective.chunking.store.packlog import Pending
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
MIXED: Final[tuple[Step, ...]] = (
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
TOMBSTONES: Final[tuple[Step, ...]] = (
    *(("put", f"small-{number}", 1) for number in range(1, 7)),
    ("delete", "small-1", 1),
    ("delete", "small-2", 1),
    ("compact", "", 0),
    ("delete", "small-5", 1),
    ("delete", "small-6", 1),
    ("compact", "", 0),
    ("put", "small-7", 1),
)
"""A pack goes, then the tombstones for its records: the second must not outlive the first."""
CHAIN: Final[tuple[Step, ...]] = (
    *(("put", f"small-{number}", 1) for number in range(1, 8)),
    *(("delete", f"small-{number}", 1) for number in (1, 2, 3, 5)),
    ("put", "small-8", 1),
    ("delete", "small-6", 1),
    ("compact", "", 0),
)
"""One compaction removes both, without a new pack in between whose flush would cover the first."""
SINGLE: Final[tuple[Step, ...]] = (("put", "big-1", 1), ("put", "small-1", 1))
WORKLOADS: Final = {"mixed": MIXED, "tombstones": TOMBSTONES, "chain": CHAIN, "single": SINGLE}


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
    step: int = 0
    """The step that runs or was interrupted."""

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


def run(disk: FaultDisk, ledger: Ledger, steps: tuple[Step, ...]) -> StoreCore:
    """Run the steps from where the ledger stands, writing down promises as they are made."""
    store = open_store(disk, ledger)
    while ledger.step < len(steps):
        store = _take_step(store, disk, ledger, steps[ledger.step])
        ledger.step += 1
    return store


def _take_step(store: StoreCore, disk: FaultDisk, ledger: Ledger, step: Step) -> StoreCore:
    act, labels, number = step
    copies = [(label, number) for label in labels.split()]
    for copy in copies:
        ledger.start(copy)
    match act:
        case "put":
            store.put(*identity(labels, number), content(labels))
        case "put_many":
            store._log.append(
                [
                    Pending(Kind.PUT, *identity(label, number), [content(label)], SMALL)
                    for label in labels.split()
                ]
            )
        case "delete":
            store.delete(*identity(labels, number))
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


@dataclass(frozen=True, slots=True)
class Trial:
    """Two power cuts in one life of a store; ``second`` counts operations after the restart."""

    workload: str
    first: int
    loss: Loss
    seed: int
    second: int = 0
    ignore_kind: str = ""

    def survive(self) -> None:
        """Crash, check, resume, crash, check, repeat what was in doubt, lose power, check."""
        steps = WORKLOADS[self.workload]
        disk, ledger = FaultDisk(self._faults(self.first)), Ledger()
        with contextlib.suppress(PowerLostError):
            run(disk, ledger, steps)
        disk.restart(self.loss, self.seed, self._faults(0))
        store = open_store(disk, ledger)
        check(store, ledger)
        store.close()
        disk.faults = self._faults(disk.operations + self.second if self.second else 0)
        with contextlib.suppress(PowerLostError):
            run(disk, ledger, steps).close()
        disk.restart(Loss.SUBSET if self.second else Loss.DROP, self.seed, self._faults(0))
        store = open_store(disk, ledger)
        check(store, ledger)
        carry_on(store, ledger)
        disk.restart(Loss.DROP, self.seed, self._faults(0))
        check(open_store(disk, ledger), ledger)

    def _faults(self, crash_at: int) -> Faults:
        return Faults(crash_at=crash_at, ignore_kind=self.ignore_kind)

    def failure(self) -> str:
        """Return what :meth:`survive` found wrong, or nothing."""
        try:
            self.survive()
        except (AssertionError, CollectiveError, FileNotFoundError, FileExistsError) as error:
            return f"{type(error).__name__}: {error}"
        return ""


def clean_run(workload: str) -> FaultDisk:
    """Run without faults and return the disk, which counted operations and flushes."""
    disk, ledger = FaultDisk(), Ledger()
    check(run(disk, ledger, WORKLOADS[workload]), ledger)
    return disk
