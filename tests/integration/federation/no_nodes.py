"""Links over which no node can be reached, so that bytes go through coordinators."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from collective.core.errors import UnreachableError
from collective.core.ids import SpiffeId
from collective.core.units import Address
from collective.rpc.links import Dialer, HandshakeConfig, Keeper, Links, ProtocolFactory
from collective.rpc.tls.gate import Gate


class NoNodes:
    """Links over which no node can be reached."""

    def __init__(self, links: Links) -> None:
        self._links = links

    def __getattr__(self, name: str) -> Any:
        return getattr(self._links, name)

    def dialer(self, config: HandshakeConfig, gate: Gate, *, timeout_s: float = 3.0) -> Dialer:
        return _RefusesNodes(self._links.dialer(config, gate, timeout_s=timeout_s))


class _RefusesNodes:
    def __init__(self, dialer: Dialer) -> None:
        self._dialer = dialer

    @property
    def generation(self) -> int:
        return self._dialer.generation

    def attach(self, keeper: Keeper) -> None:
        self._dialer.attach(keeper)

    async def dial(
        self, peer: SpiffeId, addresses: Sequence[Address], factory: ProtocolFactory
    ) -> None:
        if peer.role == "node":
            raise UnreachableError("No way there.")
        await self._dialer.dial(peer, addresses, factory)
