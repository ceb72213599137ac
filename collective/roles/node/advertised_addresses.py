"""Where others find this node, and how much it may store by default."""

from __future__ import annotations

from typing import Final

from collective.core.disk import Disk
from collective.core.settings import ServeSettings
from collective.core.units import Address

DEPTH_MAX: Final = 4


def advertised(settings: ServeSettings, bound: Address, host_name: str) -> tuple[Address, ...]:
    """Return the addresses that the node tells the coordinator.

    Args:
        settings: what the operator advertises; where the process is a coordinator as well, those
            are the coordinator's, and only their hosts are used.
        bound: where the node listens.
        host_name: this machine's name, for a node that listens on every interface.
    """
    told = settings.advertise_addresses
    if told and "coordinator" not in settings.roles:
        return told
    if told:
        return tuple(dict.fromkeys(Address(one.host, bound.port) for one in told))
    if bound.is_wildcard:
        return (Address(host_name, bound.port),)
    return (bound,)


def default_capacity(disk: Disk, folder: str) -> int:
    """Return the bytes that a store in ``folder`` (made already) can have: free plus its own."""
    return disk.space(folder).free_bytes + _stored(disk, folder, DEPTH_MAX)


def _stored(disk: Disk, folder: str, depth: int) -> int:
    total = 0
    for entry in disk.list_dir(folder):
        if not entry.is_dir:
            total += entry.size_bytes
        elif depth:
            total += _stored(disk, f"{folder}/{entry.name}", depth - 1)
    return total
