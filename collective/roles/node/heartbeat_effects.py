"""What a coordinator's answer to a heartbeat changes at a node.

It brings ticket keys, the coordinator's time, the catalogue's position, what is revoked and which CAs
count.  What of it counts before it is flushed is the memory's affair; which CA is followed, the
renewal's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import structlog

from collective.core.errors import RejectedError
from collective.core.ids import Domain, SpiffeId, parse_domain
from collective.model.nodes import Replacement
from collective.pki.revocation import RevocationSet
from collective.pki.succession import Told
from collective.roles.node.coordinator_keys import CoordinatorKeys
from collective.roles.node.durable_memory import DurableMemory
from collective.rpc.conversions.node_registry import position_from, stated_from
from collective.rpc.gen.collective.v1 import node as pb
from collective.transfer.tickets.adoptions import open_adoption


class Trust(Protocol):
    """Whose certificates count here."""

    @property
    def peers_digest(self) -> bytes:
        """What the coordinator calls the peers that it named last."""
        ...

    def take_peers(
        self, digest: bytes, named: Sequence[tuple[Domain, Sequence[bytes], Sequence[str]]]
    ) -> None:
        """Let the CAs (DER) of these peers count, and of no others, but for what each has revoked."""
        ...

    def replace(self, *, revocations: RevocationSet) -> int:
        """Let ``revocations`` count from now on; return how many connections ended by that."""
        ...


class HearsOfAuthorities(Protocol):
    """Decides which CAs are followed."""

    @property
    def trusted_digests(self) -> Sequence[bytes]:
        """SHA-256 of the key of each CA of the own domain that is trusted now."""
        ...

    def hear(self, told: Told) -> None:
        """Take note of the CAs that an answer names."""
        ...


class HearsOfInventory(Protocol):
    """Tells what the node holds."""

    @property
    def is_known(self) -> bool:
        """Whether the coordinator knows it."""
        ...

    def heard(self, *, is_asked: bool) -> None:
        """Take note of whether it is asked for."""
        ...


class HeartbeatEffects:
    """Applies answers."""

    def __init__(
        self,
        own: SpiffeId,
        keys: CoordinatorKeys,
        memory: DurableMemory,
        trust: Trust,
        renewal: HearsOfAuthorities,
        inventory: HearsOfInventory,
    ) -> None:
        """Apply what is said to the node ``own``."""
        self._own = own
        self._keys = keys
        self._memory = memory
        self._trust = trust
        self._renewal = renewal
        self._inventory = inventory
        self._is_mac_newest = False
        self._log = structlog.get_logger("collective.node.coordinator")

    @property
    def is_mac_newest(self) -> bool:
        """Whether the coordinator knows by the MAC alone what we remember of revocations."""
        return self._is_mac_newest

    @property
    def peers_digest(self) -> bytes:
        """What the coordinator calls the peers that it named last."""
        return self._trust.peers_digest

    @property
    def trusted_digests(self) -> Sequence[bytes]:
        """SHA-256 of the key of each CA of the own domain that is trusted now."""
        return self._renewal.trusted_digests

    @property
    def knows_inventory(self) -> bool:
        """Whether the coordinator knows what this start of the node holds."""
        return self._inventory.is_known

    async def apply(
        self,
        answer: pb.HeartbeatResponse,
        *,
        has_left_out: bool,
        teller: bytes,
        sent_s: float,
        received_s: float,
    ) -> None:
        """Apply one answer.

        Args:
            answer: what the coordinator said.
            has_left_out: whether the heartbeat left out what is remembered as revoked.
            teller: digest of the CA that signed the certificate on this connection.
            sent_s: when the heartbeat left, monotonic.
            received_s: when its answer was here, monotonic.
        """
        left_out = has_left_out and answer.mac_is_newest
        if self._keys.learn((key.key_id, key.key) for key in answer.keys):
            self._log.debug("ticket keys learnt", key_ids=self._keys.key_ids)
        changed = await self._memory.heard(
            stated_from(answer.position),
            answer.revocation_epoch,
            None if left_out else answer.revoked,
            answer.revocation_mac,
            self._adoption(answer.adoption),
        )
        self._is_mac_newest = answer.mac_is_newest
        if changed:
            present = self._memory.revocations
            closed = self._trust.replace(revocations=present)
            self._log.info("revocations changed", count=len(present.entries), closed=closed)
        if answer.peers_digest != self._trust.peers_digest:
            named = [
                (parse_domain(one.domain), list(one.ca_ders), list(one.revoked))
                for one in answer.peers
            ]
            self._trust.take_peers(answer.peers_digest, named)
        if answer.trusted_ca_ders:
            self._renewal.hear(Told(answer.trusted_ca_ders, answer.ca_link_ders, teller))
        self._inventory.heard(is_asked=answer.send_inventory)
        self._keys.synchronise(answer.coordinator_time_ms, sent_s=sent_s, received_s=received_s)

    def _adoption(self, signed: pb.SignedAdoption | None) -> Replacement | None:
        """Return a checked adoption; one that is not for us is logged and left."""
        if signed is None:
            return None
        try:
            adoption = open_adoption(self._keys, signed, node=self._own)
        except RejectedError as error:
            self._log.error("adoption refused", reason=error.message)
            return None
        self._log.warning(
            "the coordinator's catalogue takes the place of the one obeyed before",
            replaced=adoption.replaced.catalog_id if adoption.replaced else "",
        )
        replaced, successor = position_from(adoption.replaced), stated_from(adoption.successor)
        if replaced is None or successor is None:
            return None
        return Replacement(replaced, successor)
