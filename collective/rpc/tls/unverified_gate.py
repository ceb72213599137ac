"""The gate of a connection over which only what bears its own signature is fetched.

Nothing is sent over it but a question that anybody may ask, and nothing that it says of itself is believed.
"""

from __future__ import annotations

from typing import Literal

from collective.core.ids import SpiffeRole
from collective.pki import certificates
from collective.pki.certificates import Certified


class UnverifiedGate:
    """Takes any server."""

    @property
    def trust(self) -> None:
        """No pool for the handshake."""
        return

    def verify(
        self,
        leaf_der: bytes,
        roles: frozenset[SpiffeRole],
        usage: Literal["client", "server"],
    ) -> Certified:
        """Return who the server says that it is; RejectedError where its certificate cannot be read."""
        del roles, usage
        return certificates.describe(certificates.load_certificate(leaf_der))

    def objection(self, peer: Certified) -> str | None:
        """Return None: what is fetched is judged by itself."""
        del peer
        return None
