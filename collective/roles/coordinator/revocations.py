"""What is revoked, live: read from the catalogue, applied to the gate, told to nodes, learned back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Protocol

import structlog

from collective.catalog.interface import Trust
from collective.core.errors import UsageError
from collective.pki.revocation import RevocationSet, normalise
from collective.roles.coordinator.keys import KeyRing

_LEARN_MAX: Final = 10_000
_EPOCH_MAX: Final = 1 << 48


class RevocationGate(Protocol):
    """Where a newer set begins to count."""

    def replace(self, *, revocations: RevocationSet) -> None:
        """Let ``revocations`` count from now on."""
        ...


class Revocations:
    """The newest revocation set of this member."""

    def __init__(self, trust: Trust, gate: RevocationGate, keys: KeyRing) -> None:
        """Begin empty; call :meth:`refresh` before serving."""
        self._trust = trust
        self._gate = gate
        self._keys = keys
        self._log = structlog.get_logger("coordinator.revocations")
        self.present = RevocationSet()
        self.on_change: Callable[[], int] | None = None
        """Called when the set changed: closes connections that count no longer, says how many."""

    async def refresh(self) -> int:
        """Take over what the catalogue says now; return how many connections were closed."""
        epoch, entries = await self._trust.revocations()
        if epoch == self.present.epoch and len(entries) == len(self.present.entries):
            return 0
        self.present = RevocationSet.of(epoch, entries)
        self._keys.epoch = epoch
        self._gate.replace(revocations=self.present)
        return self.on_change() if self.on_change is not None else 0

    async def learn(self, told: Sequence[str], epoch: int = 0) -> None:
        """Take back what a node remembers and the catalogue has forgotten: entries and epoch."""
        if len(told) > _LEARN_MAX:
            raise UsageError(f"At most {_LEARN_MAX} revocations can be reported.")
        new = {normalise(entry) for entry in told} - self.present.entries
        new = {entry for entry in new if not entry.endswith("/coordinator")}
        epoch = min(epoch, _EPOCH_MAX)
        if new or epoch > self.present.epoch:
            self._log.warning("revocations_learned_from_node", count=len(new), epoch=epoch)
            await self._trust.learn_revocations(sorted(new), epoch=epoch)
            await self.refresh()
