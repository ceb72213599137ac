"""What the catalogue promises about the nodes of the member."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from collective.core.ids import NodeId, SpiffeId, StoreUuid
from collective.model.calls import Call
from collective.model.nodes import Approval, NodeRecord


class Nodes(Protocol):
    """Nodes, from their enrolment until they are taken away."""

    async def list(self) -> Sequence[NodeRecord]:
        """Return every node ever enrolled, in order of id."""
        ...

    async def next_number(self) -> int:
        """Return a number for ``<member>-node-NN`` that was never given before (1, 2, …)."""
        ...

    async def add(self, record: NodeRecord) -> None:
        """Enrol or replace the record of a node (keeps a store uuid that is known already)."""
        ...

    async def bind_store(self, node: NodeId, store: StoreUuid) -> None:
        """Fix the store of a node at its first heartbeat; another store later is ConflictError."""
        ...

    async def update(self, records: Sequence[NodeRecord]) -> None:
        """Write what heartbeats said, for many nodes in one transaction; not audited."""
        ...

    async def set_refused(self, refused: Mapping[NodeId, str]) -> None:
        """Write why nodes are refused ("": not any more).  Copies on refused nodes do not count."""
        ...

    async def approve(
        self, actor: Call, nodes: Sequence[NodeId], *, even_doubted: bool
    ) -> Sequence[Approval]:
        """Approve nodes, and note that they were seen; admins only.

        All or none: NotFoundError for one that is not enrolled or was removed, ConflictError for one
        that is doubted, unless ``even_doubted``.  Repeating changes nothing.
        """
        ...

    def doubts(self) -> int:
        """Return how often a node was put in doubt since the start.

        Where it differs after an operation, the nodes are to be read anew.
        """
        ...

    async def doubt(self, node: NodeId, reason: str) -> bool:
        """Put a node in doubt; return whether that is new.

        Nothing is placed there any more and its copies count for nothing, but are read where no
        other is left, and are not given up.
        """
        ...

    async def clear_doubt(self, node: NodeId) -> bool:
        """Give a doubted node the standing that it had before; return whether it was doubted."""
        ...

    async def drain(self, actor: Call, node: NodeId, *, draining: bool) -> None:
        """Begin or end a drain: copies there do not count for repair, and get no company."""
        ...

    async def remove(self, actor: Call, node: NodeId, identity: SpiffeId, *, force: bool) -> int:
        """Take a node away for good and revoke its ``identity``; return the revocation epoch.

        ConflictError, unless ``force``, while the node has a stored copy of a chunk in use (by a
        file, an old version that is kept, or an open upload): none loses anything by it then.  The
        copies of a doubted node count for nothing: there, while a chunk has no quorum elsewhere.
        """
        ...
