"""The network between simulated machines, and ``Links`` over it.

Connections carry verified identities instead of TLS (the gates run as they do over TLS, with the leaf that
the other end shows), calls carry message values instead of HTTP/2, and the chunk stream runs its own
protocol objects over transports in memory.  What a link does with messages (delay, loss, partitions) is
decided here, by the network's own randomness.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from collections import deque
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

import betterproto2
from cryptography.hazmat.primitives.serialization import Encoding
from grpclib.const import Cardinality
from grpclib.exceptions import GRPCError

from collective.core.errors import (
    CannotListenError,
    CollectiveError,
    NotJoinedError,
    RejectedError,
    UnreachableError,
)
from collective.core.ids import SpiffeId, SpiffeRole
from collective.core.units import Address
from collective.core.world import World
from collective.pki.certificates import Certified
from collective.pki.credentials import Credentials
from collective.pki.trust import RevokedCertificateError, TrustStore
from collective.rpc.deadlines import UNARY_TIMEOUT_S
from collective.rpc.errors import from_detail, from_grpc, to_detail
from collective.rpc.headers import REQUEST_ID_KEY, current_request_id, new_request_id
from collective.rpc.http2.goaway import REVOKED as REVOKED_WORDS
from collective.rpc.http2.goaway import heard
from collective.rpc.http2.member_share import MemberShare
from collective.rpc.links import (
    CONNECT_TIMEOUT_S,
    DIAL_TIMEOUT_S,
    ChunkFactory,
    Keeper,
    ProtocolFactory,
)
from collective.rpc.server.connection_limits import Bounds
from collective.rpc.server.service_edge import Refusals, ServedCall, ServiceEdge
from collective.rpc.tls.gate import (
    ALL_ROLES,
    REVOKED,
    Expectation,
    Gate,
    PeerGate,
    check_expected,
    expected_roles,
)
from tests.simulation.process import Process
from tests.simulation.trace import Trace

if TYPE_CHECKING:
    from collective.rpc.gen.collective.v1 import ErrorDetail

S = TypeVar("S")

SWEEP_INTERVAL_S: Final = 15.0
RESET_AFTER_S: Final = 0.2
"""How soon the other end hears that a process died."""
SOON_S: Final = 0.01
"""What a link that is whole takes is less."""
_STEP_BYTES: Final = 256 * 1024
STUCK_S: Final = 5.0
"""What waits longer on a link that was slow does not arrive."""
_HEAD_BYTES: Final = 64
"""Of each message, beside what it says."""
_APART_S: Final = 1e-7
"""Between messages whose order is kept: timers of the same moment have none."""
_UNARY: Final = Cardinality.UNARY_UNARY


@dataclass(slots=True)
class Link:
    """What happens to messages from one machine to another."""

    least_s: float = 0.0002
    most_s: float = 0.0015
    cut: bool = False
    """Nothing arrives; it waits until the link is whole, or the connection breaks."""
    loss: float = 0.0
    """Chance of each message that its connection breaks instead of carrying it."""
    silence: float = 0.0
    """Chance of each message that its connection carries nothing more in this direction."""
    repeat: float = 0.0
    """Chance of each unary request that it arrives twice."""
    bytes_per_s: float = 0.0
    """What it carries, one message after the other; 0: as much as there is."""
    free_s: float = 0.0
    """When it has carried what it was given so far, where that takes time."""

    @property
    def is_whole(self) -> bool:
        """Whether what goes over it arrives, and soon."""
        bad = self.cut or self.loss or self.silence or self.repeat or self.bytes_per_s
        return not bad and self.most_s < SOON_S

    def carried_s(self, now_s: float, size_bytes: int) -> float:
        """Return when a message that is sent now has been carried."""
        if not self.bytes_per_s:
            return now_s
        self.free_s = max(self.free_s, now_s) + size_bytes / self.bytes_per_s
        return self.free_s


class Network:
    """All machines' links, and who listens where."""

    def __init__(self, loop: asyncio.AbstractEventLoop, trace: Trace, seed: int) -> None:
        """Decide by ``seed``."""
        self.loop = loop
        self.trace = trace
        self.chance = random.Random(seed)
        self.links: dict[tuple[str, str], Link] = {}
        self.listeners: dict[tuple[str, int], SimulatedListener] = {}
        self.connections: dict[Connection, None] = {}
        self.hook: Callable[[Process, str, Any], Any] | None = None
        """May replace a message that a process sends: how a liar lies."""
        self._numbers = itertools.count(1)
        self.where: Callable[[str, str], str] = lambda *_: ""
        """What the kinds of faults between two machines begin with."""
        self.repeatable: frozenset[str] = frozenset()
        """Methods whose requests may arrive twice."""

    def link(self, source: str, target: str) -> Link:
        """Return the link from one machine to another."""
        found = self.links.get((source, target))
        if found is None:
            found = self.links[source, target] = Link()
        return found

    def fault(self, kind: str, source: str, target: str, text: str) -> None:
        """Add a fault between two machines to the trace."""
        self.trace.fault(f"{self.where(source, target)}{kind}", text)

    def number(self) -> int:
        """Return the next number of a connection."""
        return next(self._numbers)

    def delay_s(self, link: Link) -> float:
        """Return how long the next message takes."""
        return link.least_s + (link.most_s - link.least_s) * self.chance.random()

    def heal(self, source: str, target: str) -> None:
        """Make a link whole: what waits arrives now, or its connection breaks."""
        self.link(source, target).cut = False
        for connection in list(self.connections):
            connection.healed(source, target)

    def widen(self, source: str, target: str) -> None:
        """Let a link carry as much as there is again: what would wait long on it yet has its connection break."""
        link = self.link(source, target)
        link.bytes_per_s = link.free_s = 0.0
        for connection in list(self.connections):
            for side in (0, 1):
                ends = connection.hosts[side], connection.hosts[1 - side]
                if ends == (source, target) and connection.waits_s(side) > STUCK_S:
                    connection.end(UnreachableError("The connection timed out."))

    def gone(self, process: Process, *, silently: bool) -> None:
        """End the connections of a process that died; told to the other end unless ``silently``."""
        for listener in [one for one in self.listeners.values() if one.process is process]:
            del self.listeners[listener.host, listener.port]
        for connection in list(self.connections):
            if process in (connection.client, connection.server):
                connection.lost(process, silently=silently)


class Connection:
    """One connection between two processes: open until either end or the network ends it."""

    def __init__(
        self,
        network: Network,
        client: Process,
        server: Process,
        source: str,
        target: str,
    ) -> None:
        """Be open."""
        self.network = network
        self.client = client
        self.server = server
        self.hosts = (source, target)
        self.number = network.number()
        self.open = True
        self.context = (client.context(), server.context())
        self._held: tuple[list[tuple[Callable[..., None], tuple[Any, ...]]], ...] = ([], [])
        self._mute = [False, False]
        self._last_s = [0.0, 0.0]
        self._late_s = [0.0, 0.0]
        """When what went over a slow link arrives at the latest."""
        self.on_end: list[list[Callable[[CollectiveError], None]]] = [[], []]
        """Called when the connection has ended, by side: 0 the client's, 1 the server's."""
        network.connections[self] = None

    def send(self, side: int, act: Callable[..., None], *args: Any, ordered: bool = False) -> None:
        """Have ``act`` called at the other end of ``side`` when the message arrives, if it does.

        Raises:
            Killed: the sender is dead.
        """
        sender = self.server if side else self.client
        sender.effect()
        if not self.open:
            return
        network = self.network
        hosts = self.hosts[side], self.hosts[1 - side]
        link = network.link(*hosts)
        if link.loss and network.chance.random() < link.loss:
            network.fault("message lost", *hosts, f"{hosts[0]}>{hosts[1]}")
            self.end(UnreachableError("The connection broke; try again."))
            return
        if link.silence and network.chance.random() < link.silence:
            network.fault("connection silent", *hosts, f"{hosts[0]}>{hosts[1]}")
            self._mute[side] = True
            network.loop.call_later(
                network.chance.uniform(5, 60),
                self.end,
                UnreachableError("The connection timed out."),
            )
        if self._mute[side]:
            return
        if link.cut or self._held[side]:
            self._held[side].append((act, args))
            return
        self._deliver(side, link, act, args, ordered=ordered)

    def _deliver(
        self,
        side: int,
        link: Link,
        act: Callable[..., None],
        args: tuple[Any, ...],
        *,
        ordered: bool,
    ) -> None:
        network, now_s = self.network, self.network.loop.time()
        if link.bytes_per_s:
            now_s = link.carried_s(now_s, _size_of(args))
        at_s = now_s + network.delay_s(link)
        if link.bytes_per_s:
            self._late_s[side] = max(self._late_s[side], at_s)
        if ordered:
            at_s = self._last_s[side] = max(at_s, self._last_s[side] + _APART_S)
        network.loop.call_at(at_s, self._arrive, act, args, context=self.context[1 - side])

    def waits_s(self, side: int) -> float:
        """Return how long what ``side`` sent over a slow link is still under way."""
        return self._late_s[side] - self.network.loop.time()

    def _arrive(self, act: Callable[..., None], args: tuple[Any, ...]) -> None:
        if self.open:
            act(*args)

    def healed(self, source: str, target: str) -> None:
        """The link from ``source`` to ``target`` is whole again."""
        for side in (0, 1):
            if (self.hosts[side], self.hosts[1 - side]) != (source, target):
                continue
            held, self._held[side][:] = list(self._held[side]), []
            if not held:
                continue
            if self.network.chance.random() < 0.5:
                self.end(UnreachableError("The connection timed out."))
                continue
            link = self.network.link(source, target)
            for act, args in held:
                self._deliver(side, link, act, args, ordered=True)

    def end(self, error: CollectiveError, *, told: tuple[bool, bool] = (True, True)) -> None:
        """End the connection; each living end that is ``told`` hears ``error`` in a moment."""
        if not self.open:
            return
        self.open = False
        self.network.connections.pop(self, None)
        for side in (0, 1):
            if told[side]:
                for act in self.on_end[side]:
                    self.network.loop.call_soon(act, error, context=self.context[side])

    def farewell(self, error: CollectiveError) -> None:
        """The server ends the connection; the client hears why, but not over a link that is cut.

        Then it hears in a long while that nothing comes any more.
        """
        client, server = self.hosts
        reached = not self.network.link(server, client).cut and not self._mute[1]
        is_open = self.open
        self.end(error, told=(reached, True))
        if is_open and not reached:
            delay_s = self.network.chance.uniform(20, 90)
            silence = UnreachableError("The connection timed out.")
            for act in self.on_end[0]:
                self.network.loop.call_later(delay_s, act, silence, context=self.context[0])

    def lost(self, dead: Process, *, silently: bool) -> None:
        """One end has died: the other hears of it soon, or only after a long silence."""
        side = 0 if dead is self.client else 1
        self._mute[0] = self._mute[1] = True
        delay_s = self.network.chance.uniform(20, 90) if silently else RESET_AFTER_S
        told = (side != 0, side != 1)
        error = UnreachableError("The connection broke; try again.")
        self.network.loop.call_later(delay_s, lambda: self.end(error, told=told))


def _size_of(args: Sequence[Any]) -> int:
    """Return the bytes of a message, whatever it is."""
    told = (bytes(one) for one in args if isinstance(one, betterproto2.Message | bytes))
    return _HEAD_BYTES + sum(map(len, told))


# --- handshakes ------------------------------------------------------------------------------------


class SimulatedConfig:
    """What one end shows."""

    def __init__(self, credentials: Credentials | None) -> None:
        """Show the certificate of ``credentials``."""
        self._credentials = credentials
        self.leaf = b""
        self.generation = -1
        self._keepers: list[Keeper] = []
        self.refresh(credentials, None)

    @property
    def credentials(self) -> Credentials | None:
        """The certificate shown."""
        return self._credentials

    def refresh(self, credentials: Credentials | None, trust: TrustStore | None) -> None:
        """Show another from the next handshake on."""
        del trust
        if credentials is not None:
            self._credentials = credentials
            self.generation += 1
            self.leaf = credentials.certificate.public_bytes(Encoding.DER)
            for keeper in self._keepers:
                keeper.retire()

    def attach(self, keeper: Keeper) -> None:
        """Have ``keeper`` retire what it keeps at each renewal."""
        self._keepers.append(keeper)


async def _connect(
    links: SimulatedLinks,
    addresses: Sequence[Address],
    leaf: bytes,
    gate: Gate,
    expect: Expectation,
    timeout_s: float,
    *,
    is_stream: bool,
) -> tuple[Connection, SimulatedListener, Certified, Certified | None]:
    """Connect to the first address that answers as expected."""
    failure: CollectiveError = UnreachableError("No address to connect to is known.")
    for address in addresses:
        try:
            async with asyncio.timeout(timeout_s):
                return await _connect_to(links, address, leaf, gate, expect, is_stream=is_stream)
        except TimeoutError:
            error: CollectiveError = UnreachableError(
                f"No answer from {address} within {timeout_s:g} s; check that it runs."
            )
            failure = failure if isinstance(failure, RejectedError) else error
        except UnreachableError as caught:
            failure = failure if isinstance(failure, RejectedError) else caught
        except RejectedError as caught:
            failure = caught
    raise failure


async def _connect_to(
    links: SimulatedLinks,
    address: Address,
    leaf: bytes,
    gate: Gate,
    expect: Expectation,
    *,
    is_stream: bool,
) -> tuple[Connection, SimulatedListener, Certified, Certified | None]:
    network, process = links.network, links.process
    there, back = network.link(links.host, address.host), network.link(address.host, links.host)
    process.effect()
    await asyncio.sleep(network.delay_s(there))
    if there.cut or back.cut:
        await asyncio.Event().wait()  # the handshake's deadline ends it
    listener = network.listeners.get((address.host, address.port))
    if listener is None:
        raise UnreachableError(f"No connection to {address}: refused; check that it runs there.")
    peer = gate.verify(listener.config.leaf, expected_roles(expect), "server")
    check_expected(peer, expect)
    try:
        caller = listener.admit(leaf, links.host, is_stream=is_stream)
    except CollectiveError as error:
        await asyncio.sleep(network.delay_s(back))
        if isinstance(error, RevokedCertificateError) and not is_stream:
            said = heard(REVOKED_WORDS, str(peer.identity.trust_domain))
            assert said is not None
            raise said from error
        raise UnreachableError("The connection broke; try again.") from error
    await asyncio.sleep(network.delay_s(back))
    if not listener.process.alive or not listener.is_open:
        raise UnreachableError("The connection broke; try again.")
    connection = Connection(network, process, listener.process, links.host, address.host)
    network.trace.detail(
        f"{process.name} connects to {listener.process.name}:{listener.port} as {connection.number}"
    )
    return connection, listener, peer, caller


# --- calls -----------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Deadline:
    """Until when a caller waits."""

    loop: asyncio.AbstractEventLoop
    at_s: float

    def time_remaining(self) -> float:
        """Return the seconds left."""
        return max(0.0, self.at_s - self.loop.time())


class SimulatedChannel:
    """Calls to one identity."""

    def __init__(
        self,
        links: SimulatedLinks,
        addresses: Sequence[Address],
        credentials: Credentials | None,
        gate: Gate,
        expect: Expectation,
        connect_timeout_s: float,
    ) -> None:
        """Connect at the first call."""
        if not addresses:
            raise NotJoinedError("No address to talk to is known; give --coordinator HOST:PORT.")
        self.links = links
        self._addresses = tuple(addresses)
        self._config = SimulatedConfig(credentials)
        self._gate = gate
        self._expect = expect
        self._timeout_s = connect_timeout_s
        self._connection: Connection | None = None
        self.listener: SimulatedListener | None = None
        self.caller: Certified | None = None
        """Who we are, as the other end verified it."""
        self._connecting = asyncio.Lock()
        self._closed = False
        self.peer: Certified | None = None
        self.farewell: CollectiveError | None = None
        self.newest_authority = b""
        self.server_time_ms = 0
        self.calls: dict[_Call, None] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def __str__(self) -> str:
        return str(self.address)

    @property
    def address(self) -> Address:
        """Where it is tried first."""
        return self._addresses[0]

    @property
    def is_connected(self) -> bool:
        """Whether a connection stands."""
        return self._connection is not None and self._connection.open

    def stub(self, stub_class: Callable[[Any], S]) -> S:
        """Return a stub over this channel."""
        return stub_class(self)

    async def connect(self) -> Certified:
        """Connect now if not connected."""
        await self.connected()
        assert self.peer is not None
        return self.peer

    @property
    def standing(self) -> Connection | None:
        """The connection that stands now, if one does."""
        connection = self._connection
        return connection if connection is not None and connection.open else None

    async def connected(self) -> Connection:
        """Return a connection that stands."""
        if self._connection is not None and self._connection.open:
            return self._connection
        async with self._connecting:
            if self._closed:
                raise UnreachableError("The channel has been closed.")
            if self._connection is not None and self._connection.open:
                return self._connection
            connection, self.listener, self.peer, self.caller = await _connect(
                self.links,
                self._addresses,
                self._config.leaf,
                self._gate,
                self._expect,
                self._timeout_s,
                is_stream=False,
            )
            self.farewell = None
            connection.on_end[0].append(lambda error: self._ended(connection, error))
            self.listener.connected(connection, self.caller)
            self._connection = connection
            return connection

    def _ended(self, connection: Connection, error: CollectiveError) -> None:
        if type(error).__name__ == "ShutOutError":
            self.farewell = error
        for call in [one for one in self.calls if one.connection is connection]:
            call.failed(error)

    def request(
        self,
        name: str,
        cardinality: Cardinality,
        request_type: type[Any],
        reply_type: type[Any],
        *,
        timeout: float | None = None,
        deadline: Any = None,
        metadata: Any = None,
    ) -> _Call:
        """Begin a call (stubs do)."""
        del request_type, reply_type, deadline
        if timeout is None and cardinality is _UNARY:
            timeout = UNARY_TIMEOUT_S
        sent: dict[str, str | bytes] = dict(metadata or ())
        if REQUEST_ID_KEY not in sent:
            sent[REQUEST_ID_KEY] = current_request_id() or new_request_id(
                self.links.world.randomness
            )
        return _Call(self, name, cardinality, timeout, sent)

    def close(self) -> None:
        """Close the connection."""
        self._closed = True
        if self._connection is not None and self.links.process.alive:
            self._connection.end(UnreachableError("The connection was closed."))

    async def aclose(self) -> None:
        """Close the connection, and let its end be heard."""
        self.close()
        await asyncio.sleep(0)


class _Call:
    """The client's side of one call, as grpclib's ``Stream`` is used by stubs."""

    def __init__(
        self,
        channel: SimulatedChannel,
        name: str,
        cardinality: Cardinality,
        timeout_s: float | None,
        metadata: dict[str, str | bytes],
    ) -> None:
        self._channel = channel
        self.name = name
        self._is_unary = cardinality in {_UNARY, Cardinality.UNARY_STREAM}
        self.is_answered_once = cardinality in {_UNARY, Cardinality.STREAM_UNARY}
        self._timer: asyncio.TimerHandle | None = None
        self._deadline_s = None if timeout_s is None else channel.links.loop.time() + timeout_s
        self._metadata = metadata
        self.connection: Connection | None = None
        self._served: _Served | None = None
        self._answers: deque[Any] = deque()
        self._error: CollectiveError | None = None
        self._ended = False
        self._waiting: asyncio.Future[None] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._channel.calls.pop(self, None)
        if self._timer is not None:
            self._timer.cancel()
        connection, served = self.connection, self._served
        if not self._ended and connection is not None and served is not None:
            self._ended = True
            if connection.open and self._channel.links.process.alive:
                connection.send(0, served.cancel)
        self._served = None  # the two hold each other

    async def send_request(self) -> None:
        """Begin the call without a message."""
        await self._begin(None)

    async def send_message(self, message: Any, *, end: bool = False) -> None:
        """Send a message."""
        hook = self._channel.links.network.hook
        if hook is not None:
            message = hook(self._channel.links.process, self.name, message)
        if self._served is None:
            await self._begin(message if end else None)
            if end:
                return
        assert self.connection is not None
        if self._error is not None:
            raise self._error
        assert self._served is not None
        self.connection.send(0, self._served.receive, message, ordered=True)

    async def end(self) -> None:
        """Say that no message follows."""
        assert self.connection is not None
        assert self._served is not None
        self.connection.send(0, self._served.receive_end, ordered=True)

    async def _begin(self, message: Any) -> None:
        channel = self._channel
        connection = channel.standing
        if connection is None:
            try:
                async with asyncio.timeout_at(self._deadline_s):
                    connection = await channel.connected()
            except TimeoutError as error:
                raise from_grpc(error, peer=str(channel)) from error
        self.connection = connection
        channel.calls[self] = None
        if self._deadline_s is not None:
            self._timer = channel.links.loop.call_at(self._deadline_s, self._expired)
        listener = channel.listener
        assert listener is not None
        deadline = (
            None if self._deadline_s is None else _Deadline(channel.links.loop, self._deadline_s)
        )
        served = self._served = _Served(
            listener, connection, self.name, self, deadline, self._metadata
        )
        connection.send(0, served.begin, channel.caller, message, ordered=not self._is_unary)
        network = channel.links.network
        link = network.link(*connection.hosts)
        if (
            link.repeat
            and message is not None
            and self.name in network.repeatable
            and network.chance.random() < link.repeat
        ):
            network.fault("request repeated", *connection.hosts, self.name)
            again = _Served(listener, connection, self.name, None, deadline, self._metadata)
            connection.send(0, again.begin, channel.caller, message)

    async def recv_message(self) -> Any:
        """Return the next answer, None at the end; raise what ended the call."""
        while not self._answers:
            if self._error is not None:
                raise self._error
            if self._ended:
                return None
            self._waiting = self._channel.links.loop.create_future()
            await self._waiting
        return self._answers.popleft()

    def _expired(self) -> None:
        """The deadline has come: the server is told, and the caller hears of it."""
        if not self._ended:
            error = from_grpc(TimeoutError(), peer=str(self._channel))
            connection, served = self.connection, self._served
            if connection is not None and served is not None and connection.open:
                connection.send(0, served.cancel)
            self.failed(error)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        message = await self.recv_message()
        if message is None:
            raise StopAsyncIteration
        return message

    # --- what arrives ----

    def answered(self, message: Any, newest: bytes) -> None:
        """An answer has arrived."""
        if newest:
            self._channel.newest_authority = newest
        if not self._ended:
            self._answers.append(message)
            self._wake()

    def over(
        self,
        detail: ErrorDetail | None,
        status: GRPCError | None,
        answer: Any = None,
        newest: bytes = b"",
    ) -> None:
        """The call has ended at the server, with its only ``answer`` if it has one."""
        if self._ended:
            return
        if answer is not None:
            self.answered(answer, newest)
        self._ended = True
        if detail is not None:
            self._error = from_detail(detail)
        elif status is not None:
            self._error = from_grpc(status, peer=str(self._channel))
        self._wake()

    def failed(self, error: CollectiveError) -> None:
        """The connection has ended."""
        if not self._ended:
            self._ended = True
            self._error = error
            self._wake()

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)


class _Served:
    """The server's side of one call: stream of messages, and the way back."""

    def __init__(
        self,
        listener: SimulatedListener,
        connection: Connection,
        name: str,
        call: _Call | None,
        deadline: _Deadline | None,
        metadata: dict[str, str | bytes],
    ) -> None:
        self._listener = listener
        self._connection = connection
        self._name = name
        self._call = call
        """The client's side; None for a repeated request, whose answer nobody hears."""
        self._deadline = deadline
        self._metadata = metadata
        self._messages: deque[Any] = deque()
        self._closed = False
        self._waiting: asyncio.Future[None] | None = None
        self._task: asyncio.Task[None] | None = None
        self._is_over = False
        self._answer: Any = None
        """The only answer, which travels with the end of the call."""

    # --- what arrives ----

    def begin(self, caller: Certified | None, message: Any) -> None:
        """The call has arrived."""
        listener, name = self._listener, self._name
        if not listener.is_open:
            self._end(to_detail(UnreachableError("The server is shutting down.")), None)
            return
        if message is not None:
            self._messages.append(message)
            self._closed = True
        listener.process.trace.detail(
            f"{self._connection.client.name}>{listener.process.name} {name}"
        )
        handler = listener.mapping.get(name)
        if handler is None:
            self._end(to_detail(RejectedError("The server does not serve this.")), None)
            return
        context = listener.edge.call(
            caller, name, dict(self._metadata), self._deadline, self._connection.hosts[0]
        )
        self._task = listener.loop.create_task(self._run(handler.func, context))
        listener.tasks[self._task] = None
        self._task.add_done_callback(lambda task: listener.tasks.pop(task, None))
        if self._deadline is not None:
            timer = listener.loop.call_at(self._deadline.at_s, self._task.cancel)
            self._task.add_done_callback(lambda _: timer.cancel())

    async def _run(self, func: Callable[[Any], Any], context: Any) -> None:
        try:
            await self._listener.edge.serve(context, lambda: func(self), self)
        except GRPCError as error:
            self._end(None, error)
        else:
            self._end(None, None)

    def receive(self, message: Any) -> None:
        """A further message has arrived."""
        self._messages.append(message)
        self._wake()

    def receive_end(self) -> None:
        """No further message will."""
        self._closed = True
        self._wake()

    def cancel(self) -> None:
        """The caller has given up."""
        self._is_over = True
        if self._task is not None:
            self._task.cancel()

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    # --- the stream, as generated services use it ----

    async def recv_message(self) -> Any:
        """Return the next message, None at the end."""
        while not self._messages:
            if self._closed:
                return None
            self._waiting = self._listener.loop.create_future()
            await self._waiting
        return self._messages.popleft()

    def __aiter__(self) -> AsyncIterator[Any]:
        return self._all()

    async def _all(self) -> AsyncIterator[Any]:
        while (message := await self.recv_message()) is not None:
            yield message

    async def send_message(self, message: Any) -> None:
        """Send an answer."""
        listener = self._listener
        hook = listener.links.network.hook
        if hook is not None:
            message = hook(listener.process, self._name, message)
        if self._call is None or self._is_over:
            listener.process.check()
        elif self._call.is_answered_once:
            self._answer = message
        else:
            self._connection.send(1, self._call.answered, message, self._newest(), ordered=True)

    def _newest(self) -> bytes:
        newest = self._listener.newest_authority
        return newest() if newest else b""

    # --- CallEnd ----

    async def fail(self, error: CollectiveError, request_id: str) -> None:
        """End the call by ``error``."""
        self._end(to_detail(error, request_id), None)

    def has_left(self) -> bool:
        """Whether the caller's connection is gone."""
        return not self._connection.open

    def _end(self, detail: ErrorDetail | None, status: GRPCError | None) -> None:
        if self._is_over:
            return
        self._is_over = True
        if self._call is not None and self._connection.open:
            answer = self._answer
            newest = self._newest() if answer is not None else b""
            self._connection.send(
                1,
                self._call.over,
                detail,
                status,
                answer,
                newest,
                ordered=not self._call.is_answered_once,
            )


class SimulatedListener:
    """One listening address of a simulated process."""

    def __init__(
        self,
        links: SimulatedLinks,
        services: Collection[Any],
        gate: PeerGate | None,
        config: SimulatedConfig,
        *,
        chunk_factory: ChunkFactory | None,
        accept_roles: frozenset[SpiffeRole],
        service_roles: Mapping[str, frozenset[SpiffeRole]] | None,
        served: ServedCall | None,
        refusals: Refusals | None,
        newest_authority: Callable[[], bytes] | None,
    ) -> None:
        """Listen to nothing yet."""
        self.links = links
        self.loop = links.loop
        self.process = links.process
        self.config = config
        self.host, self.port = links.host, 0
        self.mapping: dict[str, Any] = {}
        for service in services:
            self.mapping.update(service.__mapping__())
        self._gate = gate
        if gate is not None:
            gate.attach(self)
        self.chunk_factory = chunk_factory
        self._accept_roles = accept_roles
        self._refusals = refusals
        self.newest_authority = newest_authority
        self.edge = ServiceEdge(
            self._objection, service_roles or {}, links.world.randomness, served, refusals
        )
        self.is_open = False
        self.tasks: dict[asyncio.Task[None], None] = {}
        self._connections: dict[Connection, Certified | None] = {}
        self._sweeper: asyncio.TimerHandle | None = None

    async def listen(self, address: Address) -> Address:
        """Listen at ``address`` of the process's own machine."""
        port = address.port or 40_000 + self.links.network.number()
        listeners = self.links.network.listeners
        if (self.host, port) in listeners:
            raise CannotListenError(f"Cannot listen on {address}: address already in use.")
        self.process.effect()
        self.port = port
        listeners[self.host, port] = self
        self.is_open = True
        self._sweeper = self.loop.call_later(SWEEP_INTERVAL_S, self._tick)
        return Address(self.host, port)

    async def shut(self, grace_s: float = 5.0) -> None:
        """Stop accepting, let calls end, close every connection."""
        if self._sweeper is not None:
            self._sweeper.cancel()
        if not self.is_open:
            return
        self.is_open = False
        if self.process.alive:
            self.links.network.listeners.pop((self.host, self.port), None)
        try:
            async with asyncio.timeout(grace_s):
                await self.edge.wait_idle()
        except TimeoutError:
            pass
        finally:
            for task in list(self.tasks):
                task.cancel()
            if self.process.alive:
                for connection in list(self._connections):
                    connection.end(UnreachableError("The connection was closed."))
        await asyncio.sleep(0)

    def admit(self, leaf: bytes, host: str, *, is_stream: bool) -> Certified | None:
        """Return who shows ``leaf``, or raise why it is not let in."""
        try:
            if self._gate is None:
                return None
            peer = self._gate.verify(leaf, self._accept_roles, "client")
            if is_stream and self.chunk_factory is None:
                raise RejectedError("No chunk stream here.")
        except CollectiveError as error:
            if self._refusals is not None:
                self.process.context().run(self._refusals.connection, host, error)
            raise
        return peer

    def connected(self, connection: Connection, caller: Certified | None) -> None:
        """Count a connection that passed the gate."""
        self._connections[connection] = caller
        connection.on_end[1].append(lambda _: self._forget(connection))

    def _forget(self, connection: Connection) -> None:
        self._connections.pop(connection, None)

    @property
    def connections(self) -> tuple[Connection, ...]:
        """Connections that stand."""
        return tuple(one for one in self._connections if one.open)

    def sweep(self) -> int:
        """End connections of peers that count no longer."""
        ended = 0
        for connection, peer in list(self._connections.items()):
            reason = self._objection(peer) if peer is not None else None
            if reason is None or peer is None or not connection.open:
                continue
            error: CollectiveError = UnreachableError("The connection broke; try again.")
            if reason == REVOKED:
                said = heard(REVOKED_WORDS, str(peer.identity.trust_domain))
                assert said is not None
                error = said
            connection.farewell(error)
            ended += 1
        return ended

    def _tick(self) -> None:
        self.sweep()
        self._sweeper = self.loop.call_later(SWEEP_INTERVAL_S, self._tick)

    def _objection(self, peer: Certified) -> str | None:
        return self._gate.objection(peer) if self._gate is not None else None


# --- the chunk stream ------------------------------------------------------------------------------


class StreamTransport(asyncio.Transport):
    """One end of a chunk-stream connection: bytes arrive in order, and only as fast as they are taken."""

    def __init__(self, connection: Connection, side: int, protocol: asyncio.BaseProtocol) -> None:
        """Belong to the ``side`` of ``connection`` (0: the client's)."""
        super().__init__({"peername": (connection.hosts[1 - side], 0)})
        assert isinstance(protocol, asyncio.BufferedProtocol)
        self._connection = connection
        self._side = side
        self._protocol = protocol
        self.other: StreamTransport
        self._loop = connection.network.loop
        self._process = connection.server if side else connection.client
        self._outgoing: list[bytes] = []
        self._unread: deque[memoryview] = deque()
        self._unsent = 0
        """Bytes written here that the other end's protocol has not taken."""
        self._reading = True
        self._high = 64 * 1024
        self._paused = False
        self._closing = False
        self._lost = False
        connection.on_end[side].append(lambda _: self._lose())

    def writelines(self, list_of_data: Iterable[Any]) -> None:
        """Write several pieces."""
        for data in list_of_data:
            self.write(data)

    def write(self, data: Any) -> None:
        """Send ``data``; what is written in one step of the loop arrives together."""
        self._process.check()
        if self._closing or not len(data):
            return
        if not self._outgoing:
            self._loop.call_soon(self._flush)
        self._outgoing.append(bytes(data))
        self._unsent += len(data)
        if self._unsent > self._high and not self._paused:
            self._paused = True
            self._protocol.pause_writing()

    def _flush(self) -> None:
        if self._outgoing and not self._lost:
            data = b"".join(self._outgoing)
            self._outgoing.clear()
            self._connection.send(self._side, self.other.arrived, data, ordered=True)

    def get_write_buffer_size(self) -> int:
        """Return the bytes that the other end has not taken."""
        return self._unsent

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Pause the protocol above ``high`` bytes."""
        del low
        self._high = high if high is not None else 64 * 1024

    def pause_reading(self) -> None:
        """Take nothing more."""
        self._reading = False

    def resume_reading(self) -> None:
        """Go on."""
        self._reading = True
        if self._unread:
            self._loop.call_soon(self._feed)

    def is_closing(self) -> bool:
        """Whether it was closed."""
        return self._closing

    def close(self) -> None:
        """Close after what was written."""
        if not self._closing and self._process.alive:
            self._flush()
            self._closing = True
            self._connection.send(self._side, self._finish, ordered=True)

    def _finish(self) -> None:
        self._connection.end(UnreachableError("The peer closed the connection."))

    def abort(self) -> None:
        """End at once."""
        if self._process.alive:
            self._closing = True
            self._connection.end(UnreachableError("The connection broke; try again."))

    def arrived(self, data: bytes) -> None:
        """Bytes have arrived from the other end."""
        self._unread.append(memoryview(data))
        self._feed()

    def _feed(self) -> None:
        taken = 0
        while self._unread and self._reading and not self._lost:
            data = self._unread[0]
            view = memoryview(self._protocol.get_buffer(-1))
            count = min(len(view), len(data), _STEP_BYTES)
            assert count > 0
            view[:count] = data[:count]
            if count == len(data):
                self._unread.popleft()
            else:
                self._unread[0] = data[count:]
            taken += count
            self._protocol.buffer_updated(count)
        if taken:
            self.other.taken(taken)

    def taken(self, count: int) -> None:
        """The other end has taken bytes."""
        self._unsent -= count
        if self._paused and self._unsent <= self._high // 4:
            self._paused = False
            self._loop.call_soon(self._resume, context=self._connection.context[self._side])

    def _resume(self) -> None:
        if not self._paused and not self._lost:
            self._protocol.resume_writing()

    def _lose(self) -> None:
        if not self._lost:
            self._lost = True
            self._closing = True
            self._protocol.connection_lost(None)


class SimulatedDialer:
    """Opens chunk-stream connections."""

    def __init__(self, links: SimulatedLinks, config: Any, gate: Gate, timeout_s: float) -> None:
        """See :class:`collective.rpc.links.Links`."""
        self._links = links
        self._config = config
        self._gate = gate
        self._timeout_s = timeout_s

    @property
    def generation(self) -> int:
        """Rises when another certificate is in use."""
        generation: int = self._config.generation
        return generation

    def attach(self, keeper: Keeper) -> None:
        """Have ``keeper`` retire what it dialled when the certificate is renewed."""
        self._config.attach(keeper)

    async def dial(
        self, peer: SpiffeId, addresses: Sequence[Address], factory: ProtocolFactory
    ) -> None:
        """Connect a protocol made by ``factory``."""
        connection, listener, _, caller = await _connect(
            self._links,
            addresses,
            self._config.leaf,
            self._gate,
            peer,
            self._timeout_s,
            is_stream=True,
        )
        assert caller is not None
        assert listener.chunk_factory is not None
        ours = StreamTransport(connection, 0, factory())
        try:
            made = connection.context[1].run(listener.chunk_factory, caller)
        except CollectiveError as error:
            connection.end(UnreachableError("The connection broke; try again."))
            raise UnreachableError("The connection broke; try again.") from error
        theirs = StreamTransport(connection, 1, made)
        ours.other, theirs.other = theirs, ours
        listener.connected(connection, caller)
        connection.context[1].run(_made, theirs)
        _made(ours)


def _made(transport: StreamTransport) -> None:
    transport._protocol.connection_made(transport)


# --- links -----------------------------------------------------------------------------------------


@dataclass(slots=True)
class SimulatedLinks:
    """``Links`` of one simulated process."""

    network: Network
    process: Process
    host: str
    world: World
    loop: asyncio.AbstractEventLoop = field(init=False)

    def __post_init__(self) -> None:
        """Use the network's loop."""
        self.loop = self.network.loop

    def server_config(
        self,
        credentials: Credentials,
        trust: TrustStore,
        *,
        client_certificates: bool = True,
        chunk_stream: bool = True,
    ) -> SimulatedConfig:
        """Return what a listener shows."""
        del trust, client_certificates, chunk_stream
        return SimulatedConfig(credentials)

    def client_config(self, credentials: Credentials, trust: TrustStore) -> SimulatedConfig:
        """Return what a dialer shows."""
        del trust
        return SimulatedConfig(credentials)

    def channel(
        self,
        addresses: Sequence[Address],
        *,
        credentials: Credentials | None,
        gate: Gate,
        expect: Expectation,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
        share: MemberShare | None = None,
    ) -> SimulatedChannel:
        """Return a channel; what its messages may hold is the real one's to bound."""
        del share
        return SimulatedChannel(self, addresses, credentials, gate, expect, connect_timeout_s)

    async def require_free(self, address: Address) -> None:
        """Each machine has addresses of its own, and nobody else on it listens."""

    def listener(
        self,
        services: Collection[Any],
        gate: PeerGate | None,
        config: Any,
        *,
        chunk_factory: ChunkFactory | None = None,
        accept_roles: frozenset[SpiffeRole] = ALL_ROLES,
        service_roles: Mapping[str, frozenset[SpiffeRole]] | None = None,
        served: ServedCall | None = None,
        refusals: Refusals | None = None,
        newest_authority: Callable[[], bytes] | None = None,
        bounds: Bounds | None = None,
    ) -> SimulatedListener:
        """Return a listener; how many may be connected is the real listener's to bound."""
        del bounds
        return SimulatedListener(
            self,
            services,
            gate,
            config,
            chunk_factory=chunk_factory,
            accept_roles=accept_roles,
            service_roles=service_roles,
            served=served,
            refusals=refusals,
            newest_authority=newest_authority,
        )

    def dialer(
        self, config: Any, gate: Gate, *, timeout_s: float = DIAL_TIMEOUT_S
    ) -> SimulatedDialer:
        """Return a dialer."""
        return SimulatedDialer(self, config, gate, timeout_s)
