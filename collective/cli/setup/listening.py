"""Where a process of given settings listens."""

from __future__ import annotations

from collective.core.settings import ServeSettings
from collective.core.units import Address


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
