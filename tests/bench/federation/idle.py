"""What a member with peers costs while nobody does anything: bytes on the wire, CPU, memory.

All are coordinators at the far end of a link without delay, so that what crosses it is what goes between
them, IP and TCP headers included.  The others are peers of the one member alone, so that all of it is that
member's.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

from tests.bench.federation.far import FAR, FarLink
from tests.bench.federation.files import SETTINGS
from tests.bench.member import pss_mb
from tests.bench.report import Row
from tests.integration.cluster import Cluster
from tests.integration.federation.houses import running_houses

TRAFFIC_MOST_BYTES_S: Final = 5000.0
"""With ten peers; with fewer so much less."""
CPU_MOST_PERCENT: Final = 1.0


@dataclass(frozen=True, slots=True)
class IdlePeersFigures:
    """One member while nobody does anything."""

    peers: int
    bytes_per_s: float
    """Sent and received."""
    cpu_percent: float
    cpu_alone_percent: float
    """Before it had peers."""
    memory_mb: float
    """Proportional set size."""
    memory_alone_mb: float


def measure_idle_peers(
    folder: Path, *, peers: int, wait_s: float, sample_s: float, link: FarLink
) -> IdlePeersFigures:
    """Start a member and ``peers`` others, peer it with each, wait, and look for ``sample_s``."""
    link.delay(0.0)
    names = [f"peer{number}" for number in range(peers)]
    hosts = {name: number for number, name in enumerate(["alice", *names], 1)}

    def prepare(member: Cluster) -> None:
        settings, port = member.coordinator.environment, member.coordinator_port
        settings["COLLECTIVE_COORDINATOR_ADDRESS"] = f"0.0.0.0:{port}"
        settings["COLLECTIVE_ADVERTISE_ADDRESS"] = f"{FAR}.{hosts[member.member]}:{port}"
        if member.member != "alice":
            for node in member.nodes:
                del member.services[node.name]

    with running_houses(folder, *hosts, extra=SETTINGS, prepare=prepare) as houses:
        alice = houses["alice"].coordinator.pid
        time.sleep(wait_s)
        alone_mb, cpu_alone = pss_mb(alice), _cpu_percent(alice, sample_s)
        for name in names:
            houses.peer("alice", name)
        time.sleep(wait_s)
        before = link.carried_bytes()
        began_s = time.monotonic()
        cpu = _cpu_percent(alice, sample_s)
        carried = link.carried_bytes() - before
        return IdlePeersFigures(
            peers=peers,
            bytes_per_s=carried / (time.monotonic() - began_s),
            cpu_percent=cpu,
            cpu_alone_percent=cpu_alone,
            memory_mb=pss_mb(alice),
            memory_alone_mb=alone_mb,
        )


def _cpu_percent(pid: int, sample_s: float) -> float:
    process = psutil.Process(pid)
    before_s = sum(process.cpu_times()[:2])
    began_s = time.monotonic()
    time.sleep(sample_s)
    used_s = sum(process.cpu_times()[:2]) - before_s
    return float(100 * used_s / (time.monotonic() - began_s))


def idle_rows(figures: IdlePeersFigures) -> list[Row]:
    """Return the lines of the table."""
    name = f"idle with {figures.peers} peers"
    most = TRAFFIC_MOST_BYTES_S * figures.peers / 10
    return [
        Row(
            f"{name}: on the wire",
            f"{figures.bytes_per_s / 1e3:.2f} KB/s",
            "",
            f"<= {most / 1e3:g} KB/s",
            figures.bytes_per_s <= most,
        ),
        Row(
            f"{name}: CPU of the coordinator",
            f"{figures.cpu_percent:.2f} %",
            f"alone {figures.cpu_alone_percent:.2f} %",
            f"<= {CPU_MOST_PERCENT:g} %",
            figures.cpu_percent <= CPU_MOST_PERCENT,
        ),
        Row(
            f"{name}: memory of the coordinator, PSS",
            f"{figures.memory_mb:.1f} MB",
            f"alone {figures.memory_alone_mb:.1f} MB",
            "",
            None,
        ),
    ]
