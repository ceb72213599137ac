"""Addresses that are announced and handed out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Final

from collective.core.errors import UsageError
from collective.core.units import Address
from collective.rpc.gen.collective import v1 as pb

_PORT_MAX = 65535
ADDRESSES_MAX: Final = 16
_HOST_MAX_CHARS = 253


def address_messages(addresses: Iterable[Address]) -> list[pb.Address]:
    """Return ``addresses`` for the wire."""
    return [pb.Address(host=address.host, port=address.port) for address in addresses]


def addresses_from(messages: Sequence[pb.Address]) -> tuple[Address, ...]:
    """Return checked addresses."""
    if len(messages) > ADDRESSES_MAX:
        raise UsageError(f"At most {ADDRESSES_MAX} addresses can be announced.")
    for message in messages:
        if not message.host or not 0 < message.port <= _PORT_MAX:
            raise UsageError("An address needs a host and a port from 1 to 65535.")
        if len(message.host) > _HOST_MAX_CHARS or not message.host.isprintable():
            raise UsageError("The host of an address is too long or holds control characters.")
    return tuple(Address(message.host, message.port) for message in messages)


def usable_addresses(
    messages: Sequence[pb.Address], most: int = ADDRESSES_MAX
) -> tuple[Address, ...]:
    """Return those of the first ``most`` that are addresses: for who is told them, one may do."""
    found: list[Address] = []
    for message in messages[:most]:
        with suppress(UsageError):
            found += addresses_from([message])
    return tuple(found)
