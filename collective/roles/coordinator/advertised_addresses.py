"""Where others find this coordinator and its bootstrap."""

from __future__ import annotations

from collective.core.settings import ServeSettings
from collective.core.units import Address


def advertised(told: tuple[Address, ...], listening: Address) -> tuple[Address, ...]:
    """Return where others find a listener: as the operator said, else where it listens.

    A listener on all interfaces that was told nothing is advertised for this machine only.
    """
    if told:
        return told
    host = "127.0.0.1" if listening.is_wildcard else listening.host
    return (Address(host, listening.port),)


def bootstrap_addresses(settings: ServeSettings) -> tuple[Address, ...]:
    """Return where codes can be redeemed; empty for nowhere."""
    if settings.bootstrap_address is None:
        return settings.bootstrap_advertise_addresses
    return advertised(settings.bootstrap_advertise_addresses, settings.bootstrap_address)
