"""Marks on what nodes are told to remember, so that only the coordinator's own words come back.

A node keeps the highest position of the catalogue and what was revoked, and shows both with every
heartbeat: that is how a catalogue restored from an old backup learns what it has forgotten.  Whoever
holds a node's certificate could say anything there, so what was told carries a MAC, HMAC-SHA-256
(RFC 2104) under keys that follow from the coordinator's own key, which is in no catalogue and no
backup of one.  A MAC says that this member's coordinator said these very words once; however many
nodes there are, none can make one.  With another coordinator's key come other MACs; those of the
former count as long as its tickets.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from typing import Final, Protocol

from collective.model.nodes import Position

_POSITION: Final = b"collective seal of a position 1"
_REVOCATIONS: Final = b"collective seal of revocations 1"
_LENGTH_BYTES: Final = 8


class MacKeys(Protocol):
    """Where the secrets come from."""

    def secrets(self, label: bytes) -> Sequence[bytes]:
        """Return the secrets for ``label``, the present one first."""
        ...


class StatementMacs:
    """Makes and checks MACs of statements."""

    def __init__(self, keys: MacKeys) -> None:
        """Use the secrets of ``keys``."""
        self._keys = keys

    def of_position(self, position: Position) -> bytes:
        """Return the MAC of ``position``."""
        return _macs(self._keys, _POSITION, _position_fields(position))[0]

    def is_position(self, position: Position, mac: bytes) -> bool:
        """Tell whether this coordinator gave out ``position`` once."""
        return _is_one_of(_macs(self._keys, _POSITION, _position_fields(position)), mac)

    def of_digest(self, digest: bytes) -> bytes:
        """Return the MAC of what :func:`digest_of_revocations` was made of, however much it is."""
        return _marks(self._keys, _REVOCATIONS, digest)[0]

    def is_revocations(self, epoch: int, entries: Sequence[str], mac: bytes) -> bool:
        """Tell whether this coordinator gave out ``entries`` as of ``epoch`` once."""
        return _is_one_of(_macs(self._keys, _REVOCATIONS, [str(epoch), *entries]), mac)


def digest_of_revocations(epoch: int, entries: Sequence[str]) -> bytes:
    """Return the SHA-256 of ``entries``, in this order, as of ``epoch``."""
    return _digest([str(epoch), *entries])


def _position_fields(position: Position) -> list[str]:
    numbers = [position.catalog_id, str(position.epoch), str(position.sequence)]
    return [*numbers, position.life] if position.life else numbers  # as before there were lives


def _macs(keys: MacKeys, label: bytes, fields: Sequence[str]) -> list[bytes]:
    return _marks(keys, label, _digest(fields))


def _marks(keys: MacKeys, label: bytes, digest: bytes) -> list[bytes]:
    return [hmac.digest(secret, digest, "sha256") for secret in keys.secrets(label)]


def _digest(fields: Sequence[str]) -> bytes:
    raw = [field.encode("utf-8", "surrogatepass") for field in fields]
    joined = b"".join(len(field).to_bytes(_LENGTH_BYTES, "big") + field for field in raw)
    return hashlib.sha256(joined).digest()


def _is_one_of(macs: Sequence[bytes], mac: bytes) -> bool:
    return any(hmac.compare_digest(known, mac) for known in macs)
