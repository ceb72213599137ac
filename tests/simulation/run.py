"""Many seeds in several processes, their counts, and what a run must reach."""

from __future__ import annotations

import argparse
import concurrent.futures
import gc
import multiprocessing
import os
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from tests.simulation.faults import all_kinds
from tests.simulation.houses.federation import ABROAD_LEAST
from tests.simulation.houses.troubles import COUNTED
from tests.simulation.pace import BUSY_MINUTES, CALM_DAYS, DAY_S, busy, is_calm, pace_of
from tests.simulation.seeds import OF_SEVERAL, is_of_several, run_apart, run_seed
from tests.simulation.stage import Result

SEEDS: Final = 400
WORKERS: Final = 2
FAULT: Final = "fault: "
"""What the counts of faults begin with."""
KIND_LEAST: Final = 50
"""How often each kind of fault must have happened in a run of at least ``SEEDS`` seeds."""
SEVERAL_LEAST: Final = 20
"""The same of each kind that only runs of several members have, which are fewer."""
CALM_SEEDS: Final = 10
CALM_KIND_LEAST: Final = 8
"""The same in a run of at least ``CALM_SEEDS`` seeds of ten days."""
FORGOTTEN: Final = "codes forgotten"
CALM_LEAST: Final = {FORGOTTEN: 10, f"{FAULT}catalogue lost": 1}
"""What else such a run has: codes that were kept for a week and then deleted, and what happens early or never."""
TOLD: Final = (
    "refused as it must be",
    "acknowledged at a peer",
    "refused at a peer",
    "copied across houses",
    "grants given for peers",
    "grants ended for peers",
    "grants passed on at a peer",
    "grants ended at their root",
    "members that peered by a folder",
    "peered by --replace",
    "forged calls refused",
    "local calls timed",
    "restarts",
    "certificates renewed",
    "ticket keys made",
    "CAs replaced",
    FORGOTTEN,
    "snapshots",
)
"""What is counted beside faults."""
TAIL_LINES: Final = 120


def prepare() -> None:
    """Make a worker ready, whose children share what is imported and remembered."""
    run_seed(0, 0.2)
    gc.collect()
    gc.freeze()


def results(seeds: Iterable[int], minutes: float, workers: int) -> Iterator[tuple[Result, float]]:
    """Yield the results of ``seeds`` as they come."""
    os.environ["PYTHONHASHSEED"] = "0"
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(
        workers, mp_context=context, initializer=prepare
    ) as pool:
        pending = {pool.submit(run_apart, seed, minutes) for seed in seeds}
        for done in concurrent.futures.as_completed(pending):
            yield done.result()


class Report:
    """What all seeds of a run came to."""

    def __init__(self) -> None:
        """Have seen nothing."""
        self.seeds = 0
        self.simulated_s = 0.0
        self.cpu_s = 0.0
        self.counts: Counter[str] = Counter()
        self.failures: list[Result] = []
        self.short: list[str] = []

    def add(self, result: Result, cpu_s: float, minutes: float) -> None:
        """Count a seed."""
        self.seeds += 1
        self.simulated_s += result.simulated_s
        self.cpu_s += cpu_s
        self.counts.update(result.counts)
        if result.failure:
            self.failures.append(result)
            return
        faults = sum(n for kind, n in result.counts.items() if kind.startswith(FAULT))
        scale = minutes / BUSY_MINUTES
        if result.simulated_s < minutes * 60:
            self.short.append(f"seed {result.seed}: {result.simulated_s / 60:.1f} minutes")
        pace = busy(minutes) if is_of_several(result.seed) else pace_of(minutes)
        if result.counts["acknowledged"] < pace.acknowledged_least:
            self.short.append(f"seed {result.seed}: {result.counts['acknowledged']} acknowledged")
        at_peers = result.counts["acknowledged at a peer"]
        if is_of_several(result.seed) and at_peers < ABROAD_LEAST * min(1.0, scale):
            self.short.append(f"seed {result.seed}: {at_peers} acknowledged at a peer")
        if faults < pace.faults_least:
            self.short.append(f"seed {result.seed}: {faults} faults")
        self.short += [
            f"seed {result.seed}: {result.counts[what]} {what}"
            for what, least in pace.counted_least.items()
            if result.counts[what] < least
        ]

    def lines(self) -> Iterator[str]:
        """Yield the report."""
        faults = {kind: n for kind, n in self.counts.items() if kind.startswith(FAULT)}
        yield (
            f"{self.seeds} seeds, {self.simulated_s / 60:.0f} simulated minutes,"
            f" {self.counts['acknowledged']} acknowledged operations,"
            f" {sum(faults.values())} faults, {self.cpu_s / max(1, self.seeds):.2f} CPU s a seed"
        )
        for kind, n in sorted(faults.items()):
            yield f"  {n:7}  {kind.removeprefix('fault: ')}"
        for what in TOLD:
            if self.counts[what]:
                yield f"  {self.counts[what]:7}  ({what})"

    def missing(self, least: Mapping[str, int], of_seeds: int) -> list[str]:
        """Return what the run falls short of.

        Args:
            least: how often each count is to be reached.
            of_seeds: in a run of so many seeds at least; one of fewer need not.
        """
        found = list(self.short)
        if self.seeds >= of_seeds:
            found += [
                f"{what.removeprefix(FAULT)}: {self.counts[what]} times"
                for what, count in least.items()
                if self.counts[what] < count
            ]
        return found


def least_of(minutes: float, *, houses: bool) -> tuple[dict[str, int], int]:
    """Return how often each count is to be reached in runs of ``minutes``, and by how many seeds."""
    if houses:
        return {f"{FAULT}{kind}": SEVERAL_LEAST for kind in COUNTED}, SEEDS
    if not is_calm(minutes):
        return {f"{FAULT}{kind}": KIND_LEAST for kind in all_kinds()}, SEEDS
    if minutes * 60 < CALM_DAYS * DAY_S:
        return {}, CALM_SEEDS
    kinds = {f"{FAULT}{kind}": CALM_KIND_LEAST for kind in all_kinds()}
    return kinds | CALM_LEAST, CALM_SEEDS


def main(arguments: list[str] | None = None) -> int:
    """Run seeds, print the report; return 0 if all is well."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=BUSY_MINUTES)
    parser.add_argument("--workers", type=int, default=WORKERS)
    parser.add_argument("--seed", type=int, help="run this one alone and print its trace's tail")
    parser.add_argument("--stop", action="store_true", help="stop at the first failure")
    parser.add_argument("--houses", action="store_true", help="runs of several members")
    options = parser.parse_args(arguments)
    if options.seed is not None:
        result = run_seed(options.seed, options.minutes)
        show(result, len(result.tail))
        return 1 if result.failure else 0
    report = Report()
    began_s = time.monotonic()
    first = options.first + (OF_SEVERAL if options.houses else 0)
    seeds = range(first, first + options.seeds)
    for result, cpu_s in results(seeds, options.minutes, options.workers):
        report.add(result, cpu_s, options.minutes)
        if result.failure:
            show(result, TAIL_LINES)
            if options.stop:
                break
        elif is_calm(options.minutes):  # minutes pass from one to the next
            say(f"seed {result.seed}: well, {cpu_s:.0f} CPU s; trace {result.digest}")
    for line in report.lines():
        say(line)
    say(f"{time.monotonic() - began_s:.0f} s in {options.workers} processes")
    for result in report.failures:
        say(f"FAILED: seed {result.seed}: {result.failure}")
        say(
            f"  again: python -m tests.simulation --seed {result.seed} --minutes {options.minutes:g}"
        )
    missing = report.missing(*least_of(options.minutes, houses=options.houses))
    for text in missing:
        say(f"FELL SHORT: {text}")
    return 1 if report.failures or missing else 0


def show(result: Result, lines: int) -> None:
    """Print the end of a run's trace."""
    for line in result.tail[-lines:]:
        say(f"    {line}")
    say(f"seed {result.seed}: {result.failure or 'well'}; trace {result.digest}")


def say(text: str) -> None:
    """Print."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
