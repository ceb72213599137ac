"""What the catalogue promises about certificates and their keys."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from collective.core.ids import SpiffeId


class Certificates(Protocol):
    """Certificates of this member's CA, and the keys that they are for."""

    async def add_issued(
        self,
        identity: SpiffeId,
        serial: str,
        expires_ms: int,
        key_digest: bytes,
        certificate_der: bytes = b"",
    ) -> None:
        """Remember a certificate that renews one; ConflictError if identity or key is revoked."""
        ...

    async def last_renewal(self, identity: SpiffeId, key_digest: bytes) -> bytes | None:
        """Return the newest certificate (DER) that renewed one of this identity and key, if kept."""
        ...

    async def see(
        self,
        issuer: SpiffeId,
        identity: SpiffeId,
        serial: str,
        expires_ms: int,
        key_digest: bytes,
    ) -> None:
        """Take note of a certificate in use, of which the trust rule was checked; repeats are free.

        One that ``issuer`` signed offline binds its key to a user's identity.  ShutOutError where
        the key is revoked, ConflictError where an invite bound another one that is not: then it
        does not count.
        """
        ...

    async def key_of(self, serial: str) -> bytes | None:
        """Return the SHA-256 of the key of a certificate, or None where that is not known."""
        ...

    async def holders(self) -> Sequence[SpiffeId]:
        """Return who was issued a certificate that has not run out, each once."""
        ...
