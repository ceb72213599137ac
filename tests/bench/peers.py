"""``python -m tests.bench.peers``: what members cost each other; measure, print a table, write JSON.

``--quick`` uses small sizes: it shows that the bench works, its numbers mean little.  ``--check`` fails
where a goal is missed, and says which.  What needs a link of its own needs root and ``iproute2``, and is
passed over with a sentence without them.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
import platform
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import structlog

from collective import __version__
from tests.bench import report
from tests.bench.federation import distance, files, gossip, idle, trouble
from tests.bench.federation.far import FarLink, own_network

MIB: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much each measurement moves."""

    file_bytes: int = 256 * MIB
    file_rounds: int = 5
    trouble_rounds: int = 12
    calls: int = 300
    distance_rounds: int = 5
    peers: int = 10
    idle_s: float = 45.0
    sample_s: float = 60.0
    gossip: gossip.Plan = gossip.FULL


QUICK: Final = Sizes(
    file_bytes=16 * MIB,
    file_rounds=3,
    trouble_rounds=2,
    calls=40,
    distance_rounds=2,
    peers=3,
    idle_s=2.0,
    sample_s=5.0,
    gossip=gossip.QUICK,
)


@dataclass(slots=True)
class _Found:
    """What a run measured."""

    rows: list[report.Row] = dataclasses.field(default_factory=list)
    figures: dict[str, Any] = dataclasses.field(default_factory=dict)
    passed_over: list[str] = dataclasses.field(default_factory=list)
    failed: list[str] = dataclasses.field(default_factory=list)
    """Sections that ended by an error; what the others found stands."""


def _files(folder: Path, sizes: Sizes, _: FarLink | None) -> tuple[Any, list[report.Row]]:
    found = files.measure_files(folder, size_bytes=sizes.file_bytes, rounds=sizes.file_rounds)
    return dataclasses.asdict(found), files.file_rows(found)


def _trouble(folder: Path, sizes: Sizes, link: FarLink | None) -> tuple[Any, list[report.Row]]:
    found = trouble.measure_trouble(
        folder, rounds=sizes.trouble_rounds, calls=sizes.calls, link=link
    )
    return dataclasses.asdict(found), trouble.trouble_rows(found)


def _distance(folder: Path, sizes: Sizes, link: FarLink | None) -> tuple[Any, list[report.Row]]:
    assert link is not None
    found = distance.measure_distance(
        folder, size_bytes=sizes.file_bytes, rounds=sizes.distance_rounds, link=link
    )
    return dataclasses.asdict(found), distance.distance_rows(found)


def _idle(folder: Path, sizes: Sizes, link: FarLink | None) -> tuple[Any, list[report.Row]]:
    assert link is not None
    found = idle.measure_idle_peers(
        folder, peers=sizes.peers, wait_s=sizes.idle_s, sample_s=sizes.sample_s, link=link
    )
    return dataclasses.asdict(found), idle.idle_rows(found)


def _gossip(_: Path, sizes: Sizes, __: FarLink | None) -> tuple[Any, list[report.Row]]:
    by_size, by_peers = gossip.measure_gossip(sizes.gossip)
    told = [dataclasses.asdict(one) for one in (*by_size, *by_peers)]
    return told, gossip.gossip_rows(by_size, by_peers)


Section = Callable[[Path, Sizes, FarLink | None], tuple[Any, list[report.Row]]]
SECTIONS: Final[dict[str, Section]] = {
    "files": _files,
    "trouble": _trouble,
    "distance": _distance,
    "idle": _idle,
    "gossip": _gossip,
}
NEED_LINK: Final = frozenset(("distance", "idle"))


def main() -> None:
    """Run every section, or those that are asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.peers", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small sizes; shows that it works")
    parser.add_argument("--check", action="store_true", help="fail where a goal is missed")
    parser.add_argument("--out", type=Path, default=Path("bench-results"), help="folder for JSON")
    parser.add_argument("--dir", type=Path, default=None, help="where data lies meanwhile")
    parser.add_argument("--only", nargs="+", choices=[*SECTIONS], default=[*SECTIONS])
    options = parser.parse_args()
    sizes = QUICK if options.quick else Sizes()
    why_no_link = own_network()  # before any thread
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    with tempfile.TemporaryDirectory(prefix="collective-bench-", dir=options.dir) as folder:
        found = _run(Path(folder), sizes, options.only, why_no_link)
    _tell(report.text_of(found.rows) + ".")
    for sentence in (*found.passed_over, *found.failed):
        _tell(sentence)
    options.out.mkdir(parents=True, exist_ok=True)
    out = options.out / f"peers-{time.strftime('%Y%m%d-%H%M%S')}.json"
    content = {
        "version": __version__,
        "python": platform.python_version(),
        "machine": platform.platform(),
        "sizes": dataclasses.asdict(sizes),
        "figures": found.figures,
        "rows": [dataclasses.asdict(row) for row in found.rows],
        "passed_over": found.passed_over,
        "failed": found.failed,
    }
    out.write_text(json.dumps(content, indent=2))
    _tell(f"JSON: {out}")
    short = report.missed(found.rows) if options.check else []
    if short or found.failed:
        sys.exit("\n".join((*short, *found.failed)))


def _run(folder: Path, sizes: Sizes, only: list[str], why_no_link: str) -> _Found:
    found = _Found()
    with ExitStack() as stack:
        link = None if why_no_link else stack.enter_context(FarLink())
        if link is None:
            found.passed_over.append(
                f"No member was at an address that loses packets: that {why_no_link}."
            )
        for name in only:
            if link is None and name in NEED_LINK:
                found.passed_over.append(f"'{name}' was not measured: it {why_no_link}.")
                continue
            try:
                figures, rows = SECTIONS[name](folder / name, sizes, link)
            except Exception as error:  # noqa: BLE001 - minutes of other sections are not lost by it
                traceback.print_exc()
                found.failed.append(f"'{name}' failed: {error}")
                continue
            found.figures[name] = figures
            found.rows += rows
    return found


def _tell(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
