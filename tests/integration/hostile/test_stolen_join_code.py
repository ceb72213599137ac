"""What a thief of the node join code can do with as many nodes of his own as it lets in."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from collective.client import joining
from collective.core.clock import SystemClock
from collective.pki import invite_code
from collective.pki.certificates import new_private_key
from tests import protocol as pb
from tests.integration.cluster import Cluster, running_cluster
from tests.integration.hostile.attacker import Target
from tests.worlds import LINKS, REAL

ROGUES = 4
"""More than the member has nodes itself."""


@pytest.fixture
def member(tmp_path: Path) -> Iterator[Target]:
    with running_cluster(tmp_path / "member", node_count=3) as cluster:
        yield Target.of(cluster, tmp_path / "stolen")


def lie(number: int, doomed: list[str], catalog_id: str) -> pb.HeartbeatRequest:
    return pb.HeartbeatRequest(
        store_uuid=f"{number + 1:02x}" * 16,
        instance_id=f"{number + 99:02x}" * 16,
        addresses=[pb.Address(host="127.0.0.1", port=7000 + number)],
        total_capacity=1 << 30,
        highest_position=pb.CatalogPosition(catalog_id=catalog_id, epoch=1 << 40, sequence=1 << 40),
        revoked=doomed,
        revocation_epoch=1 << 40,
    )


async def test_nodes_of_a_stolen_join_code_shut_out_nobody(member: Target) -> None:
    """They say that they saw a newer catalogue in which everybody was revoked: nothing changes."""
    cluster = member.cluster
    cluster.cli("mkdir", "/by")
    cluster.cli("grant", "add", "/by:read+write", "bystander@home.alice")
    invite = cluster.cli("invite", "generate", "--grant", "/by:read", "--json").json()["code"]
    rogues = [await member.enrol() for _ in range(ROGUES)]
    doomed = [str(member.bystander.identity), *(str(member.node_id(n)) for n in (1, 2, 3))]
    ours = ""
    for catalog_id in ("ee" * 16, "dd" * 16, "ours"):
        for number, rogue in enumerate(rogues):
            async with member.channel(rogue) as channel:
                answer = await channel.stub(pb.NodeRegistryStub).heartbeat(
                    lie(number, doomed, ours if catalog_id == "ours" else catalog_id)
                )
            assert answer.revoked == []
            assert answer.position is not None
            assert answer.position.epoch < 1 << 40
            ours = answer.position.catalog_id
    await asyncio.to_thread(cluster.wait_heartbeats)
    status = cluster.status()
    healthy = [one["id"] for one in status["local_nodes"] if one["is_healthy"]]
    assert {str(member.node_id(n).name) for n in (1, 2, 3)} <= set(healthy)
    figures = cluster.coordinator.page("/metrics")[1]
    assert re.search(r"^collective_catalog_restored\{.*\} 0.0$", figures, re.MULTILINE)
    async with member.channel(member.bystander) as channel:
        await channel.stub(pb.MemberStatusStub).get_status(pb.GetStatusRequest())
    await joining.redeem(
        invite_code.parse(invite),
        new_private_key(REAL.randomness),
        clock=SystemClock(),
        wish="new@home.alice",
        links=LINKS,
    )


def copies_on(cluster: Cluster, names: Sequence[str]) -> int:
    return sum(
        node["chunk_count"] for node in cluster.status()["local_nodes"] if node["id"] in names
    )


def test_strangers_who_claim_a_hundred_terabytes_get_a_minority_until_they_are_approved(
    tmp_path: Path,
) -> None:
    """Finding 5, with real processes: three strangers got all copies of 11 of 12 files."""
    timers = {
        "COLLECTIVE_HEARTBEAT_INTERVAL": "0.5",
        "COLLECTIVE_NODE_SUSPECT_AFTER": "2",
        "COLLECTIVE_NODE_DOWN_AFTER": "4",
    }
    strangers = ("stranger-1", "stranger-2", "stranger-3")
    own = tuple(f"alice-node-{number:02}" for number in (1, 2, 3))
    with running_cluster(tmp_path / "member", extra=timers) as cluster:
        cluster.cli("mkdir", "/d")
        cluster.write("/d/first", b"the member's first file")
        for name in strangers:
            cluster.add_node(name, STORAGE_CAPACITY="100TB")
        cluster.start()
        status = cluster.status()
        shown = {node["id"]: (node["state"], node["standing"]) for node in status["local_nodes"]}
        assert {shown[name] for name in strangers} == {("probation", "probation")}
        assert {shown[name] for name in own} == {("up", "approved")}
        assert any("stranger-1, stranger-2, stranger-3" in one for one in status["warnings"])
        assert status["storage"]["total_bytes"] == 3 * (4 << 30)

        before = copies_on(cluster, own)
        for number in range(12):
            cluster.write(f"/d/{number}", b"content %d" % number)
        cluster.cli("datastore", "create", "/two", "--copies", "2")
        for number in range(3):
            cluster.write(f"/two/{number}", b"two copies %d" % number)

        def all_counted(status: Any) -> bool:
            counted: int = sum(node["chunk_count"] for node in status["local_nodes"])
            return counted >= 3 + 36 + 6

        cluster.wait_status(all_counted, "heartbeats that tell of all copies")
        assert copies_on(cluster, strangers) <= 12, "at most one copy of each chunk, none of /two"
        assert copies_on(cluster, own) - before >= 12 * 2 + 3 * 2

        for name in own[1:]:
            cluster.services[name].kill()

        def are_down(status: Any) -> bool:
            return all(
                node["state"] == "down" for node in status["local_nodes"] if node["id"] in own[1:]
            )

        cluster.wait_status(are_down, "two of the member's own nodes down")
        failed = cluster.cli("write", "/d/alone", stdin=b"x", check=False)
        assert failed.code == 6, failed
        assert "collective node approve stranger-1" in failed.err
        assert cluster.cli("node", "approve", "nobody", check=False).code == 3
        assert "it was on probation" in cluster.cli("node", "approve", *strangers).text
        assert "approved already" in cluster.cli("node", "approve", strangers[0]).text
        cluster.cli("write", "/d/alone", stdin=b"x")
        assert not any("probation" in one for one in cluster.status()["warnings"])
