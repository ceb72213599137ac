"""What the catalogue promises about revoked identities, certificates and keys."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from collective.model.calls import Call
from collective.model.people import Consequences


class Revocations(Protocol):
    """What was revoked, for good; each revocation raises the epoch."""

    async def all(self) -> tuple[int, Sequence[str]]:
        """Return the revocation epoch and everything revoked."""
        ...

    async def revoke(self, actor: Call, what: str) -> int:
        """Revoke ``spiffe://…``, ``key:HEX``, or ``serial:HEX`` with its key where that is known.

        An admin may revoke all; anybody else keys and certificates of their own identity, but for the
        key by which they call (ConflictError).

        Open codes made by a revoked identity or key end.  Returns the new revocation epoch.
        """
        ...

    async def require_revoker(self, caller: Call, what: str) -> None:
        """Raise PermissionDeniedError unless ``caller`` may :meth:`revoke` ``what``."""
        ...

    async def consequences(self, entries: Sequence[str]) -> Consequences:
        """Return what would end with ``entries``, as :meth:`revoke` takes them."""
        ...

    async def learn(self, revoked: Sequence[str], *, epoch: int = 0) -> None:
        """Take back revocations that nodes remember and a restored catalogue does not.

        The epoch never falls behind ``epoch``, the highest that a node has seen.
        """
        ...
