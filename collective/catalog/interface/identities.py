"""What the catalogue promises about who joined, and who is an admin."""

from __future__ import annotations

from typing import Protocol

from collective.core import limits
from collective.core.ids import SpiffeId
from collective.model.calls import Call
from collective.model.pages import Page
from collective.model.people import IdentityRecord


class Identities(Protocol):
    """Identities of users and nodes."""

    async def list(
        self, caller: Call, *, token: str = "", max_bytes: int = limits.ANSWER_MAX_BYTES
    ) -> Page[IdentityRecord]:
        """Return a page of who joined, in order of name: to an admin, others see themselves alone."""
        ...

    async def is_known(self, identity: SpiffeId) -> bool:
        """Tell whether ``identity`` joined, has grants, or has a certificate that has not run out."""
        ...

    async def is_admin(self, caller: Call) -> bool:
        """Tell whether ``caller`` is the operator, or an admin by their grants."""
        ...

    async def require_admin(self, caller: Call, action: str) -> None:
        """Raise PermissionDeniedError unless ``caller`` is an admin; ``action``: "read the audit"."""
        ...
