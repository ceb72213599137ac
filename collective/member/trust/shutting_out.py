"""Shutting out: identities, serials and keys revoked, nodes drained and removed.

What is begun is carried to its end whatever becomes of the call: what is durable is also applied.
What is decided here counts at the coordinator when the call returns, on open connections too; nodes
hear of it with their next heartbeat.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import structlog

from collective.catalog.interface import Catalog
from collective.core.errors import ConflictError, NotFoundError, UsageError
from collective.core.ids import GlobalId, NodeId, SpiffeId, parse_node_id, shown_principal
from collective.core.tasks import TaskScope
from collective.member.nodes.live_nodes import LiveNodes
from collective.member.trust.revocations import Revocations
from collective.member.wakes import Wakes
from collective.model.calls import Call
from collective.model.people import Consequences
from collective.pki.revocation import KEY_PREFIX, SERIAL_PREFIX, key_entry, normalise

_WHO_MAX: Final = 512
_REVOKE_IDENTITY: Final = "revoke an identity (a device of yours is key:HEX or serial:HEX)"
_CLOSE_GRACE_S: Final = 5.0
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Revoked:
    """What a revocation did."""

    epoch: int
    closed: int
    """Connections closed here."""
    entries: tuple[str, ...]
    """All that is revoked now by this: what was named, and the key of a certificate named."""
    consequences: Consequences


class ShuttingOut:
    """Ends what identities and nodes may do."""

    def __init__(
        self,
        own: SpiffeId,
        catalog: Catalog,
        table: LiveNodes,
        revocations: Revocations,
        wakes: Wakes,
        *,
        removed: Callable[[SpiffeId], None],
    ) -> None:
        """Serve the coordinator ``own``; ``removed`` is told of each node that was removed."""
        self._own = own
        self._catalog = catalog
        self._table = table
        self._revocations = revocations
        self._wakes = wakes
        self._removed = removed
        self.acts = TaskScope()
        """What is under way."""
        self._log = structlog.get_logger("coordinator.shutting_out")

    async def close(self) -> None:
        """Wait for what was begun; call it before the catalogue is closed."""
        await self.acts.close(_CLOSE_GRACE_S)

    async def revoke(self, caller: Call, who: str) -> Revoked:
        """Revoke a global id, SPIFFE id, ``key:HEX``, or ``serial:HEX`` with the key of it.

        Cancelling the wait does not undo it: it is applied, too.

        Raises:
            PermissionDeniedError: the caller is no admin, and it is no other device of his own.
            ConflictError: it is revoked already, or the key by which he calls.
            UsageError: ``who`` names nothing, the coordinator, or a node.
            NotFoundError: a global id that nobody here has.
        """
        if who.startswith((SERIAL_PREFIX, KEY_PREFIX)):
            await self._catalog.require_revoker(caller, normalise(who))
        else:
            await self._catalog.require_admin(caller, _REVOKE_IDENTITY)
        entries = await self._with_key(await self._entry(who))
        return await self._to_its_end(self._revoke(caller, entries))

    async def _revoke(self, caller: Call, entries: tuple[str, ...]) -> Revoked:
        if set(entries) <= self._revocations.present.entries:
            raise ConflictError(f"{shown_principal(entries[0])} is revoked here already.")
        consequences = await self._catalog.consequences(entries)
        await self._catalog.revoke(caller, entries[0])
        closed = await self._revocations.refresh()
        self._log.warning("revoked", what=entries, by=str(caller.principal), closed=closed)
        return Revoked(self._revocations.present.epoch, closed, entries, consequences)

    async def _with_key(self, entry: str) -> tuple[str, ...]:
        """Return what is to be revoked: of a certificate that is known here, its key as well."""
        if not entry.startswith(SERIAL_PREFIX):
            return (entry,)
        digest = await self._catalog.key_of(entry.removeprefix(SERIAL_PREFIX))
        if digest is None:
            return (entry,)
        if self._revocations.is_own(key_entry(digest)):
            raise _own_certificate()
        return (entry, key_entry(digest))

    async def _to_its_end(self, act: Coroutine[Any, Any, _T]) -> _T:
        """Run ``act`` in a task of its own, which goes on when the caller is cancelled."""
        return await asyncio.shield(self.acts.spawn(act))

    async def drain(self, caller: Call, node_id: str, *, stop: bool) -> int:
        """Begin to empty a node, or take it back into use; return how many copies it has."""
        node = parse_node_id(node_id)
        await self._catalog.require_admin(caller, "drain nodes")
        self._require(node)
        await self._catalog.drain_node(caller, node, draining=not stop)
        await self._reload()
        return (await self._catalog.copies_left()).get(node, 0)

    async def remove(self, caller: Call, node_id: str, *, force: bool) -> int:
        """Shut a node out for good; return the revocation epoch.

        Raises:
            ConflictError: copies there are still in use, and ``force`` is not set.
        """
        node = parse_node_id(node_id)
        await self._catalog.require_admin(caller, "remove nodes")
        self._require(node)
        return await self._to_its_end(self._remove(caller, node, force=force))

    async def _remove(self, caller: Call, node: NodeId, *, force: bool) -> int:
        identity = self._table.identity(node)
        await self._table.write_refusals()
        await self._catalog.remove_node(caller, node, identity, force=force)
        await self._revocations.refresh()
        await self._reload()
        self._removed(identity)
        self._log.warning("node_removed", node=node, by=str(caller.principal), by_force=force)
        return self._revocations.present.epoch

    async def _entry(self, who: str) -> str:
        if len(who) > _WHO_MAX:
            raise UsageError(
                "Name an identity as name@domain, a certificate as serial:HEX or a key as key:HEX."
            )
        if who.startswith((SERIAL_PREFIX, KEY_PREFIX)):
            entry = normalise(who)
            if self._revocations.is_own(entry):
                raise _own_certificate()
            return entry
        if not who.startswith("spiffe://"):
            identity = SpiffeId.user(self._own.trust_domain, GlobalId.parse(who))
            if not await self._is_known(identity):
                raise NotFoundError(
                    f"Nobody here is {who}; see: collective identity list, collective grant list"
                )
            return str(identity)
        identity = SpiffeId.parse(who)
        if identity.role == "coordinator":
            raise _own_certificate()
        if identity.role == "node":
            raise UsageError("A node is shut out by: collective node remove ID")
        return str(identity)

    async def _is_known(self, identity: SpiffeId) -> bool:
        return await self._catalog.is_known(identity)

    def _require(self, node: NodeId) -> None:
        if self._table.get(node) is None:
            raise NotFoundError(f"There is no node {node}; run: collective node list")

    async def _reload(self) -> None:
        await self._table.reload()
        self._wakes.repair.set()


def _own_certificate() -> UsageError:
    return UsageError(
        "The coordinator's own certificate is not revoked; replace the CA instead, with: "
        "collective pki rotate-ca"
    )
