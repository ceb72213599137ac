"""kill -9 of any process at random moments loses nothing that was acknowledged.

``make test-crash`` runs the long version; ``CRASH_SEED`` repeats the choices of a run.
"""

from __future__ import annotations

import os
import random
import sys
from pathlib import Path

import pytest

from tests.faults.crash_run import SETTINGS, CrashRun
from tests.integration.cluster import running_cluster

KILLS = 500
KILLS_A_ROUND = 25
SMOKE_KILLS = 12


def tell(*lines: str) -> None:
    """Show lines with the test's output, at once."""
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()


def run_crashes(folder: Path, kills: int, a_round: int) -> None:
    """Kill at least ``kills`` processes in rounds, checking everything after each."""
    seed = int(os.environ.get("CRASH_SEED") or random.SystemRandom().randrange(1 << 32))
    tell(f"CRASH_SEED={seed}")
    with running_cluster(folder, extra=SETTINGS) as cluster:
        run = CrashRun(cluster, seed)
        try:
            while run.killed < kills:
                run.round(min(a_round, kills - run.killed))
                tell(*run.report())
            run.heal()
        finally:
            run.end()
            tell(*run.report())
        least = kills // 4
        assert run.manifest.acknowledged >= least, "too few writes to prove anything"


@pytest.mark.smoke
def test_crashes_at_random_moments_lose_nothing(tmp_path: Path) -> None:
    run_crashes(tmp_path, SMOKE_KILLS, SMOKE_KILLS)


@pytest.mark.slow
def test_crash_500_times_loses_nothing(tmp_path: Path) -> None:
    run_crashes(tmp_path, KILLS, KILLS_A_ROUND)
