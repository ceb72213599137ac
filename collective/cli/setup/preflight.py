"""What is looked at before a settings file is written: ports, disk, clock, addresses and names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

from collective.cli.diagnosis import machine
from collective.cli.diagnosis.findings import Finding, problem
from collective.core.clock import Clock
from collective.core.disk import Disk
from collective.core.errors import ExitCode
from collective.core.settings import ServeSettings
from collective.core.units import Address
from collective.rpc.links import Links


async def preflight(
    settings: ServeSettings, state_dir: str, *, links: Links, clock: Clock, disk: Disk
) -> Sequence[Finding]:
    """Return what was found, causes first; relative folders of ``settings`` are below ``state_dir``."""
    listening = listening_addresses(settings)
    findings = [machine.clock(clock.wall_s()), await machine.own_name()]
    findings += shared_ports(listening) or await machine.ports(listening, links)
    for told, setting in (
        (settings.advertise_addresses, main_listener(settings)),
        (settings.bootstrap_advertise_addresses, settings.bootstrap_address),
    ):
        if setting is not None:
            findings += await machine.advertised(told, setting)
    folder = settings.data_dir if settings.data_dir.startswith("/") else state_dir
    findings.append(
        machine.room("data_dir", folder, disk, wanted_bytes=settings.storage_capacity_bytes)
    )
    return findings


def shared_ports(listening: Mapping[str, Address]) -> list[Finding]:
    """Return a problem for any two settings by which one process would listen twice at one place."""
    found = []
    for (one, here), (other, there) in combinations(listening.items(), 2):
        is_one_host = here.host == there.host or here.is_wildcard or there.is_wildcard
        if here.port == there.port and is_one_host:
            says = f"{one} ({here}) and {other} ({there}) are one port, and only one can listen there."
            found.append(problem("port", says, f"choose another port for {other}", ExitCode.USAGE))
    return found


def listening_addresses(settings: ServeSettings) -> dict[str, Address]:
    """Return where a process of ``settings`` listens, by the name of the setting."""
    found: dict[str, Address | None] = {"metrics_address": settings.metrics_address}
    if "coordinator" in settings.roles:
        found["coordinator_address"] = settings.coordinator_address
    if settings.roles & {"coordinator", "bootstrap"}:
        found["bootstrap_address"] = settings.bootstrap_address
    if "node" in settings.roles:
        found["node_address"] = settings.node_address
    return {name: address for name, address in found.items() if address is not None}


def main_listener(settings: ServeSettings) -> Address | None:
    """Return the listener that ``advertise_address`` is of."""
    if "coordinator" in settings.roles:
        return settings.coordinator_address
    return settings.node_address if "node" in settings.roles else None
