"""What is revoked, live: read from the catalogue, applied to the gate, told to nodes, learned back.

Learning back is for a catalogue that was restored from a backup older than a revocation: its nodes
still know.  But a node's word must not shut anybody out, nor that of a hundred nodes enrolled with
one stolen code; so what nodes are told carries a MAC (``statement_macs``), and entries are taken only under this
coordinator's own MAC.  Then one node is enough, at any time, since a revocation is for good, and it
counts at once.  Never one that would shut out the coordinator: a coordinator's identity, its own
serial or key.  What has no MAC of ours is logged, for the operator to revoke by hand.

The epoch shuts nobody out (tickets from before it are asked for anew), and a node ahead of the
coordinator refuses every ticket; so it is caught up with without a MAC as well, but then only so
far, and once for each node and start.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

import structlog

from collective.catalog.interface import Revocations as KeptRevocations
from collective.core.ids import NodeId
from collective.member.nodes.live_nodes import LiveNodes
from collective.member.nodes.statement_macs import StatementMacs, digest_of_revocations
from collective.model.nodes import RevokedStatement
from collective.pki.certificates import Certified
from collective.pki.revocation import RevocationSet, key_entry, normalise, serial_entry
from collective.transfer.tickets.key_ring import KeyRing

_EPOCH_LEAP: Final = 1 << 32
"""What one node's word without a MAC can raise the epoch by."""
_NOT_TAKEN_MAX: Final = 1000


class RevocationGate(Protocol):
    """Where a newer set begins to count."""

    def replace(self, *, revocations: RevocationSet) -> int:
        """Let ``revocations`` count from now on; return how many connections ended by that."""
        ...


class OwnCertificate(Protocol):
    """The coordinator's certificate."""

    @property
    def certified(self) -> Certified:
        """What it says now."""
        ...


class Revocations:
    """The newest revocation set of this member."""

    def __init__(
        self,
        kept: KeptRevocations,
        gate: RevocationGate,
        keys: KeyRing,
        macs: StatementMacs,
        nodes: LiveNodes,
        own: OwnCertificate,
    ) -> None:
        """Begin empty; call :meth:`refresh` before serving.

        Args:
            kept: those of the catalogue.
            gate: where the set counts.
            keys: the tickets' keys, which carry the epoch.
            macs: marks what nodes are told.
            nodes: those of them that are revoked are refused.
            own: what is never revoked by a node's word.
        """
        self._kept = kept
        self._gate = gate
        self._keys = keys
        self._macs = macs
        self._nodes = nodes
        self._own = own
        self._not_taken: dict[NodeId, frozenset[str]] = {}
        """What each node said without a MAC that is not known here, to log it once."""
        self._caught_up: set[NodeId] = set()
        self._stated: tuple[RevocationSet, Sequence[str], bytes] | None = None
        """A set, its entries in order and their digest: worked out once, not with each heartbeat."""
        self._log = structlog.get_logger("coordinator.revocations")
        self.present = RevocationSet()

    async def refresh(self) -> int:
        """Take over what the catalogue says now; return how many connections were closed."""
        epoch, entries = await self._kept.all()
        if epoch == self.present.epoch and len(entries) == len(self.present.entries):
            return 0
        self.present = RevocationSet.of(epoch, entries)
        self._keys.epoch = epoch
        self._refuse_nodes()
        return self._gate.replace(revocations=self.present)

    def is_own(self, entry: str) -> bool:
        """Tell whether ``entry`` would shut out a coordinator by identity, or this one's leaf."""
        own = self._own.certified
        named = {str(own.identity), serial_entry(own.serial), key_entry(own.key_digest)}
        return entry.endswith("/coordinator") or entry in named

    def statement(self) -> RevokedStatement:
        """Return what nodes are told."""
        if self._stated is None or self._stated[0] is not self.present:
            in_order = sorted(self.present.entries)
            digest = digest_of_revocations(self.present.epoch, in_order)
            self._stated = (self.present, in_order, digest)
        _, entries, digest = self._stated
        return RevokedStatement(self.present.epoch, entries, self._macs.of_digest(digest))

    async def learn(self, node: NodeId, told: RevokedStatement) -> None:
        """Take back what nodes remember and a restored catalogue has forgotten.

        However many there are, the node goes on: only the size of a message bounds them.  One that
        leaves them out remembers what it was told last.

        Raises:
            UsageError: an entry names nothing.
        """
        if told.entries is None:
            return
        epoch = told.epoch
        unknown = frozenset(normalise(entry) for entry in told.entries) - self.present.entries
        if not unknown and epoch <= self.present.epoch:
            return
        learned: list[str] = []
        if self._macs.is_revocations(epoch, told.entries, told.mac):
            learned = sorted(entry for entry in unknown if not self.is_own(entry))
        else:
            self._log_not_taken(node, unknown)
            epoch = self._catch_up(node, epoch)
        if learned or epoch > self.present.epoch:
            self._log.warning("revocations_learned_from_node", count=len(learned), epoch=epoch)
            await self._kept.learn(learned, epoch=epoch)
            await self.refresh()

    def _refuse_nodes(self) -> None:
        for live in self._nodes.all():
            node = live.record.node
            identity = self._nodes.identity(node)
            if self.present.is_revoked(identity, live.record.certificate_serial, live.key_digest):
                self._nodes.refuse(node, "its certificate was revoked.")

    def _catch_up(self, node: NodeId, epoch: int) -> int:
        """Return how far the word of ``node`` raises the epoch; 0 for not at all."""
        if epoch <= self.present.epoch or node in self._caught_up:
            return 0
        self._caught_up.add(node)
        return min(epoch, self.present.epoch + _EPOCH_LEAP)

    def _log_not_taken(self, node: NodeId, unknown: frozenset[str]) -> None:
        if not unknown or self._not_taken.get(node) == unknown:
            return
        if len(self._not_taken) >= _NOT_TAKEN_MAX:
            self._not_taken.clear()
        self._not_taken[node] = unknown
        self._log.warning(
            "revocations_not_taken_from_node",
            node=node,
            count=len(unknown),
            first=min(unknown),
            advice="the node names revocations without this coordinator's MAC on them; if they "
            "are right, repeat them with: collective identity revoke",
        )
