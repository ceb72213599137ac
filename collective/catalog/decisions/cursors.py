"""Cursors of those who watch a folder, and when one is good for going on: pure.

A cursor is sealed under the catalogue's own key, for one caller and one folder.  It tells its holder nothing:
all have one length, and no two are alike, so neither how many changes there were elsewhere shows, nor whether
there were any.  Inside are the last change that it knows, where the catalogue was then, and the grant by which
the caller could read the folder.

It is good for going on while all of these hold; else the folder is to be listed anew:

* it was sealed by this catalogue, for this caller and this folder;
* the position in it is in the catalogue's own past, in the same epoch: a cursor of a lost future is not;
* every change after it is still kept;
* the grant in it still holds.  Grants do not come back under one id, so the caller could read the folder all
  the while, and is told of nothing that came and went while they could not.
"""

from __future__ import annotations

import base64
import binascii
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from blake3 import blake3
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from collective.access.permissions import Decider
from collective.catalog.decisions.catalog_lives import Past
from collective.core.paths import FilePath
from collective.model.calls import Call
from collective.model.changes import Cursor
from collective.model.rights import Right

NONCE_BYTES: Final = 12
_FORM: Final = struct.Struct(">BQQQ16s16s")
_VERSION: Final = 1
_KEY_CONTEXT: Final = "collective 2026-11 cursors of watched folders"
CURSOR_MAX_CHARS: Final = 256
"""No cursor of ours is as long."""
_OPERATOR: Final = bytes(16)
"""In the place of a grant: an operator needs none."""


@dataclass(frozen=True, slots=True)
class Known:
    """Up to where a caller knows a folder."""

    number: int
    """Of the last change."""
    epoch: int
    sequence: int
    life: str
    """Where the catalogue was."""
    grant: bytes
    """A digest of the grant by which the folder could be read."""


@dataclass(frozen=True, slots=True)
class Kept:
    """Which changes are kept."""

    oldest: int
    """Number of the oldest; 1 where there was none yet."""
    newest: int
    """0 where there was none yet."""


class CursorSeal:
    """Seals and opens the cursors of one catalogue."""

    def __init__(self, key: bytes) -> None:
        """Derive from ``key``, the catalogue's own (32 bytes)."""
        self._cipher = ChaCha20Poly1305(blake3(key, derive_key_context=_KEY_CONTEXT).digest())

    def seal(self, known: Known, caller: Call, folder: FilePath, nonce: bytes) -> Cursor:
        """Return ``known`` as a cursor; ``nonce`` is NONCE_BYTES of chance."""
        plain = _FORM.pack(
            _VERSION,
            known.number,
            known.epoch,
            known.sequence,
            bytes.fromhex(known.life),
            known.grant,
        )
        sealed = nonce + self._cipher.encrypt(nonce, plain, _about(caller, folder))
        return Cursor(base64.urlsafe_b64encode(sealed).decode().rstrip("="))

    def open(self, cursor: str, caller: Call, folder: FilePath) -> Known | None:
        """Return what is in ``cursor``; None where it was not sealed here, for this caller and folder."""
        if len(cursor) > CURSOR_MAX_CHARS:
            return None
        try:
            sealed = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
            nonce, body = sealed[:NONCE_BYTES], sealed[NONCE_BYTES:]
            plain = self._cipher.decrypt(nonce, body, _about(caller, folder))
            version, number, epoch, sequence, life, grant = _FORM.unpack(plain)
        except (binascii.Error, ValueError, InvalidTag, struct.error):
            return None
        return Known(number, epoch, sequence, life.hex(), grant) if version == _VERSION else None


def _about(caller: Call, folder: FilePath) -> bytes:
    """Return for whom and for what a cursor is."""
    return f"{caller.principal}\n{caller.via or ''}\n{folder}".encode()


def holding(decider: Decider, folder: FilePath) -> list[bytes]:
    """Return digests of the grants by which the caller can read ``folder``; the longest-lived first."""
    if decider.caller.is_operator:
        return [_OPERATOR]
    held = [
        grant
        for grant in decider.grants
        if Right.READ in grant.rights and folder.starts_with(grant.path)
    ]
    held.sort(key=lambda grant: (grant.expires_s is not None, -(grant.expires_s or 0), grant.id))
    return [blake3(grant.id.encode()).digest(16) for grant in held]


def may_go_on(known: Known, past: Past, kept: Kept, grants: Iterable[bytes]) -> bool:
    """Tell whether every change since ``known`` can be told; see above.

    Args:
        known: what was in a cursor.
        past: of the catalogue, as far as the life in it is concerned.
        kept: which changes there are.
        grants: see :func:`holding`.
    """
    return (
        _is_own_past(known, past)
        and kept.oldest - 1 <= known.number <= kept.newest
        and known.grant in grants
    )


def _is_own_past(known: Known, past: Past) -> bool:
    if known.epoch != past.epoch:
        return False
    if known.life == past.life:
        return known.sequence <= past.sequence
    return past.ended is not None and known.sequence <= past.ended
