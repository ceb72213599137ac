"""The gate of a join: the server is known only by the digest of its CA's key.

The TLS handshake proves that the server holds the key of its leaf; this gate proves, before a byte is
sent, that the leaf is signed by the CA that the join code pins.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from typing import Literal

from collective.core.clock import Clock
from collective.core.errors import RejectedError, WrongTimeError
from collective.core.ids import SpiffeRole
from collective.pki.certificates import Certified
from collective.pki.trust import STEP_OF_TIME, UntrustedError, verify_pinned

_ROLES: frozenset[SpiffeRole] = frozenset(("coordinator", "bootstrap"))


class PinnedGate:
    """Checks server leaves against a pinned CA key; remembers the last leaf that passed."""

    def __init__(self, authority_digest: bytes | Sequence[bytes], clock: Clock) -> None:
        """Pin the CA whose SubjectPublicKeyInfo has SHA-256 ``authority_digest``, or one of them."""
        self._digests: tuple[bytes, ...] = (
            (authority_digest,) if isinstance(authority_digest, bytes) else tuple(authority_digest)
        )
        self._clock = clock
        self._leaf_digest: bytes | None = None

    @property
    def trust(self) -> None:
        """No pool for the handshake: the CA itself is not known yet."""
        return

    @property
    def leaf_digest(self) -> bytes:
        """SHA-256 of the leaf of the connection that passed last; RejectedError before that."""
        if self._leaf_digest is None:
            raise RejectedError("No connection to the bootstrap was checked yet.")
        return self._leaf_digest

    def verify(
        self,
        leaf_der: bytes,
        roles: frozenset[SpiffeRole],
        usage: Literal["client", "server"],
    ) -> Certified:
        """Return who the server is, or raise RejectedError."""
        assert usage == "server"
        try:
            if not leaf_der:
                raise RejectedError("The server showed no certificate.")  # noqa: TRY301
            certified = self._checked(leaf_der, roles & _ROLES)
        except RejectedError as error:
            why = error.why if isinstance(error, UntrustedError) else error.message
            if isinstance(error, UntrustedError) and error.step == STEP_OF_TIME:
                raise WrongTimeError(
                    f"The server is the right one, but {why}. Nothing was sent to it."
                ) from error
            raise RejectedError(
                f"The server is not the one that the join code names ({why}), and nothing was sent"
                " to it; ask for a new code."
            ) from error
        self._leaf_digest = hashlib.sha256(leaf_der).digest()
        return certified

    def _checked(self, der: bytes, roles: frozenset[SpiffeRole]) -> Certified:
        now_s = self._clock.wall_s()
        for digest in self._digests[1:]:
            with suppress(RejectedError):
                return verify_pinned(der, digest, roles=roles, now_s=now_s)
        return verify_pinned(der, self._digests[0], roles=roles, now_s=now_s)

    def objection(self, peer: Certified) -> str | None:
        """Return None: a join is over before trust could change."""
        del peer
        return None
