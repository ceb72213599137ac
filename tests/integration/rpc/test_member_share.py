"""A member that opens all the connections it may, and then neither goes on nor reads."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from collective.core.errors import BusyError, CollectiveError
from collective.core.ids import Domain, SpiffeId
from collective.core.limits import MIB
from collective.core.units import Address
from collective.pki.revocation import RevocationSet
from collective.pki.trust import TrustStore
from collective.roles.coordinator.node_network import PEER_POOL_BYTES
from collective.rpc.gen.collective.v1 import Entry
from collective.rpc.gen.collective.v1.files import FilesBase, FilesStub, StatRequest
from collective.rpc.http2.member_share import (
    CALLS_MAX,
    FOREIGN_UNREAD_MAX_BYTES,
    FOREIGN_WINDOW_BYTES,
    MEMBER_MAX_BYTES,
    MESSAGES_MAX_BYTES,
    WIDE_STREAMS_MAX,
    WIDE_UNREAD_MAX_BYTES,
    MemberShare,
    MemberShares,
)
from collective.rpc.http2.protocol import BoundedH2Protocol
from collective.rpc.server.connection_limits import CERTIFIED
from collective.rpc.server.listener import TlsListener
from collective.rpc.tls.contexts import client_context, server_context
from collective.rpc.tls.gate import PeerGate
from collective.rpc.tls_links import TlsLinks
from tests.integration.rpc.conftest import ALICE, COORDINATOR, USER, Pki
from tests.worlds import REAL

BOB = Domain("garage.bob")
BOBS = SpiffeId.coordinator(BOB)
CONNECTIONS = CERTIFIED.per_member
LONG = "x" * MIB
SSL_BUFFER_BYTES = 256 * 1024
"""What a connection has to decrypt into, on either loop."""
FLOODING = 4
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
PING = b"\x00\x00\x08\x06\x00\x00\x00\x00\x00" + bytes(8)


@dataclass
class Slow(FilesBase):
    """Answers once it is told to; what is asked of ``/`` at once."""

    answers: asyncio.Event = field(default_factory=asyncio.Event)
    asked: int = 0

    async def stat(self, message: StatRequest) -> Entry:
        if message.path == "/":
            return Entry(path="/")
        self.asked += 1
        await self.answers.wait()
        return Entry(path=message.path)


@dataclass
class House:
    """Alice's listener, at which bob's coordinator may come."""

    alice: Pki
    bob: Pki
    listener: TlsListener
    address: Address
    service: Slow
    trust: TrustStore

    async def channels(self, stack: AsyncExitStack, count: int) -> list[FilesStub]:
        shown, gate = self.bob.credentials(BOBS), self.alice.gate()
        found = []
        for _ in range(count):
            channel = TlsLinks(REAL).channel(
                (self.address,), credentials=shown, gate=gate, expect=COORDINATOR
            )
            await (await stack.enter_async_context(channel)).connect()
            found.append(channel.stub(FilesStub))
        return found

    async def alices_own_is_answered(self) -> None:
        async with TlsLinks(REAL).channel(
            (self.address,),
            credentials=self.alice.credentials(USER),
            gate=self.alice.gate(),
            expect=COORDINATOR,
        ) as channel:
            assert (await channel.stub(FilesStub).stat(StatRequest(path="/"))).path == "/"

    def protocols(self) -> list[BoundedH2Protocol]:
        return [
            one.protocol
            for one in self.listener.connections
            if one.member == BOB and isinstance(one.protocol, BoundedH2Protocol)
        ]

    def share(self) -> MemberShare:
        [share] = {one.share for one in self.protocols()}
        assert share is not None
        return share


@pytest.fixture
async def house(pki: Pki, tmp_path: Path) -> AsyncIterator[House]:
    bob, service = Pki(tmp_path, BOB), Slow()
    trust = TrustStore({ALICE: (pki.ca.certificate,), BOB: (bob.ca.certificate,)})
    gate = PeerGate(
        trust, RevocationSet(), pki.clock, home=ALICE, foreign_roles=frozenset(("coordinator",))
    )
    context = server_context(pki.credentials(COORDINATOR), trust)
    listener = TlsListener([service], gate, lambda: context, REAL)
    address = await listener.listen(Address("127.0.0.1", 0))
    yield House(pki, bob, listener, address, service, trust)
    service.answers.set()
    await listener.shut(0.2)


async def outcome(stub: FilesStub) -> str:
    try:
        await stub.stat(StatRequest(path=LONG), timeout=60.0)
    except CollectiveError as error:
        return error.code
    return "ok"


async def test_messages_of_one_member_are_bounded_over_all_its_connections(house: House) -> None:
    """Each would fit; all of them together would not."""
    async with AsyncExitStack() as stack:
        stubs = await house.channels(stack, CONNECTIONS)
        calls = [asyncio.create_task(outcome(stub)) for stub in stubs]
        most = MESSAGES_MAX_BYTES // len(LONG)
        waiting = set(calls)
        while len(waiting) > most - 1:
            assert house.service.asked <= most
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            assert {one.result() for one in done} == {BusyError.code}
            assert house.share().held_bytes <= MESSAGES_MAX_BYTES
            assert house.share().calls <= CALLS_MAX
        assert len(house.protocols()) == CONNECTIONS
        await house.alices_own_is_answered()
        house.service.answers.set()
        assert {await one for one in waiting} <= {"ok", BusyError.code}
        assert (house.share().held_bytes, house.share().calls) == (0, 0)
        assert await outcome(stubs[0]) == "ok", "it may go on"


async def test_calls_of_one_member_are_bounded_however_small(house: House) -> None:
    async with AsyncExitStack() as stack:
        stubs = await house.channels(stack, 4)
        calls = [
            asyncio.create_task(stub.stat(StatRequest(path="/x"), timeout=60.0))
            for stub in stubs
            for _ in range(CALLS_MAX // 4 + 5)
        ]
        done, waiting = set(), set(calls)
        while len(waiting) > CALLS_MAX:
            found, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            done |= found
        assert [type(one.exception()) for one in done] == [BusyError] * 20
        await house.alices_own_is_answered()
        house.service.answers.set()
        assert [(await one).path for one in waiting] == ["/x"] * CALLS_MAX


async def test_what_a_member_answers_is_bounded_as_well(house: House) -> None:
    share = MemberShare(ALICE)
    most = MESSAGES_MAX_BYTES // len(LONG)
    async with TlsLinks(REAL).channel(
        (house.address,),
        credentials=house.alice.credentials(USER),
        gate=house.alice.gate(),
        expect=COORDINATOR,
        share=share,
    ) as channel:
        stub = channel.stub(FilesStub)
        calls = [asyncio.create_task(outcome(stub)) for _ in range(2 * most)]
        done, waiting = await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
        while len(waiting) >= most:
            more, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            done |= more
        assert {one.result() for one in done} == {BusyError.code}
        assert 0 < share.held_bytes <= MESSAGES_MAX_BYTES
        house.service.answers.set()
        assert {await one for one in waiting} <= {"ok", BusyError.code}
        assert share.held_bytes == 0, "whatever became of the calls"
        assert await outcome(stub) == "ok"


@asynccontextmanager
async def deaf(house: House) -> AsyncIterator[asyncio.StreamWriter]:
    """Open a connection of bob's that sends and never reads."""
    tls = client_context(house.bob.credentials(BOBS), house.alice.trust, ("h2",))
    narrow = socket.socket()
    narrow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    narrow.setblocking(False)
    where = (house.address.host, house.address.port)
    await asyncio.get_running_loop().sock_connect(narrow, where)
    reader, writer = await asyncio.open_connection(
        sock=narrow, ssl=tls, server_hostname="", limit=1024
    )
    try:
        yield writer
    finally:
        del reader
        writer.transport.abort()


async def test_a_member_that_reads_nothing_on_any_connection_stays_within_the_bound(
    house: House,
) -> None:
    """It is cut off where answers pile up, connection by connection; others are answered all the while.

    Some of the connections flood: what the kernel takes for each would make it last for minutes.
    """

    def held() -> list[int]:
        return [one._writes.get_write_buffer_size() for one in house.protocols()]

    async with AsyncExitStack() as stack:
        writers = [await stack.enter_async_context(deaf(house)) for _ in range(CONNECTIONS)]
        while len(house.protocols()) < CONNECTIONS:
            await asyncio.sleep(0)
        for one in house.protocols():
            one._transport.get_extra_info("socket").setsockopt(
                socket.SOL_SOCKET, socket.SO_SNDBUF, 4096
            )
        for writer in writers:
            writer.write(PREFACE + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00")
        most, rounds = 0, 0
        while len(house.protocols()) > CONNECTIONS - FLOODING:
            rounds += 1
            for writer in writers[:FLOODING]:
                if not writer.is_closing():
                    writer.write(PING * 2000)
            with suppress(ssl.SSLError, OSError):
                await asyncio.sleep(0)
            most = max([most, *held()])
        await house.alices_own_is_answered()
    slack = PING.__len__() * 2000 + SSL_BUFFER_BYTES
    assert most <= FOREIGN_UNREAD_MAX_BYTES + slack
    assert rounds > 1


def test_the_bounds_of_one_member_are_within_what_it_may_hold() -> None:
    """With the pool of its chunks; what a chunk stream writes has the same bounds."""
    each = FOREIGN_WINDOW_BYTES + FOREIGN_UNREAD_MAX_BYTES + SSL_BUFFER_BYTES
    messages = 2 * MESSAGES_MAX_BYTES  # of its calls here, and of its answers to ours
    wide = WIDE_STREAMS_MAX * (WIDE_UNREAD_MAX_BYTES - FOREIGN_UNREAD_MAX_BYTES)
    assert PEER_POOL_BYTES + messages + (CONNECTIONS + 1) * each + wide <= MEMBER_MAX_BYTES


def test_a_share_lasts_as_long_as_a_connection_has_it() -> None:
    shares = MemberShares()
    one = shares.of("garage.bob")
    assert shares.of("garage.bob") is one
    assert shares.of("home.carol") is not one
    one.take(MESSAGES_MAX_BYTES)
    with pytest.raises(BusyError, match=r"garage\.bob"):
        one.take(1)
    one.give_back(1)
    one.take(1)
    del one
    assert shares.of("garage.bob").held_bytes == 0
