"""What this member tells its peers of itself beside its bundle: its nodes, and who counts no more."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final, Protocol

from collective.core.clock import Clock
from collective.model.nodes import NodeStatus
from collective.model.peers import MemberRecord
from collective.pki.revocation import RevocationSet
from collective.rpc.peer_word import NODES_MAX, REVOKED_MAX

FRESH_S: Final = 30.0
"""Figures of nodes that are not older are told again as they are, so that little is told anew."""
_DIGEST_BYTES: Final = 8


class OwnNodes(Protocol):
    """The nodes, as everybody sees them."""

    def shown(self) -> Sequence[NodeStatus]:
        """Return them."""
        ...


class Revoked(Protocol):
    """Who counts no more here."""

    @property
    def present(self) -> RevocationSet:
        """The newest set."""
        ...


class OwnRecord:
    """Makes the record of this member."""

    def __init__(self, nodes: OwnNodes, revoked: Revoked, clock: Clock) -> None:
        """Tell of ``nodes`` and of ``revoked``."""
        self._nodes = nodes
        self._revoked = revoked
        self._clock = clock
        self._told: RevocationSet | None = None
        self._made_s = 0.0
        self._record = MemberRecord()
        self._digest = b""

    @property
    def digest(self) -> bytes:
        """That of what :meth:`current` returned last."""
        return self._digest

    def current(self) -> MemberRecord:
        """Return it: made anew when somebody was revoked, and else every FRESH_S."""
        present, now_s = self._revoked.present, self._clock.monotonic_s()
        if self._told is not present or now_s - self._made_s >= FRESH_S:
            self._record = MemberRecord(
                tuple(sorted(present.entries)[:REVOKED_MAX]),
                tuple(self._nodes.shown()[:NODES_MAX]),
            )
            self._told, self._made_s = present, now_s
            self._digest = digest_of(self._record)
        return self._record


def digest_of(told: object) -> bytes:
    """Return what tells one record, or one list of known members, from another.

    It is short, since each exchange has four, and proves nothing: each end compares what it made itself.
    """
    return hashlib.sha256(repr(told).encode()).digest()[:_DIGEST_BYTES]
