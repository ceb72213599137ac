"""SIGTERM ends a process, whatever hangs in it: by itself where that can be, else by its own watch."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from tests.integration.cluster import Cluster
from tests.integration.processes import wait_for

pytestmark = pytest.mark.timeout(300)

DRAIN_S: Final = 1.0
PATIENCE_S: Final = 120.0
"""Many times what the process allows itself (13 s), so that a busy machine fails nothing; without its
watch a stuck process never ends."""
STUCK: Final = {
    "statement": ("coordinator", 0),
    "step": ("coordinator", 1),
    "thread": ("coordinator", 1),
    "loop": ("coordinator", 1),
    "deaf": ("coordinator", 1),
    "store": ("node", 1),
}
"""What hangs, in which role, and the exit code: 0 where the process ended it by itself."""


@pytest.mark.parametrize("how", STUCK)
def test_sigterm_ends_a_process_in_which_something_hangs(tmp_path: Path, how: str) -> None:
    role, code = STUCK[how]
    cluster = Cluster(
        tmp_path / "member", node_count=1, extra={"COLLECTIVE_DRAIN_TIMEOUT": str(DRAIN_S)}
    )
    service = cluster.coordinator if role == "coordinator" else cluster.nodes[0]
    service.stuck = how
    try:
        for one in cluster.services.values():
            one.start()
        wait_for(lambda: "stuck" in service.log_text() or None, "something stuck")
        if role == "node":
            wait_for(lambda: "role started" in service.log_text() or None, "a start")
        assert service.terminate(PATIENCE_S) == code
        log = service.log_text()
        assert ('"draining"' in log) is (how != "deaf"), "a loop that hangs cannot even say so"
        assert ("Timeout (" in log) is (code == 1), "the stacks of a process that had to be ended"
    finally:
        cluster.kill_all()
