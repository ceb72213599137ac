"""What a coordinator states to its nodes of the member: where its catalogue stands, what is revoked, which CAs count.

A node shows what it was told last, which is how a restored catalogue learns what it has forgotten.
What it is told is marked (:mod:`~.statement_macs`), so only the coordinator's own words come back.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

import structlog

from collective.catalog.interface import Restores
from collective.core.ids import NodeId, SpiffeId
from collective.member.nodes.statement_macs import StatementMacs
from collective.member.trust.revocations import Revocations
from collective.model.nodes import (
    Heartbeat,
    HeartbeatAnswer,
    Position,
    RevokedStatement,
    SignedAdoption,
    StatedPosition,
)
from collective.transfer.tickets.adoptions import make_adoption
from collective.transfer.tickets.key_ring import KeyRing

NOT_TAKEN_MAX: Final = 1000


class OwnAuthorities(Protocol):
    """The coordinator that states these, and the CAs that it goes by."""

    @property
    def identity(self) -> SpiffeId:
        """Its identity."""
        ...

    def trusted_ders(self) -> Sequence[bytes]:
        """Return every CA that counts (DER), the one that signs nodes first."""
        ...

    def link_ders(self) -> Sequence[bytes]:
        """Return the old CA's word for the new one (DER), while a rotation is under way."""
        ...


class Statements:
    """Takes back what nodes were told before, and tells them what is so now."""

    def __init__(
        self,
        own: OwnAuthorities,
        restores: Restores,
        keys: KeyRing,
        macs: StatementMacs,
        revocations: Revocations,
        *,
        interval_s: float,
    ) -> None:
        """Speak as ``own``; nodes are asked to beat every ``interval_s`` seconds."""
        self._own = own
        self._restores = restores
        self._keys = keys
        self._macs = macs
        self._revocations = revocations
        self._interval_s = interval_s
        self._not_taken: dict[NodeId, Position] = {}
        """Positions that nodes said without this coordinator's mark, to log each once."""
        self._heeding: set[NodeId] = set()
        """Nodes that showed last that they obey this catalogue: nothing brings them back."""
        self._log = structlog.get_logger("coordinator.registry")

    async def take_back(self, node: NodeId, said: Heartbeat) -> None:
        """Learn again what ``node`` was told and a restored catalogue has forgotten."""
        await self._observe(node, said.seen)
        await self._follow_up(node, said.seen)
        await self._revocations.learn(node, said.revoked)

    async def answer(
        self, identity: SpiffeId, said: Heartbeat, *, send_inventory: bool
    ) -> HeartbeatAnswer:
        """Return what the node ``identity`` is told."""
        position = await self._restores.position()
        stated = self._revocations.statement()
        is_newest = said.revoked.mac == stated.mac
        if said.revoked.entries is None and is_newest:
            stated = RevokedStatement(stated.epoch, None, stated.mac)
        keys = self._keys.hand_out(identity, said.key_ids)
        return HeartbeatAnswer(
            coordinator=self._own.identity,
            coordinator_now_ms=self._keys.coordinator_now_ms(),
            keys=[(key.key_id, key.secret) for key in keys],
            position=self._stated(position),
            adoption=await self._adoption(identity, said.seen, position),
            revoked=stated,
            is_mac_newest=is_newest,
            send_inventory=send_inventory,
            interval_s=self._interval_s,
            trusted_ders=self._own.trusted_ders(),
            link_ders=self._own.link_ders(),
        )

    def _stated(self, position: Position) -> StatedPosition:
        return StatedPosition(position, self._macs.of_position(position))

    async def _adoption(
        self, identity: SpiffeId, seen: StatedPosition | None, position: Position
    ) -> SignedAdoption | None:
        """Return the word that our position replaces the one the node obeys, where that was ordered."""
        if seen is None or not _obeys_another(seen.position, position):
            return None
        if not await self._restores.is_replaced(identity.node_id, seen.position):
            return None
        key = self._keys.signing_key(identity)
        assert key is not None, "keys were just handed out"
        return make_adoption(key, identity, seen, self._stated(position))

    async def _follow_up(self, node: NodeId, seen: StatedPosition | None) -> None:
        """End the word that brought ``node`` back, once it shows that it has heeded it, or something else again."""
        if seen is None:
            return
        heeds_us = not _obeys_another(seen.position, await self._restores.position())
        if heeds_us and node in self._heeding:
            return
        await self._restores.showed(node, seen.position)
        if heeds_us:
            self._heeding.add(node)
        else:
            self._heeding.discard(node)

    async def _observe(self, node: NodeId, seen: StatedPosition | None) -> None:
        """Become *restored* where ``seen`` is a position that this coordinator gave out itself."""
        if seen is None or await self._restores.has_been_at(seen.position):
            return
        if not self._macs.is_position(seen.position, seen.mac):
            if self._not_taken.get(node) != seen.position:
                if len(self._not_taken) >= NOT_TAKEN_MAX:
                    self._not_taken.clear()
                self._not_taken[node] = seen.position
                self._log.warning(
                    "catalog_position_not_taken",
                    node=node,
                    catalog_id=seen.position.catalog_id,
                    advice="it is not this coordinator's word, or from before its key was replaced; "
                    "the node itself deletes nothing for a catalogue older than it says. If this catalogue "
                    f"takes its place: collective node adopt {node}",
                )
            return
        if await self._restores.observe(seen.position):
            self._log.error(
                "catalog_restored",
                advice="nodes have seen a future of this catalogue that it lost; nothing is deleted until the "
                "operator adopts it: collective node adopt --all",
            )


def _obeys_another(seen: Position, ours: Position) -> bool:
    """Tell whether a node that holds ``seen`` takes no notice of ``ours``."""
    return seen.catalog_id != ours.catalog_id or seen.is_ahead_of(ours)
