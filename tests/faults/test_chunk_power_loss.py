"""The power goes at every operation of a workload; and every flush is shown to be needed."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Final

import pytest

from tests.faults.chunk_workload import WORKLOADS, Trial, clean_run
from tests.faults.disk import Loss

SEEDS: Final = 4
VARIANTS: Final = (
    (Loss.DROP, 0),
    (Loss.KEEP, 0),
    *((Loss.SUBSET, seed) for seed in range(1, SEEDS + 1)),
)
OPERATIONS: Final = {name: clean_run(name).operations for name in WORKLOADS}
FLUSHES: Final = sorted({kind for name in WORKLOADS for kind in clean_run(name).flushes})
SECOND_MAX: Final = 40
TWICE_MAX: Final = 14
TWICE: Final = ("chain", "single")


def trials(workload: str, loss: Loss, seed: int, ignore_kind: str = "") -> Iterator[Trial]:
    """Yield a trial for each operation; every other has a second crash while it resumes."""
    for point in range(1, OPERATIONS[workload] + 2):
        second = (point * 7 + seed * 3) % SECOND_MAX if (point + seed) % 2 else 0
        yield Trial(workload, point, loss, seed * 1000 + point, second, ignore_kind)


def twice(workload: str, ignore_kind: str, seed: int = 1) -> Iterator[Trial]:
    """Yield trials with every pair of crashes: a kill, then power loss soon after the restart."""
    for first in range(1, OPERATIONS[workload] + 2):
        for second in range(1, TWICE_MAX):
            yield Trial(workload, first, Loss.KEEP, seed, second, ignore_kind)


@pytest.mark.parametrize("workload", sorted(WORKLOADS))
@pytest.mark.parametrize(("loss", "seed"), VARIANTS)
def test_power_loss_at_every_operation_keeps_every_promise(
    workload: str, loss: Loss, seed: int
) -> None:
    tried = {trial: trial.failure() for trial in trials(workload, loss, seed)}
    failures = {trial: found for trial, found in tried.items() if found}
    print(f"{workload}, {loss.value} {seed}: {len(tried)} crash points, {len(failures)} failed")  # noqa: T201
    assert not failures


@pytest.mark.parametrize("workload", TWICE)
def test_power_loss_soon_after_a_kill_keeps_every_promise(workload: str) -> None:
    tried = {trial: trial.failure() for trial in twice(workload, "")}
    failures = {trial: found for trial, found in tried.items() if found}
    print(f"{workload}, kill then power loss: {len(tried)} pairs, {len(failures)} failed")  # noqa: T201
    assert not failures


@pytest.mark.parametrize("kind", FLUSHES)
def test_taking_away_one_kind_of_flush_is_noticed(kind: str) -> None:
    tried = 0
    once = (trials(name, loss, seed, kind) for name in WORKLOADS for loss, seed in VARIANTS)
    pairs = (twice(name, kind, seed) for seed in range(1, SEEDS) for name in TWICE)
    for run in itertools.chain(once, pairs):
        for trial in run:
            tried += 1
            if found := trial.failure():
                print(f"without '{kind}': noticed at trial {tried}, {trial}: {found}")  # noqa: T201
                return
    pytest.fail(f"no crash point of {tried} needs '{kind}'")
