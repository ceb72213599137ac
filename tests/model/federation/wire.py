"""Calls between processes, in one: what a stub sends is served by the services themselves, in a task of its own.

The certificate of each end is taken for verified, as TLS does it elsewhere; everything that comes after it is
the product's: the edge of the services, the admission, the errors as they are said to others.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Self, TypeVar, cast

from collective.core.errors import CollectiveError, RejectedError
from collective.core.ids import SpiffeId
from collective.core.units import Address
from collective.pki.certificates import Certified
from collective.pki.credentials import Credentials
from collective.rpc.errors import from_detail, to_detail
from collective.rpc.headers import REQUEST_ID_KEY
from collective.rpc.http2.member_share import MemberShare
from collective.rpc.links import CONNECT_TIMEOUT_S, Links
from collective.rpc.server.service_edge import ServiceEdge
from collective.rpc.tls.gate import Expectation, Gate

S = TypeVar("S")


def leaf_of(identity: SpiffeId) -> Certified:
    return Certified(identity, "01", 0.0, 2.0**40, key_digest=b"\x07" * 32)


class Served:
    """What one coordinator serves."""

    def __init__(self, edge: ServiceEdge, services: Sequence[Any]) -> None:
        self.edge = edge
        self.methods: dict[str, Any] = {}
        for service in services:
            self.methods.update(service.__mapping__())


class Wire:
    """A connection of one identity to one coordinator: the channel of its stubs."""

    def __init__(self, served: Served, caller: SpiffeId) -> None:
        self.served = served
        self.caller = leaf_of(caller)
        self.peer: Certified | None = None
        self.farewell: CollectiveError | None = None
        self.newest_authority = b""
        self.server_time_ms = 0
        self.is_connected = True
        self.address = Address("127.0.0.1", 8001)
        self.headers: dict[str, str] = {}
        """What goes with every call of those who invent."""

    def stub(self, stub_class: Callable[[Any], S]) -> S:
        return stub_class(self)

    def request(self, name: str, *_: Any, metadata: Any = None, **__: Any) -> Stream:
        sent: dict[str, str | bytes] = {REQUEST_ID_KEY: "0" * 32, **self.headers}
        return Stream(self, name, sent | dict(metadata or ()))

    async def connect(self) -> Certified:
        return self.caller

    def close(self) -> None:
        self.is_connected = False

    async def aclose(self) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()


class Stream:
    """The caller's end of one call: all that is asked is served at once, before the first answer is taken."""

    def __init__(self, wire: Wire, name: str, metadata: dict[str, str | bytes]) -> None:
        self._wire = wire
        self._name = name
        self._metadata = metadata
        self._asked: deque[Any] = deque()
        self._end: ServedEnd | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    async def send_request(self) -> None:
        pass

    async def send_message(self, message: Any, *, end: bool = False) -> None:
        del end
        self._asked.append(message)

    async def end(self) -> None:
        pass

    async def recv_message(self) -> Any:
        end = self._end
        if end is None:
            end = self._end = ServedEnd(self._asked)
            await asyncio.create_task(self._run(end))
        if end.answers:
            return end.answers.popleft()
        if end.error is not None:
            raise end.error
        return None

    async def _run(self, end: ServedEnd) -> None:
        wire = self._wire
        method = wire.served.methods.get(self._name)
        if method is None:
            end.error = RejectedError("The server does not serve this.")
            return
        edge = wire.served.edge
        context = edge.call(wire.caller, self._name, self._metadata, None, "")
        await edge.serve(context, lambda: method.func(end), end)

    async def __aiter__(self) -> AsyncIterator[Any]:
        while (message := await self.recv_message()) is not None:
            yield message


class ServedEnd:
    """The other end, as services and their edge use it."""

    def __init__(self, asked: deque[Any]) -> None:
        self._asked = asked
        self.answers: deque[Any] = deque()
        self.error: CollectiveError | None = None

    async def recv_message(self) -> Any:
        return self._asked.popleft() if self._asked else None

    async def send_message(self, message: Any) -> None:
        self.answers.append(message)

    async def __aiter__(self) -> AsyncIterator[Any]:
        while (message := await self.recv_message()) is not None:
            yield message

    async def fail(self, error: CollectiveError, request_id: str) -> None:
        self.error = from_detail(to_detail(error, request_id))

    def has_left(self) -> bool:
        return False


class Exchange:
    """All coordinators, by identity, and the links of one of them to the others."""

    def __init__(self) -> None:
        self.served: dict[SpiffeId, Served] = {}

    def links_of(self, own: SpiffeId) -> Links:
        return cast("Links", _Links(self, own))


class _Links:
    def __init__(self, exchange: Exchange, own: SpiffeId) -> None:
        self._exchange = exchange
        self._own = own

    def channel(
        self,
        addresses: Sequence[Address],
        *,
        credentials: Credentials | None,
        gate: Gate,
        expect: Expectation,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
        share: MemberShare | None = None,
    ) -> Wire:
        del addresses, credentials, gate, connect_timeout_s, share
        assert isinstance(expect, SpiffeId)
        return Wire(self._exchange.served[expect], self._own)
