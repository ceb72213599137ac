"""What is known of a disk: by a look, by what others met, and that it is well again."""

from __future__ import annotations

import errno
import os

import pytest

from collective.core.disk_errors import DiskState, disk_error, disk_errors, state_behind
from collective.core.errors import (
    CollectiveError,
    CorruptionError,
    ExitCode,
    NoSpaceError,
    OperatorError,
)
from collective.roles.runtime.diskwatch import DiskWatch
from collective.roles.runtime.metrics import Metrics
from tests.faults.disk import FaultDisk
from tests.worlds import world_of

FLOOR = 1000
CAUSES = {
    errno.ENOSPC: DiskState.FULL,
    errno.EDQUOT: DiskState.FULL,
    errno.EROFS: DiskState.READ_ONLY,
    errno.EACCES: DiskState.READ_ONLY,
    errno.EIO: DiskState.FAILING,
}


class Bench:
    def __init__(self) -> None:
        self.disk = FaultDisk()
        self.disk.make_dir("/data")
        self.metrics = Metrics()
        self.met: BaseException | None = None
        self.refused: CollectiveError | None = None
        self.proofs = 0
        self.watch = DiskWatch(
            "node",
            world_of(disk=self.disk),
            "/data",
            self.metrics,
            whose="The node's",
            floor_bytes=FLOOR,
            told=lambda: self.met,
            proven=self.prove,
        )

    async def prove(self) -> None:
        self.proofs += 1
        if self.refused is not None:
            raise self.refused

    async def look(self) -> DiskState:
        await self.watch.work()
        return self.watch.state


@pytest.fixture
def bench() -> Bench:
    return Bench()


def failed(number: int) -> CollectiveError:
    return disk_error(OSError(number, os.strerror(number)))


@pytest.mark.parametrize(("number", "state"), list(CAUSES.items()))
async def test_what_others_met_counts_until_a_write_works(
    bench: Bench, number: int, state: DiskState
) -> None:
    assert await bench.look() is DiskState.OK
    assert bench.disk.operations == 1, "a disk that is well is only asked"
    bench.watch.saw(failed(number))
    assert bench.watch.state is state
    assert bench.watch.sentence.startswith("The node's disk")
    bench.disk.faults.write_errno = number
    assert await bench.look() is state
    bench.disk.faults.write_errno = 0
    bench.disk.faults.flush_errno = number
    assert await bench.look() is state
    bench.disk.faults.flush_errno = 0
    assert await bench.look() is DiskState.OK
    assert bench.watch.sentence == ""
    assert bench.disk.paths() == [], "nothing is left of the probe"


async def test_a_disk_that_fills_up_or_turns_read_only_is_noticed_without_a_write(
    bench: Bench,
) -> None:
    bench.disk.free_bytes = FLOOR - 1
    assert await bench.look() is DiskState.FULL
    exposed = bench.metrics.exposition().decode()
    assert 'collective_disk_state{role="node",state="full"} 1.0' in exposed
    assert 'collective_disk_state{role="node",state="ok"} 0.0' in exposed
    bench.disk.free_bytes = FLOOR
    assert await bench.look() is DiskState.OK
    bench.disk.faults.read_only = True
    assert await bench.look() is DiskState.READ_ONLY
    bench.disk.faults.read_only = False
    assert await bench.look() is DiskState.OK


async def test_a_further_proof_decides_whether_the_disk_is_well_again(bench: Bench) -> None:
    bench.met = failed(errno.EIO)
    bench.refused = failed(errno.ENOSPC)
    assert await bench.look() is DiskState.FULL
    bench.met = None
    assert await bench.look() is DiskState.FULL
    bench.refused = CorruptionError("It is damaged.")
    assert await bench.look() is DiskState.FAILING
    bench.refused = None
    assert await bench.look() is DiskState.OK
    proofs = bench.proofs
    await bench.look()
    assert bench.proofs == proofs, "a disk that is well has nothing to prove"


async def test_an_error_that_is_not_the_disks_says_nothing_of_it(bench: Bench) -> None:
    bench.watch.saw(NoSpaceError("The node's storage capacity is used up."))
    bench.watch.saw(RuntimeError("a defect"))
    assert bench.watch.state is DiskState.OK


def test_a_full_disk_is_exit_code_6_and_every_cause_is_the_operators() -> None:
    assert failed(errno.ENOSPC).exit_code is ExitCode.NOT_ENOUGH
    for number, state in CAUSES.items():
        with pytest.raises(OperatorError) as found, disk_errors("The catalogue's"):
            raise OSError(number, os.strerror(number))
        assert state_behind(found.value) is state
        assert found.value.message.startswith("The catalogue's")
