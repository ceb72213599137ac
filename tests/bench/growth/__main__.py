"""``python -m tests.bench.growth``: what calls cost as the catalogue grows, from 1,000 to 1,000,000 files.

Prints a table, writes ``bench-results/growth.json``.  A call is marked with its factor where its p99 at the
largest size is more than one and a half times that at the smallest, and more than half a millisecond
above it; so is what is more than it may be at any size.  With ``--check`` any mark makes it fail.
Each size has processes of its own, so that the memory shown is what the catalogue needs.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path
from typing import Final, ParamSpec, TypeVar

from tests.bench.growth.catalogue import make
from tests.bench.growth.measure import measured
from tests.bench.growth.rows import Row

P = ParamSpec("P")
T = TypeVar("T")

SIZES: Final = (1_000, 30_000, 1_000_000)
GROWS: Final = 1.5
WORTH_MS: Final = 0.5


def measure(files: int, times: int, folder: Path) -> list[Row]:
    """Make a catalogue of ``files`` files below ``folder`` and measure each call."""
    start_s = time.perf_counter()
    shape = _apart(make, str(folder / str(files)), files)
    made_s = time.perf_counter() - start_s
    tell(f"{files:,} files, {shape.chunks:,} chunks: made in {made_s:.0f} s")
    rows = _apart(measured, folder / str(files), shape, times)
    tell(f"measured in {time.perf_counter() - start_s - made_s:.0f} s")
    return rows


def _apart(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run ``function`` in a process of its own."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *args, **kwargs).result()


def table(found: dict[int, list[Row]]) -> list[str]:
    """Return the lines: p50 and p99 (or longest) by size, and what is too much."""
    sizes = list(found)
    names = {row.name: row for rows in found.values() for row in rows}
    told = dict(too_much(found))
    lines = [f"{'':<66}" + "".join(f"{size:>20,}" for size in sizes)]
    for name, row in names.items():
        cells = ""
        for size in sizes:
            one = next((one for one in found[size] if one.name == name), None)
            high = f" / {one.p99:.1f}" if one and one.p99 is not None else ""
            cells += f"{f'{one.p50:.1f}{high}' if one else '-':>20}"
        mark = f"   {told[name]}" if name in told else ""
        lines.append(f"{f'{name} ({row.unit})':<66}{cells}{mark}")
    return lines


def too_much(found: dict[int, list[Row]]) -> Iterator[tuple[str, str]]:
    """Yield each row at the largest size that is more than it may be, and why."""
    smallest = {row.name: row for row in found[min(found)]}
    for row in found[max(found)]:
        first = smallest.get(row.name)
        if row.most is not None and row.worst > row.most:
            yield row.name, f"above {row.most:.0f} {row.unit}"
        elif row.is_call and first is not None:
            more = row.worst - first.worst
            if row.worst > GROWS * first.worst and more > WORTH_MS:
                yield row.name, f"x {row.worst / max(first.worst, 1e-6):.1f}"


def tell(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> None:
    """Run from the command line."""
    options = argparse.ArgumentParser(prog="python -m tests.bench.growth")
    options.add_argument("--sizes", type=int, nargs="+", default=list(SIZES), metavar="FILES")
    options.add_argument("--times", type=int, default=200, help="calls of each kind")
    options.add_argument("--json", type=Path, default=Path("bench-results/growth.json"))
    options.add_argument("--check", action="store_true", help="fail where anything is too much")
    chosen = options.parse_args()
    found: dict[int, list[Row]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for files in chosen.sizes:
            found[files] = measure(files, chosen.times, Path(scratch))
    for line in table(found):
        tell(line)
    chosen.json.parent.mkdir(parents=True, exist_ok=True)
    content = {files: [asdict(row) for row in rows] for files, rows in found.items()}
    chosen.json.write_text(json.dumps(content, indent=1))
    told = list(too_much(found))
    for name, why in told:
        tell(f"TOO MUCH: {name}: {why}")
    if chosen.check and told:
        sys.exit(1)


if __name__ == "__main__":
    main()
