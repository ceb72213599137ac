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

from tests.simulation.faults import FAULTS_LEAST
from tests.simulation.houses.federation import ABROAD_LEAST
from tests.simulation.houses.troubles import COUNTED
from tests.simulation.scenario import ACKNOWLEDGED_LEAST
from tests.simulation.seeds import OF_SEVERAL, is_of_several, run_seed
from tests.simulation.stage import Result

SEEDS: Final = 400
MINUTES: Final = 10.0
WORKERS: Final = 2
KIND_LEAST: Final = 50
"""How often each kind of fault must have happened in a run of at least ``SEEDS`` seeds."""
SEVERAL_LEAST: Final = 20
"""The same of each kind that only runs of several members have, which are fewer."""
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
)
"""What is counted beside faults."""
TAIL_LINES: Final = 120


def prepare() -> None:
    """Make a worker ready: what is imported is never looked at by the garbage collector again."""
    run_seed(0, 0.2)
    gc.collect()
    gc.freeze()


def work(seed: int, minutes: float) -> tuple[Result, float]:
    """Run one seed; return what it came to and the CPU seconds it took."""
    began_s = time.process_time()
    result = run_seed(seed, minutes)
    return result, time.process_time() - began_s


def results(seeds: Iterable[int], minutes: float, workers: int) -> Iterator[tuple[Result, float]]:
    """Yield the results of ``seeds`` as they come."""
    os.environ["PYTHONHASHSEED"] = "0"
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(
        workers, mp_context=context, initializer=prepare
    ) as pool:
        pending = {pool.submit(work, seed, minutes) for seed in seeds}
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
        faults = sum(n for kind, n in result.counts.items() if kind.startswith("fault: "))
        scale = minutes / MINUTES
        if result.simulated_s < minutes * 60:
            self.short.append(f"seed {result.seed}: {result.simulated_s / 60:.1f} minutes")
        if result.counts["acknowledged"] < ACKNOWLEDGED_LEAST * min(1.0, scale):
            self.short.append(f"seed {result.seed}: {result.counts['acknowledged']} acknowledged")
        at_peers = result.counts["acknowledged at a peer"]
        if is_of_several(result.seed) and at_peers < ABROAD_LEAST * min(1.0, scale):
            self.short.append(f"seed {result.seed}: {at_peers} acknowledged at a peer")
        if faults < FAULTS_LEAST * min(1.0, scale):
            self.short.append(f"seed {result.seed}: {faults} faults")

    def lines(self) -> Iterator[str]:
        """Yield the report."""
        faults = {kind: n for kind, n in self.counts.items() if kind.startswith("fault: ")}
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

    def missing(self, least: Mapping[str, int]) -> list[str]:
        """Return what the run falls short of, where each kind of fault is to happen as often as ``least`` says."""
        found = list(self.short)
        if self.seeds >= SEEDS:
            found += [
                f"{kind}: {self.counts[f'fault: {kind}']} times"
                for kind, count in least.items()
                if self.counts[f"fault: {kind}"] < count
            ]
        return found


def main(arguments: list[str] | None = None) -> int:
    """Run seeds, print the report; return 0 if all is well."""
    from tests.simulation.faults import all_kinds  # noqa: PLC0415 - after the choice of hash seed

    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=MINUTES)
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
    for line in report.lines():
        say(line)
    say(f"{time.monotonic() - began_s:.0f} s in {options.workers} processes")
    for result in report.failures:
        say(f"FAILED: seed {result.seed}: {result.failure}")
        say(
            f"  again: python -m tests.simulation --seed {result.seed} --minutes {options.minutes:g}"
        )
    least = (
        dict.fromkeys(COUNTED, SEVERAL_LEAST)
        if options.houses
        else dict.fromkeys(all_kinds(), KIND_LEAST)
    )
    missing = report.missing(least)
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
