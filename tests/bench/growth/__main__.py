"""``python -m tests.bench.growth``: what calls cost as the catalogue grows, from 1,000 to 1,000,000 files.

Prints a table, writes ``bench-results/growth.json``.  A row whose cost at the largest size is more than
three times that at the smallest, and more than a millisecond, is marked with its factor.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Final

from tests.bench.growth.catalogue import make
from tests.bench.growth.measure import Bench, Row

SIZES: Final = (1_000, 30_000, 1_000_000)
GROWS: Final = 3.0
WORTH_MS: Final = 1.0


def measure(files: int, times: int, folder: Path) -> list[Row]:
    """Make a catalogue of ``files`` files below ``folder`` and measure each call."""
    start_s = time.perf_counter()
    shape = make(str(folder / str(files)), files)
    made_s = time.perf_counter() - start_s
    tell(f"{files:,} files, {shape.chunks:,} chunks: made in {made_s:.0f} s")
    rows = asyncio.run(Bench(folder / str(files), shape, times).run())
    tell(f"measured in {time.perf_counter() - start_s - made_s:.0f} s")
    return rows


def table(found: dict[int, list[Row]]) -> list[str]:
    """Return the lines: p50 and p99 (or longest) by size, and the factor where a call grows."""
    sizes = list(found)
    names = {row.name: row for rows in found.values() for row in rows}
    lines = [f"{'':<58}" + "".join(f"{size:>20,}" for size in sizes) + "   grows"]
    for name, row in names.items():
        cells, values = "", []
        for size in sizes:
            one = next((one for one in found[size] if one.name == name), None)
            values.append(one.p50 if one else 0.0)
            high = f" / {one.p99:.1f}" if one and one.p99 is not None else ""
            cells += f"{f'{one.p50:.1f}{high}' if one else '-':>20}"
        factor = values[-1] / values[0] if values[0] else 0.0
        grows = row.unit == "ms" and factor > GROWS and values[-1] > WORTH_MS
        lines.append(
            f"{f'{name} ({row.unit})':<58}{cells}" + (f"   x {factor:.0f}" if grows else "")
        )
    return lines


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


if __name__ == "__main__":
    main()
