"""What is revoked, live: read from the catalogue, applied to the gate, told to nodes, learned back.

Learning back is for a catalogue that was restored from a backup older than a revocation: its nodes
still know.  But a node's word must not shut anybody out while the catalogue is the authority, so:

* entries are taken only while the catalogue is *restored* (behind its nodes, not confirmed yet);
* each only when two nodes say it (one, where only one is enrolled), since a single rogue node can
  also claim a position that makes the catalogue restored;
* never one that would shut out the coordinator: a coordinator's identity, its own serial or key.

What is not taken is logged, for the operator to revoke by hand.  The epoch shuts nobody out (tickets
from before it are asked for anew), and a node ahead of the coordinator refuses every ticket; so it
is caught up with at any time, but outside of a restore once for each node and start.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Final, Protocol

import structlog

from collective.catalog.interface import Trust
from collective.core.errors import UsageError
from collective.core.ids import NodeId
from collective.pki.revocation import RevocationSet, normalise
from collective.roles.coordinator.keys import KeyRing

_LEARN_MAX: Final = 10_000
_WITNESSES: Final = 2
_EPOCH_LEAP: Final = 1 << 32
"""What one node's word can raise the epoch by."""


class RevocationGate(Protocol):
    """Where a newer set begins to count."""

    def replace(self, *, revocations: RevocationSet) -> None:
        """Let ``revocations`` count from now on."""
        ...


class LearningTrust(Trust, Protocol):
    """What is needed of a catalogue here."""

    async def is_restored(self) -> bool:
        """Tell whether this catalogue is behind its nodes, and not confirmed yet."""
        ...


class Revocations:
    """The newest revocation set of this member."""

    def __init__(
        self,
        trust: LearningTrust,
        gate: RevocationGate,
        keys: KeyRing,
        *,
        enrolled: Callable[[], Collection[NodeId]],
        own_entries: Callable[[], frozenset[str]],
    ) -> None:
        """Begin empty; call :meth:`refresh` before serving.

        Args:
            trust: the catalogue.
            gate: where the set counts.
            keys: the tickets' keys, which carry the epoch.
            enrolled: the nodes that are enrolled and not removed.
            own_entries: what would name the coordinator itself, normalised.
        """
        self._trust = trust
        self._gate = gate
        self._keys = keys
        self._enrolled = enrolled
        self._own_entries = own_entries
        self._said: dict[NodeId, frozenset[str]] = {}
        """What each node said last that is not known here."""
        self._caught_up: set[NodeId] = set()
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

    def is_own(self, entry: str) -> bool:
        """Tell whether ``entry`` would shut out a coordinator by identity, or this one's leaf."""
        return entry.endswith("/coordinator") or entry in self._own_entries()

    async def learn(self, node: NodeId, told: Sequence[str], epoch: int = 0) -> None:
        """Take back what nodes remember and a restored catalogue has forgotten.

        Raises:
            UsageError: too many entries, or one that names nothing.
        """
        if len(told) > _LEARN_MAX:
            raise UsageError(f"At most {_LEARN_MAX} revocations can be reported.")
        unknown = frozenset(normalise(entry) for entry in told) - self.present.entries
        epoch = min(epoch, self.present.epoch + _EPOCH_LEAP)
        is_ahead = epoch > self.present.epoch
        if not unknown and not is_ahead:
            self._said.pop(node, None)
            return
        is_restored = await self._trust.is_restored()
        learned = self._confirmed(node, unknown, is_restored=is_restored)
        if not is_restored and is_ahead:
            is_ahead = node not in self._caught_up
            self._caught_up.add(node)
        if learned or is_ahead:
            self._log.warning("revocations_learned_from_node", count=len(learned), epoch=epoch)
            await self._trust.learn_revocations(learned, epoch=epoch if is_ahead else 0)
            await self.refresh()

    def _confirmed(
        self, node: NodeId, unknown: frozenset[str], *, is_restored: bool
    ) -> Sequence[str]:
        """Note what ``node`` says; return what enough nodes say now."""
        enrolled = self._enrolled()
        is_news = self._said.get(node) != unknown
        self._said = {who: said for who, said in self._said.items() if who in enrolled}
        self._said[node] = unknown
        enough = min(_WITNESSES, len(enrolled))
        learned = [
            entry
            for entry in sorted(unknown)
            if is_restored
            and not self.is_own(entry)
            and sum(entry in said for said in self._said.values()) >= enough
        ]
        left = unknown.difference(learned)
        if left and is_news:
            self._log.warning(
                "revocations_not_taken_from_node",
                node=node,
                count=len(left),
                first=min(left),
                restored=is_restored,
                advice="a node remembers revocations that the catalogue does not; if they are "
                "right, repeat them with: collective identity revoke",
            )
        return learned
