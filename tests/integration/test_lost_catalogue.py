"""Finding 6: the coordinator's data dir is lost, its cert dir and the nodes are not."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import pytest

from collective.cli.status import status_json
from collective.client.collective import Collective
from tests.integration.cluster import running_cluster

TIMERS: Final = {
    "COLLECTIVE_HEARTBEAT_INTERVAL": "0.5",
    "COLLECTIVE_COLLECTION_GRACE": "0.5",
}
NAMES: Final = tuple(f"alice-node-{number:02}" for number in (1, 2, 3))


class GivenUpError(Exception):
    """The source of an upload ends before its end."""


def chunks(status: Any) -> dict[str, int]:
    return {node["id"]: node["chunk_count"] for node in status["local_nodes"]}


def test_after_a_lost_data_dir_nodes_are_adopted_keep_what_is_not_known_and_delete_again(
    tmp_path: Path,
) -> None:
    with running_cluster(tmp_path / "member", extra=TIMERS) as cluster:
        cluster.cli("mkdir", "/d")
        cluster.write("/d/lost", b"the catalogue that named it is gone")
        coordinator, late = cluster.coordinator, cluster.services[NAMES[2]]
        late.kill()
        coordinator.kill()
        shutil.rmtree(cluster.data_dir("coordinator"))
        record = cluster.cert_dir("coordinator") / "coordinators" / "alice-coordinator.json"
        record.unlink()
        coordinator.start()
        coordinator.wait_ready()

        def wait_for(*names: str) -> Any:
            return cluster.wait_status(
                lambda status: (
                    {node["id"] for node in status["local_nodes"] if node["state"] == "waiting"}
                    == set(names)
                ),
                f"{names} waiting",
            )

        status = wait_for(*NAMES[:2])
        assert any("node adopt" in one for one in status["warnings"])
        assert (
            "collective node approve alice-node-01 alice-node-02"
            in cluster.cli("node", "adopt", "--all", "--yes").text
        )
        assert "it was on probation" in cluster.cli("node", "approve", *NAMES[:2]).text
        late.start()
        wait_for(NAMES[2])
        cluster.cli("node", "adopt", NAMES[2], "--yes")
        cluster.wait_healthy(3)
        kept = cluster.wait_status(
            lambda status: all(node["quarantined_bytes"] for node in status["local_nodes"]),
            "what the new catalogue does not know in quarantine",
        )
        assert "QUARANTINE" in cluster.cli("node", "list").text

        cluster.cli("mkdir", "/d")
        cluster.write("/d/new", b"a file of the new catalogue")
        assert cluster.read("/d/new") == b"a file of the new catalogue"
        held = {name: count + 1 for name, count in chunks(kept).items()}

        async def give_up(home: Collective) -> None:
            async def pieces() -> AsyncIterator[bytes]:
                yield bytes(5 << 20)
                while chunks(status_json(await home.status())) != {
                    name: count + 1 for name, count in held.items()
                }:
                    await asyncio.sleep(0.1)
                raise GivenUpError

            with pytest.raises(GivenUpError):
                await home.write("/d/given-up", pieces())

        cluster.use(give_up)
        cluster.wait_status(
            lambda status: chunks(status) == held,
            "the copies of the upload that was given up deleted, and no other",
        )
        assert cluster.read("/d/new") == b"a file of the new catalogue"
        refused = cluster.cli("node", "adopt", "--discard", "--yes", check=False)
        assert (refused.code, "seven days" in refused.err) == (8, True)
        assert not any("adopt" in one for one in cluster.status()["warnings"])
