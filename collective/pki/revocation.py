"""What has been revoked: identities, serial numbers and keys, under an epoch that only grows.

A certificate is renewed under new serials, but its key stays: whoever is to be shut out with one
machine is shut out by the key of it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Final, NamedTuple

from collective.core.errors import UsageError
from collective.core.ids import SpiffeId

SERIAL_PREFIX: Final = "serial:"
KEY_PREFIX: Final = "key:"
_HEX: Final = frozenset("0123456789abcdef")
_KEY_DIGITS: Final = 2 * hashlib.sha256().digest_size


class RevocationSet(NamedTuple):
    """Revoked identities (``spiffe://…``), serials (``serial:HEX``) and keys (``key:HEX``).

    Hexadecimal digits are lower case; a key is the SHA-256 of its SubjectPublicKeyInfo.
    """

    epoch: int = 0
    entries: frozenset[str] = frozenset()

    @classmethod
    def of(cls, epoch: int, entries: Iterable[str]) -> RevocationSet:
        """Return the set of ``entries``, each normalised; UsageError for one that names nothing."""
        return cls(epoch, frozenset(normalise(entry) for entry in entries))

    def is_revoked(self, identity: SpiffeId, serial: str, key_digest: bytes) -> bool:
        """Tell whether a certificate no longer counts: three look-ups, whatever the set's size.

        Args:
            identity: that it names.
            serial: in hex.
            key_digest: SHA-256 of its key; empty where only the other two are known.

        """
        return (
            str(identity) in self.entries
            or serial_entry(serial) in self.entries
            or (bool(key_digest) and key_entry(key_digest) in self.entries)
        )


def serial_entry(serial: str) -> str:
    """Return the entry for a serial number in hex, whatever its case and leading zeros."""
    return SERIAL_PREFIX + (serial.lower().lstrip("0") or "0")


def key_entry(key_digest: bytes) -> str:
    """Return the entry for a key by the SHA-256 (32 bytes) of its SubjectPublicKeyInfo."""
    return KEY_PREFIX + key_digest.hex()


def normalise(entry: str) -> str:
    """Return ``entry`` in its one spelling; UsageError unless it is a SPIFFE id, serial or key."""
    if entry.startswith(SERIAL_PREFIX):
        digits = _digits(entry, SERIAL_PREFIX)
        if not digits or set(digits) - _HEX:
            raise UsageError("A serial number must be hexadecimal, like serial:1f2e.")
        return serial_entry(digits)
    if entry.startswith(KEY_PREFIX):
        digits = _digits(entry, KEY_PREFIX)
        if len(digits) != _KEY_DIGITS or set(digits) - _HEX:
            raise UsageError(
                "A key is named by its SHA-256, key: and 64 hexadecimal digits; see: collective"
                " identity list"
            )
        return KEY_PREFIX + digits
    return str(SpiffeId.parse(entry))


def _digits(entry: str, prefix: str) -> str:
    return entry[len(prefix) :].replace(":", "").lower()
