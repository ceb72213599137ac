# ruff: noqa: SIM117 - a server inside, its clients indented below it
"""The real listener over loopback TLS: who gets in, who does not, and what ends a connection."""

from __future__ import annotations

import asyncio
import socket
import ssl
from typing import Any, cast

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from grpclib.client import UnaryStreamMethod
from grpclib.const import Cardinality, Handler
from grpclib.metadata import Deadline
from h2.connection import H2Connection

from collective.core.errors import (
    BusyError,
    CollectiveError,
    InternalError,
    NotFoundError,
    OtherAuthorityError,
    PermissionDeniedError,
    RejectedError,
    ShutOutError,
    UnreachableError,
    UsageError,
)
from collective.core.ids import Domain, NodeId, SpiffeId
from collective.core.units import Address
from collective.pki.certificates import Certified
from collective.pki.revocation import RevocationSet
from collective.pki.trust import TrustStore
from collective.rpc.client.channel import RpcChannel
from collective.rpc.client.connect import open_stream
from collective.rpc.gen.collective.v1.status import GetStatusRequest, MemberStatusStub, Status
from collective.rpc.gen.collective.v1.trust import ListAuditRequest, TrustStub
from collective.rpc.http2.goaway import REVOKED
from collective.rpc.server import context
from collective.rpc.server.connection_limits import Bounds
from collective.rpc.server.listener import TlsListener
from collective.rpc.tls.contexts import ALPN_CHUNK, client_context, server_context
from collective.rpc.tls.gate import PeerGate
from tests.integration.rpc.conftest import COORDINATOR, NODE, USER, Pki, Serve
from tests.worlds import LINKS, REAL


def channel_to(
    address: Address,
    pki: Pki,
    me: SpiffeId = USER,
    expect: SpiffeId = COORDINATOR,
    gate: PeerGate | None = None,
) -> RpcChannel:
    own = gate or pki.gate()
    return LINKS.channel([address], credentials=pki.credentials(me), gate=own, expect=expect)


def bare_connection(address: Address, tls: ssl.SSLContext) -> tuple[bytes, str | None]:
    """Return what a blocking client reads after the handshake, and the ALPN chosen."""
    with socket.create_connection((address.host, address.port), timeout=5) as raw:
        with tls.wrap_socket(raw) as secured:
            return secured.recv(100), secured.selected_alpn_protocol()


async def refused(address: Address, tls: ssl.SSLContext) -> bool:
    """Whether the server ends the connection without a byte of its own."""
    try:
        received, _ = await asyncio.to_thread(bare_connection, address, tls)
    except (ssl.SSLError, ConnectionError):
        return True
    return received == b""


class Greedy(asyncio.Protocol):
    """Sends a whole request at once, keeps what it is told, and does not leave."""

    def __init__(self) -> None:
        self.got = b""
        self.lost = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        connection = H2Connection()
        connection.initiate_connection()
        path = (":path", "/collective.v1.status.MemberStatus/GetStatus")
        headers = [(":method", "POST"), (":scheme", "https"), path, (":authority", "x")]
        grpc = [("te", "trailers"), ("content-type", "application/grpc")]
        connection.send_headers(1, [*headers, *grpc])
        connection.send_data(1, bytes(5), end_stream=True)
        cast("asyncio.WriteTransport", transport).write(connection.data_to_send())

    def data_received(self, data: bytes) -> None:
        self.got += data

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self.lost.set()


async def test_a_call_reaches_the_service_with_the_callers_identity(pki: Pki, serve: Serve) -> None:
    seen: list[context.CallContext] = []
    async with serve() as served:

        async def answer() -> Status:
            seen.append(context.current())
            return Status(member_id="alice")

        served.overview.answer = answer
        async with channel_to(served.address, pki) as channel:
            status = await channel.stub(MemberStatusStub).get_status(
                metadata={"x-request-id": "abc-1"}
            )
    assert status.member_id == "alice"
    assert seen[0].peer.identity == USER
    assert seen[0].request_id == "abc-1"
    assert seen[0].method == "/collective.v1.status.MemberStatus/GetStatus"


async def test_good_certificate_is_not_refused_by_the_bare_client(pki: Pki, serve: Serve) -> None:
    # the control of every refusal below: the same client, a good certificate
    async with serve() as served:
        tls = client_context(pki.credentials(USER), pki.trust)
        assert not await refused(served.address, tls)


async def test_no_certificate_refused(pki: Pki, serve: Serve) -> None:
    async with serve() as served:
        assert await refused(served.address, client_context(None, pki.trust))


async def test_certificate_of_another_ca_refused(pki: Pki, stranger: Pki, serve: Serve) -> None:
    async with serve() as served:
        tls = client_context(stranger.credentials(USER), pki.trust)
        assert await refused(served.address, tls)


async def test_other_ca_in_the_pool_may_not_claim_our_domain(
    pki: Pki, stranger: Pki, serve: Serve
) -> None:
    # OpenSSL lets it pass, since its pool holds both; the gate does not
    async with serve() as served:
        mixed = TrustStore({Domain("home.alice"): [pki.ca.certificate]})
        served.listener._tls().load_verify_locations(
            cadata=stranger.ca.certificate.public_bytes(Encoding.PEM).decode("ascii")
        )
        assert mixed.domains() == pki.trust.domains()
        tls = client_context(stranger.credentials(USER), pki.trust)
        assert await refused(served.address, tls)


async def test_role_not_accepted_refused(pki: Pki, serve: Serve) -> None:
    async with serve(accept_roles=frozenset({"coordinator"})) as served:
        assert await refused(served.address, client_context(pki.credentials(NODE), pki.trust))
        good = client_context(pki.credentials(COORDINATOR), pki.trust)
        assert not await refused(served.address, good)


async def test_node_certificate_used_as_user_refused_by_service_roles(
    pki: Pki, serve: Serve
) -> None:
    roles = {"collective.v1.status.MemberStatus": frozenset({"user"})}
    async with serve(service_roles=roles) as served:
        async with channel_to(served.address, pki, me=NODE) as channel:
            with pytest.raises(PermissionDeniedError, match="node may not call"):
                await channel.stub(MemberStatusStub).get_status()
        async with channel_to(served.address, pki, me=USER) as channel:
            await channel.stub(MemberStatusStub).get_status()


async def test_a_service_that_nobody_gave_roles_is_for_nobody(pki: Pki, serve: Serve) -> None:
    roles = {"collective.v1.files.Files": frozenset({"user"})}
    async with serve(service_roles=roles) as served:
        async with channel_to(served.address, pki, me=USER) as channel:
            with pytest.raises(PermissionDeniedError, match="user may not call"):
                await channel.stub(MemberStatusStub).get_status()


async def test_user_certificate_used_as_server_refused(pki: Pki, serve: Serve) -> None:
    async with serve(credentials=pki.credentials(USER)) as served:
        async with channel_to(served.address, pki, expect=USER) as channel:
            with pytest.raises(RejectedError):
                await channel.connect()


async def test_server_of_another_identity_gets_no_request(pki: Pki, serve: Serve) -> None:
    other = SpiffeId.node(Domain("home.alice"), NodeId("alice-node-02"))
    async with serve(credentials=pki.credentials(other)) as served:
        async with channel_to(served.address, pki, expect=NODE) as channel:
            with pytest.raises(RejectedError, match="alice-node-02"):
                await channel.stub(MemberStatusStub).get_status()


async def test_server_of_another_ca_refused(pki: Pki, stranger: Pki, serve: Serve) -> None:
    async with serve(credentials=stranger.credentials(COORDINATOR)) as served:
        async with channel_to(served.address, pki) as channel:
            with pytest.raises(
                OtherAuthorityError, match="ask for a new invitation if its CA was made"
            ):
                await channel.connect()


async def test_a_channel_that_connects_anew_trusts_what_its_gate_trusts_then(
    pki: Pki, stranger: Pki, serve: Serve
) -> None:
    """A CA was replaced meanwhile: the server shows a certificate of the next one."""
    gate = pki.gate()
    async with serve(credentials=stranger.credentials(COORDINATOR)) as served:
        async with channel_to(served.address, pki, gate=gate) as channel:
            with pytest.raises(RejectedError, match="of another CA"):
                await channel.connect()
            both = (pki.ca.certificate, stranger.ca.certificate)
            gate.replace(trust=TrustStore({COORDINATOR.trust_domain: both}))
            await channel.connect()
            assert channel.peer is not None
            assert channel.peer.identity == COORDINATOR


async def test_a_node_taken_for_a_coordinator_is_named(pki: Pki, serve: Serve) -> None:
    async with serve(credentials=pki.credentials(NODE)) as served:
        async with channel_to(served.address, pki) as channel:
            with pytest.raises(RejectedError) as raised:
                await channel.connect()
    assert raised.value.message == (
        f"{served.address} is a node, not a coordinator; give the coordinator's address."
    )


async def test_tls_1_2_refused(pki: Pki, serve: Serve) -> None:
    async with serve() as served:
        tls = client_context(pki.credentials(USER), pki.trust)
        tls.minimum_version = tls.maximum_version = ssl.TLSVersion.TLSv1_2
        with pytest.raises(ssl.SSLError):
            await asyncio.to_thread(bare_connection, served.address, tls)


@pytest.mark.parametrize("alpn", [("http/1.1",), (ALPN_CHUNK,), ()])
async def test_alpn_without_service_closed(alpn: tuple[str, ...], pki: Pki, serve: Serve) -> None:
    async with serve() as served:  # no chunk factory here
        assert await refused(served.address, client_context(pki.credentials(USER), pki.trust, alpn))


async def test_no_session_ticket_is_given(pki: Pki, serve: Serve) -> None:
    async with serve() as served:
        tls = client_context(pki.credentials(USER), pki.trust)

        def session_has_ticket() -> bool:
            with socket.create_connection((served.address.host, served.address.port), 5) as raw:
                with tls.wrap_socket(raw) as secured:
                    secured.recv(100)  # a ticket would come with the first bytes
                    assert secured.session is not None
                    return secured.session.has_ticket

        assert not await asyncio.to_thread(session_has_ticket)


async def test_chunk_stream_on_the_same_port(pki: Pki, serve: Serve) -> None:
    class Echo(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport: Any = transport

        def data_received(self, data: bytes) -> None:
            self.transport.write(data)

    class Client(asyncio.Protocol):
        def __init__(self) -> None:
            self.received = asyncio.get_running_loop().create_future()

        def data_received(self, data: bytes) -> None:
            self.received.set_result(data)

    peers: list[Certified] = []

    def chunk_factory(peer: Certified) -> Echo:
        peers.append(peer)
        return Echo()

    async with serve(chunk_factory=chunk_factory) as served:
        tls = client_context(pki.credentials(NODE), pki.trust, (ALPN_CHUNK,))
        transport, protocol = await open_stream(
            served.address, tls, lambda _: Client(), gate=pki.gate(), expect=COORDINATOR
        )
        transport.write(b"over the chunk stream")
        async with asyncio.timeout(60):
            assert await protocol.received == b"over the chunk stream"
        assert peers[0].identity == NODE
        assert [c.alpn for c in served.listener.connections] == [ALPN_CHUNK]
        transport.abort()


async def test_oversized_message_gets_a_clear_error_and_the_connection_lives(
    pki: Pki, serve: Serve
) -> None:
    async with serve() as served, channel_to(served.address, pki) as channel:
        stub = channel.stub(MemberStatusStub)
        too_big = bytes(5 * 1024 * 1024)
        with pytest.raises(UsageError, match="over the limit"):
            await channel.stub(MemberStatusStub)._unary_unary(
                "/collective.v1.status.MemberStatus/GetStatus",
                Status(member_id=too_big.decode()),
                Status,
            )
        assert (await stub.get_status()).member_id == "alice"


async def test_oversized_answer_refused_by_the_client(pki: Pki, serve: Serve) -> None:
    async with serve() as served:

        async def answer() -> Status:
            return Status(member_id="x" * (5 * 1024 * 1024))

        served.overview.answer = answer
        async with channel_to(served.address, pki) as channel:
            with pytest.raises(CollectiveError, match="over the limit"):
                await channel.stub(MemberStatusStub).get_status()


async def test_errors_arrive_as_the_class_they_were_raised_as(pki: Pki, serve: Serve) -> None:
    async with serve() as served:

        async def answer() -> Status:
            raise NotFoundError("Path /photos/ä does not exist.")

        served.overview.answer = answer
        async with channel_to(served.address, pki) as channel:
            with pytest.raises(NotFoundError, match="/photos/ä does not exist"):
                await channel.stub(MemberStatusStub).get_status()


async def test_an_error_is_the_same_when_the_connection_ended_before_it_was_looked_at(
    pki: Pki, serve: Serve
) -> None:
    async with serve() as served, channel_to(served.address, pki) as channel:

        async def answer() -> Status:
            raise ShutOutError

        async def look_late() -> None:
            async with channel.request(
                "/collective.v1.status.MemberStatus/GetStatus",
                Cardinality.UNARY_UNARY,
                GetStatusRequest,
                Status,
                deadline=Deadline.from_timeout(60),
            ) as stream:
                await stream.send_message(GetStatusRequest(), end=True)
                received = stream._stream
                while received.headers is None and received.trailers is None:
                    await asyncio.sleep(0)
                assert channel._protocol is not None
                channel._protocol.connection_lost(None)
                await stream.recv_message()

        served.overview.answer = answer
        with pytest.raises(ShutOutError):
            await look_late()


async def test_a_call_that_the_server_does_not_know_is_rejected(pki: Pki, serve: Serve) -> None:
    async with serve() as served:
        async with channel_to(served.address, pki) as channel:
            with pytest.raises(RejectedError):
                await channel.stub(TrustStub).list_audit(ListAuditRequest())


async def test_unexpected_exception_leaks_nothing(pki: Pki, serve: Serve) -> None:
    async with serve() as served:

        async def answer() -> Status:
            raise RuntimeError("secret detail")

        served.overview.answer = answer
        async with channel_to(served.address, pki) as channel:
            with pytest.raises(InternalError, match="request abc") as raised:
                await channel.stub(MemberStatusStub).get_status(metadata={"x-request-id": "abc"})
    assert "secret" not in raised.value.message


async def test_revoked_peers_open_connection_is_closed(pki: Pki, serve: Serve) -> None:
    async with serve() as served, channel_to(served.address, pki) as channel:
        stub = channel.stub(MemberStatusStub)
        await stub.get_status()
        assert served.gate.replace(revocations=RevocationSet.of(1, [str(USER)])) == 1
        assert served.listener.connections == ()
        for _ in range(3):
            with pytest.raises(ShutOutError, match="alice says that your certificate was"):
                await stub.get_status()  # and it cannot come back


async def test_a_call_under_way_hears_that_its_caller_was_revoked(pki: Pki, serve: Serve) -> None:
    async with serve() as served, channel_to(served.address, pki) as channel:
        entered, ended = asyncio.Event(), asyncio.Event()

        async def answer() -> Status:
            entered.set()
            try:
                await asyncio.sleep(60)
            finally:
                ended.set()
            return Status()

        served.overview.answer = answer
        call = asyncio.create_task(channel.stub(MemberStatusStub).get_status())
        await entered.wait()
        assert served.gate.replace(revocations=RevocationSet.of(1, [str(USER)])) == 1
        async with asyncio.timeout(30):
            with pytest.raises(ShutOutError, match="ask its operator for a new invitation"):
                await call
            await ended.wait()


async def test_nothing_of_the_revoked_is_acted_on_while_he_is_told(pki: Pki, serve: Serve) -> None:
    gate = pki.gate(RevocationSet.of(1, [str(USER)]))
    served_calls: list[str] = []
    async with serve(gate=gate, served=lambda *call: served_calls.append(call[0])) as served:
        _, greedy = await open_stream(
            served.address,
            client_context(pki.credentials(USER), pki.trust, ("h2",)),
            lambda _: Greedy(),
            gate=pki.gate(),
            expect=COORDINATOR,
            alpn="h2",
        )
        async with asyncio.timeout(60):
            await greedy.lost.wait()
        assert greedy.got.endswith(REVOKED)
        assert len(greedy.got) < 200
        assert len(served.listener._farewells) == 0
        assert served.listener.connections == ()
    assert served_calls == []


async def test_expired_peers_open_connection_is_closed(pki: Pki, serve: Serve) -> None:
    class Clock:
        offset_s = 0.0

        def wall_s(self) -> float:
            return pki.clock.wall_s() + self.offset_s

        def monotonic_s(self) -> float:
            return pki.clock.monotonic_s()

    clock = Clock()
    gate = PeerGate(pki.trust, RevocationSet(), clock)
    async with serve(gate=gate) as served, channel_to(served.address, pki) as channel:
        await channel.stub(MemberStatusStub).get_status()
        assert served.listener.sweep() == 0
        clock.offset_s = 7200.0
        assert served.listener.sweep() == 1


async def test_connections_over_the_limit_are_refused(pki: Pki, serve: Serve) -> None:
    async with (
        serve(bounds=Bounds(in_all=1, per_holder=9)) as served,
        channel_to(served.address, pki) as first,
    ):
        await first.connect()
        await first.stub(MemberStatusStub).get_status()
        tls = client_context(pki.credentials(USER), pki.trust)
        assert await refused(served.address, tls)
        await first.stub(MemberStatusStub).get_status()


async def test_one_peer_cannot_take_every_connection(pki: Pki, serve: Serve) -> None:
    async with (
        serve(bounds=Bounds(in_all=9, per_holder=1)) as served,
        channel_to(served.address, pki) as first,
        channel_to(served.address, pki, me=NODE) as other,
    ):
        await first.stub(MemberStatusStub).get_status()
        assert await refused(served.address, client_context(pki.credentials(USER), pki.trust))
        await other.stub(MemberStatusStub).get_status()
        await first.stub(MemberStatusStub).get_status()


async def test_channel_tries_the_next_address_and_connects_again(pki: Pki, serve: Serve) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        nobody = Address("127.0.0.1", closed.getsockname()[1])
    async with (
        serve() as served,
        LINKS.channel(
            [nobody, served.address],
            credentials=pki.credentials(USER),
            gate=pki.gate(),
            expect=COORDINATOR,
        ) as channel,
    ):
        stub = channel.stub(MemberStatusStub)
        await stub.get_status()
        served.listener.close_connections_of(lambda _: True)
        async with asyncio.timeout(60):
            while channel.is_connected:
                await asyncio.sleep(0.01)
        await stub.get_status()


async def test_nobody_listening_is_unreachable(pki: Pki) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        nobody = Address("127.0.0.1", closed.getsockname()[1])
    async with channel_to(nobody, pki) as channel:
        with pytest.raises(UnreachableError, match="No connection"):
            await channel.stub(MemberStatusStub).get_status()


async def test_deadline_is_unreachable_and_leaves_enclosing_timeouts_whole(
    pki: Pki, serve: Serve
) -> None:
    async with serve() as served:
        release = asyncio.Event()

        async def answer() -> Status:
            await release.wait()
            return Status()

        served.overview.answer = answer
        async with channel_to(served.address, pki) as channel:
            await channel.connect()
            with pytest.raises(UnreachableError):
                await channel.stub(MemberStatusStub).get_status(timeout=0.1)
            task = asyncio.current_task()
            assert task is not None
            assert task.cancelling() == 0
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await channel.stub(MemberStatusStub).get_status(timeout=5)


async def test_shut_lets_running_calls_end(pki: Pki, serve: Serve) -> None:
    async with serve() as served:
        entered, release = asyncio.Event(), asyncio.Event()

        async def answer() -> Status:
            entered.set()
            await release.wait()
            return Status(member_id="late")

        served.overview.answer = answer
        async with channel_to(served.address, pki) as channel, asyncio.TaskGroup() as group:
            call = group.create_task(channel.stub(MemberStatusStub).get_status())
            await entered.wait()
            shut = group.create_task(served.listener.shut(5.0))
            await asyncio.sleep(0)
            release.set()
            await shut
        assert call.result().member_id == "late"


async def test_busy_error_keeps_its_class(pki: Pki, serve: Serve) -> None:
    async with serve() as served:

        async def answer() -> Status:
            raise BusyError("Too many uploads; try again.")

        served.overview.answer = answer
        async with channel_to(served.address, pki) as channel:
            with pytest.raises(BusyError):
                await channel.stub(MemberStatusStub).get_status()


class Streaming:
    """A service whose one call sends a message, and ends when it is told to."""

    def __init__(self) -> None:
        self.may_end = asyncio.Event()

    async def call(self, stream: Any) -> None:
        await stream.recv_message()
        await stream.send_message(Status(member_id="alice"))
        await self.may_end.wait()

    def __mapping__(self) -> dict[str, Handler]:
        handler = Handler(self.call, Cardinality.UNARY_STREAM, GetStatusRequest, Status)
        return {"/t.T/Call": handler}


async def test_shut_lets_the_end_of_the_last_stream_out(pki: Pki) -> None:
    service = Streaming()
    tls = server_context(pki.credentials(COORDINATOR), pki.trust)
    listener = TlsListener([service], pki.gate(), lambda: tls, REAL)
    address = await listener.listen(Address("127.0.0.1", 0))
    channel = channel_to(address, pki)
    method: Any = UnaryStreamMethod(cast("Any", channel), "/t.T/Call", GetStatusRequest, Status)
    asked = asyncio.ensure_future(method(GetStatusRequest(), timeout=10))
    while not listener.active_calls:
        await asyncio.sleep(0)
    shut = asyncio.ensure_future(listener.shut(5.0))
    await asyncio.sleep(0)
    service.may_end.set()
    (answer,) = await asked
    assert answer.member_id == "alice"
    await shut
    await channel.aclose()
