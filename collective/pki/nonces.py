"""Nonces that a server can check without remembering them.

A nonce is issue time (u64 milliseconds), 16 random bytes, and a MAC over purpose, subject and both.
It may be used again within its life, which harms nobody: what it guards is idempotent.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Final

from collective.core.clock import Clock
from collective.core.errors import PermissionDeniedError
from collective.core.randomness import Randomness

NONCE_LIFE_S: Final = 120.0
_TIME_BYTES: Final = 8
_RANDOM_BYTES: Final = 16
_MAC_BYTES: Final = 16


class NonceMint:
    """Makes and checks nonces under a key that lives as long as this object."""

    def __init__(self, clock: Clock, randomness: Randomness) -> None:
        """Draw a fresh key."""
        self._clock = clock
        self._randomness = randomness
        self._key = randomness.token(32)

    def make(self, purpose: str, subject: bytes) -> bytes:
        """Return a nonce for ``subject`` (a code id, a certificate)."""
        now_ms = int(self._clock.monotonic_s() * 1000)
        head = now_ms.to_bytes(_TIME_BYTES, "big") + self._randomness.token(_RANDOM_BYTES)
        return head + self._mac(purpose, subject, head)

    def check(self, purpose: str, subject: bytes, nonce: bytes) -> None:
        """Raise PermissionDeniedError unless ``nonce`` was made for this within two minutes."""
        head, mac = nonce[: _TIME_BYTES + _RANDOM_BYTES], nonce[_TIME_BYTES + _RANDOM_BYTES :]
        if not hmac.compare_digest(mac, self._mac(purpose, subject, head)):
            raise PermissionDeniedError("The server's nonce is not one of its own; try again.")
        age_s = self._clock.monotonic_s() - int.from_bytes(head[:_TIME_BYTES], "big") / 1000
        if age_s > NONCE_LIFE_S:
            raise PermissionDeniedError("The server's nonce is too old; try again.")

    def _mac(self, purpose: str, subject: bytes, head: bytes) -> bytes:
        text = purpose.encode() + b"\0" + hashlib.sha256(subject).digest() + head
        return hmac.digest(self._key, text, "sha256")[:_MAC_BYTES]
