"""Adoption at the coordinator: which nodes wait for it, what it does to them, and what is in quarantine."""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from collective.catalog.interface import Catalog
from collective.core.errors import ConflictError, NotFoundError, PermissionDeniedError, UsageError
from collective.core.ids import NodeId, parse_node_id
from collective.member.nodes.approval import NODES_MAX
from collective.member.nodes.live_nodes import LiveNodes
from collective.member.nodes.unknown_nodes import UnknownNodes
from collective.member.trust.revocations import Revocations
from collective.member.wakes import Wakes
from collective.model.calls import Call
from collective.model.nodes import Adoption, Discarded, NodeClaim


class AdoptionDesk:
    """Has nodes obey the catalogue that there is now."""

    def __init__(
        self,
        catalog: Catalog,
        table: LiveNodes,
        waiting: UnknownNodes,
        wakes: Wakes,
        revocations: Revocations,
    ) -> None:
        """Enrol from ``waiting``, but nobody who is revoked."""
        self._catalog = catalog
        self._table = table
        self._waiting = waiting
        self._wakes = wakes
        self._revocations = revocations
        self._log = structlog.get_logger("coordinator.adoption")

    def waiting(self) -> Sequence[NodeClaim]:
        """Return the nodes that could be adopted and are not known, in order of id."""
        return [claim for claim in self._waiting.all() if not self._is_revoked(claim)]

    async def adopt(self, caller: Call, node_ids: Sequence[str], *, everything: bool) -> Adoption:
        """Have the nodes named, or all, obey this catalogue.

        Raises:
            PermissionDeniedError: the caller is not the operator.
            UsageError: neither nodes nor all, or both.
            NotFoundError: one is neither known nor waiting.
            ConflictError: nothing is to be adopted, or two claim to be one node.
        """
        if not caller.is_operator:
            raise PermissionDeniedError(
                "Only the operator may have nodes adopt a catalogue; use the coordinator's certificate."
            )
        if bool(node_ids) == everything:
            raise UsageError("Name the nodes that shall adopt this catalogue, or give --all.")
        if len(node_ids) > NODES_MAX:
            raise UsageError(f"At most {NODES_MAX} nodes may be named at once.")
        nodes = frozenset(parse_node_id(one) for one in node_ids)
        if everything:
            nodes = frozenset(claim.node for claim in self.waiting())
            nodes |= {live.record.node for live in self._table.all()}
        claims = [claim for node in sorted(nodes) if (claim := self._claim(node)) is not None]
        known = [live for node in nodes if (live := self._table.get(node)) is not None]
        obeyed = {live.record.node: live.obeys for live in known}
        obeyed |= {claim.node: claim.obeys for claim in claims}
        done = await self._catalog.restores.adopt(
            caller,
            None if everything else nodes,
            obeyed={node: position for node, position in obeyed.items() if position is not None},
            claims=claims,
        )
        for node in done.enrolled:
            self._waiting.drop(node)
        await self._table.reload()
        self._wakes.repair.set()
        self._log.warning(
            "catalogue_adopted",
            nodes=sorted(nodes),
            enrolled=done.enrolled,
            brought_back=done.brought_back,
            confirmed=done.confirmed,
        )
        return done

    async def discard(self, caller: Call, node_ids: Sequence[str]) -> Sequence[Discarded]:
        """Let quarantined copies go on the nodes named, or on all."""
        if len(node_ids) > NODES_MAX:
            raise UsageError(f"At most {NODES_MAX} nodes may be named at once.")
        await self._catalog.identities.require_admin(caller, "discard quarantined copies")
        nodes = [parse_node_id(one) for one in dict.fromkeys(node_ids)] or None
        found = await self._catalog.quarantine.discard(caller, nodes)
        self._log.warning("copies_discarded", nodes=[one.node for one in found if one.copies])
        return found

    def _claim(self, node: NodeId) -> NodeClaim | None:
        """Return the claim of a node that is not known; None for one that is."""
        if self._table.get(node) is not None:
            return None
        claim = self._waiting.claim_of(node)
        if claim is None:
            raise NotFoundError(
                f"Node {node} is neither known nor waiting; run: collective node list"
            )
        if self._is_revoked(claim):
            raise ConflictError(f"Node {node} was revoked here; enrol it anew under another id.")
        return claim

    def _is_revoked(self, claim: NodeClaim) -> bool:
        return self._revocations.present.is_revoked(claim.identity, claim.serial, claim.key_digest)
