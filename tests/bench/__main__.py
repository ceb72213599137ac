"""``python -m tests.bench``: measure, print a table, write JSON.

``--quick`` uses small sizes and does not wait for the idle figures: it shows that the bench works,
its numbers mean little.  ``--check`` fails where a goal is missed, and says which.  What members cost each
other follows, by ``tests.bench.peers``.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import structlog

from collective import __version__
from tests.bench import ceiling, report
from tests.bench.certificates import make_certificates
from tests.bench.grpclib_baseline import measure_grpclib
from tests.bench.member import LIST_ENTRIES, measure_idle, measure_member
from tests.bench.one_node import measure_one_node
from tests.bench.startup import ROUNDS, measure_startup
from tests.integration.cluster import running_cluster

GIB = 1 << 30
MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much each measurement moves."""

    tls_bytes: int = 2 * GIB
    disk_files: int = 60
    chunks: int = 250
    file_bytes: int = 1 * GIB
    small_files: int = 1000
    tree_files: int = 2000
    calls: int = 1000
    entries: int = LIST_ENTRIES
    idle_s: float = 60.0
    sample_s: float = 20.0
    rounds: int = ROUNDS


QUICK = Sizes(
    tls_bytes=256 * MIB,
    disk_files=8,
    chunks=32,
    file_bytes=64 * MIB,
    small_files=50,
    tree_files=50,
    calls=100,
    entries=300,
    idle_s=2.0,
    sample_s=2.0,
    rounds=3,
)


def main() -> None:
    """Run everything once; C and D are measured before and after, and their mean is used."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small sizes; shows that it works")
    parser.add_argument("--check", action="store_true", help="fail where a goal is missed")
    parser.add_argument("--out", type=Path, default=Path("bench-results"), help="folder for JSON")
    parser.add_argument("--dir", type=Path, default=None, help="where data lies meanwhile")
    options = parser.parse_args()
    sizes = QUICK if options.quick else Sizes()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    with tempfile.TemporaryDirectory(prefix="collective-bench-", dir=options.dir) as folder:
        figures = run(Path(folder), sizes)
    rows = report.rows(figures)
    print(report.table(rows, figures))  # noqa: T201 - this is a command
    options.out.mkdir(parents=True, exist_ok=True)
    out = options.out / f"bench-{time.strftime('%Y%m%d-%H%M%S')}.json"
    out.write_text(
        json.dumps(
            {
                "version": __version__,
                "python": platform.python_version(),
                "machine": platform.platform(),
                "sizes": dataclasses.asdict(sizes),
                "figures": dataclasses.asdict(figures),
                "rows": [dataclasses.asdict(row) for row in rows],
            },
            indent=2,
        )
    )
    print(f"JSON: {out}", flush=True)  # noqa: T201 - this is a command
    # In a process of its own: members far away need a network of their own.
    peers = subprocess.run([sys.executable, "-m", "tests.bench.peers", *sys.argv[1:]], check=False)
    short = report.missed(rows) if options.check else []
    for sentence in short:
        print(sentence, file=sys.stderr)  # noqa: T201 - this is a command
    sys.exit(peers.returncode or bool(short))


def run(folder: Path, sizes: Sizes) -> report.Figures:
    """Measure everything below ``folder``."""
    certificates = make_certificates(folder / "certificates")
    tls, disk = [], []

    def ceilings() -> None:
        tls.append(ceiling.measure_tls(certificates, sizes.tls_bytes))
        disk.append(ceiling.measure_disk(folder / "disk", sizes.disk_files))

    ceilings()
    bare = measure_grpclib(certificates, folder / "grpclib", chunks=sizes.chunks // 2)
    one_node = measure_one_node(folder / "one-node", chunks=sizes.chunks)
    ceilings()
    with running_cluster(folder / "member", extra={"COLLECTIVE_LOG_LEVEL": "warning"}) as cluster:
        idle = measure_idle(cluster, wait_s=sizes.idle_s, sample_s=sizes.sample_s)
        startup = measure_startup(cluster, sizes.rounds)
        member = measure_member(
            cluster,
            folder / "trees",
            file_bytes=sizes.file_bytes,
            small_files=sizes.small_files,
            tree_files=sizes.tree_files,
            calls=sizes.calls,
            entries=sizes.entries,
        )
    ceilings()
    return report.Figures(
        tls_mb_s=statistics.mean(tls),
        tls_all_mb_s=tls,
        disk_mb_s=statistics.mean(disk),
        disk_all_mb_s=disk,
        flush_ms=ceiling.flush_ms(folder / "flush", 4096),
        bare=bare,
        one_node=one_node,
        member=member,
        idle=idle,
        startup=startup,
    )


if __name__ == "__main__":
    main()
