"""What the catalogue promises about the audit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from collective.model.audit import AuditRow, Refusal
from collective.model.calls import Call


class Audit(Protocol):
    """The audit; what changes the catalogue writes its own rows."""

    async def list(self, *, since_ms: int, limit: int) -> Sequence[AuditRow]:
        """Return audit rows in order of time."""
        ...

    async def note_change(self, actor: Call, action: str, target: str, detail: str) -> None:
        """Write a row of the audit for a change that is made outside the catalogue, before it."""
        ...

    def note_denial(self, refusal: Refusal) -> None:
        """Note a refusal for the audit; equal ones are joined, and written together later."""
        ...
