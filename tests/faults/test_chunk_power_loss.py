"""The power goes at every operation of a workload; and every flush is shown to be needed."""

from __future__ import annotations

from typing import Final

import pytest

from tests.faults.chunk_workload import Ledger, check, failure, run
from tests.faults.disk import FaultDisk, Faults, Loss

SEEDS: Final = 4
VARIANTS: Final = (
    (Loss.DROP, 0),
    (Loss.KEEP, 0),
    *((Loss.SUBSET, seed) for seed in range(1, SEEDS + 1)),
)


def _clean_run() -> FaultDisk:
    disk, ledger = FaultDisk(), Ledger()
    check(run(disk, ledger), ledger)
    return disk


OPERATIONS: Final = _clean_run().operations
FLUSHES: Final = tuple(_clean_run().flushes)


@pytest.mark.parametrize(("loss", "seed"), VARIANTS)
def test_power_loss_at_every_operation_keeps_every_promise(loss: Loss, seed: int) -> None:
    failures = {
        point: found
        for point in range(1, OPERATIONS + 2)
        if (found := failure(Faults(crash_at=point), loss, seed * 1000 + point))
    }
    print(f"power loss, {loss.value} {seed}: {OPERATIONS + 1} points tried, {len(failures)} failed")
    assert not failures


@pytest.mark.parametrize("kind", sorted(set(FLUSHES)))
def test_taking_away_one_kind_of_flush_is_noticed(kind: str) -> None:
    for loss, seed in VARIANTS:
        for point in range(1, OPERATIONS + 2):
            faults = Faults(crash_at=point, ignore_kind=kind)
            if found := failure(faults, loss, seed * 1000 + point):
                print(f"without '{kind}': operation {point}, {loss.value}: {found}")
                return
    pytest.fail(f"no crash point needs '{kind}'")
