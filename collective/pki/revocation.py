"""What has been revoked: identities and serial numbers, under an epoch that only grows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from collective.core.errors import UsageError
from collective.core.ids import SpiffeId

SERIAL_PREFIX = "serial:"


@dataclass(frozen=True, slots=True)
class RevocationSet:
    """Revoked identities (``spiffe://…``) and serials (``serial:HEX``, lower case)."""

    epoch: int = 0
    entries: frozenset[str] = frozenset()

    @classmethod
    def of(cls, epoch: int, entries: Iterable[str]) -> RevocationSet:
        """Return the set of ``entries``, each normalised; UsageError for one that names nothing."""
        return cls(epoch, frozenset(normalise(entry) for entry in entries))

    def is_revoked(self, identity: SpiffeId, serial: str) -> bool:
        """Tell whether a certificate of ``identity`` with ``serial`` (hex) no longer counts."""
        return str(identity) in self.entries or serial_entry(serial) in self.entries


def serial_entry(serial: str) -> str:
    """Return the entry for a serial number in hex, whatever its case and leading zeros."""
    return SERIAL_PREFIX + (serial.lower().lstrip("0") or "0")


def normalise(entry: str) -> str:
    """Return ``entry`` in its one spelling; UsageError unless it is a SPIFFE id or a serial."""
    if entry.startswith(SERIAL_PREFIX):
        digits = entry[len(SERIAL_PREFIX) :].replace(":", "").lower()
        if not digits or set(digits) - set("0123456789abcdef"):
            raise UsageError("A serial number must be hexadecimal, like serial:1f2e.")
        return serial_entry(digits)
    return str(SpiffeId.parse(entry))
