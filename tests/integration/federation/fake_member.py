"""A member that has no program of ours: its own CA, and answers that a test writes."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar, cast

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from collective.core.clock import SystemClock
from collective.core.units import Address
from collective.federation.peers.accepting import DIAL_TIMEOUT_S
from collective.pki import invite_code, proof
from collective.pki.bundle import SignedBundle
from collective.pki.revocation import RevocationSet
from collective.pki.trust import TrustStore
from collective.rpc.gen.collective import v1 as pb
from collective.rpc.gen.collective.v1 import files as files_pb
from collective.rpc.gen.collective.v1 import peering as peering_pb
from collective.rpc.gen.collective.v1 import reads as reads_pb
from collective.rpc.remote.peering import RemoteIntroduction
from collective.rpc.server.listener import TlsListener
from collective.rpc.tls.contexts import server_context
from collective.rpc.tls.gate import PeerGate
from collective.rpc.tls.pinned_gate import PinnedGate
from collective.transfer.stream.frames import FRAME_HEADER_BYTES, FrameType, decode_frame
from tests.integration.federation.thieves import Keys
from tests.worlds import LINKS, REAL

T = TypeVar("T")


async def redeem_peering(text: str, own: SignedBundle) -> SignedBundle:
    """Redeem a code to peer with the bundle ``own``; return the inviter's."""
    code = invite_code.parse(text)
    gate = PinnedGate(code.authority_digest, SystemClock())
    channel = LINKS.channel(code.addresses, credentials=None, gate=gate, expect=lambda _: True)
    async with channel:
        introduction = RemoteIntroduction.over(channel, 6 * DIAL_TIMEOUT_S)
        nonce, _ = await introduction.begin(code.code_id)
        transcript = proof.PeeringTranscript(
            code.code_id, nonce, gate.leaf_digest, own.body, own.signature
        )
        theirs, _ = await introduction.peer(
            code.code_id, nonce, own, proof.sign_join(code.secret, transcript)
        )
    return theirs


def renamed_authority(keys: Keys, other: Keys) -> x509.Certificate:
    """Return the CA of ``keys``, with its own key and constraints, under the name of another's CA."""
    of, name = keys.authority.certificate, other.authority.certificate.subject
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(of.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(of.not_valid_before_utc)
        .not_valid_after(of.not_valid_after_utc)
    )
    for extension in of.extensions:
        builder = builder.add_extension(extension.value, critical=extension.critical)
    return builder.sign(keys.authority._key, hashes.SHA256())


class FakeLink(peering_pb.PeerLinkBase):
    """Exchanges as a peer does, and says nothing new."""

    def __init__(self, bundle: SignedBundle) -> None:
        self.bundle = bundle

    async def exchange(self, message: peering_pb.PeerWord) -> peering_pb.PeerWord:
        return peering_pb.PeerWord(
            bundle=peering_pb.SignedBundle(body=self.bundle.body, signature=self.bundle.signature)
        )


class FakeFiles(files_pb.FilesBase):
    """Answers what a test sets."""

    def __init__(self) -> None:
        self.listing = files_pb.ListResponse()
        self.entry = pb.Entry()
        self.asked = 0
        self.answers = threading.Event()
        """Unset: nothing is answered."""
        self.answers.set()

    async def _told(self) -> None:
        self.asked += 1
        while not self.answers.is_set():
            await asyncio.sleep(0.02)

    async def list(self, message: files_pb.ListRequest) -> files_pb.ListResponse:
        await self._told()
        return self.listing

    async def stat(self, message: files_pb.StatRequest) -> pb.Entry:
        await self._told()
        return self.entry


class FakeReads(reads_pb.ReadsBase):
    """Answers what a test sets."""

    def __init__(self) -> None:
        self.opened = reads_pb.OpenReadResponse()
        self.plan: Callable[[int], reads_pb.PlanReadResponse] = lambda _: (
            reads_pb.PlanReadResponse()
        )
        self.planned = 0

    async def open_read(self, message: reads_pb.OpenReadRequest) -> reads_pb.OpenReadResponse:
        return self.opened

    async def plan_read(self, message: reads_pb.PlanReadRequest) -> reads_pb.PlanReadResponse:
        self.planned += message.length > 1  # one byte: whether it may be read still
        return self.plan(message.offset)

    async def close_read(self, message: reads_pb.CloseReadRequest) -> reads_pb.CloseReadResponse:
        return reads_pb.CloseReadResponse()

    async def report_copy(self, message: reads_pb.ReportCopyRequest) -> reads_pb.ReportCopyResponse:
        return reads_pb.ReportCopyResponse()


ENDS = b"and no more"
"""After an answer that ends so the connection is closed."""


class FakeChunks(asyncio.Protocol):
    """A chunk stream that answers each request with what ``answer`` makes of its number, or nothing."""

    def __init__(self, answer: Callable[[int], bytes]) -> None:
        self._answer = answer
        self._got = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def hang_up(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        self._got += data
        while len(self._got) >= FRAME_HEADER_BYTES:
            frame = decode_frame(self._got[:FRAME_HEADER_BYTES])
            size = FRAME_HEADER_BYTES + frame.head_length + frame.payload_length
            if len(self._got) < size:
                return
            self._got = self._got[size:]
            if frame.type is FrameType.GET and self._transport is not None:
                told = self._answer(frame.request_id)
                self._transport.write(told)
                if told.endswith(ENDS):
                    self._transport.close()


class FakeMember:
    """The coordinator of such a member, on a thread of its own."""

    def __init__(self, keys: Keys, knows: Keys, *also: Address) -> None:
        """Serve who comes from ``knows``, which is told of in the bundle of ``keys``.

        The bundle names the addresses ``also`` before the one at which it is.
        """
        self.keys = keys
        self.files, self.reads = FakeFiles(), FakeReads()
        self.chunk_answer: Callable[[int], bytes] = lambda _: b""
        self._knows = knows
        self._streams: list[FakeChunks] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.address = self.do(self._listen())
        self.link.bundle = self.keys.bundle(1, *also, self.address)

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        """Return what ``work`` returns, done on the thread."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)

    async def _listen(self) -> Address:
        trust = TrustStore(
            {one.domain: [one.authority.certificate] for one in (self.keys, self._knows)}
        )
        self.link = FakeLink(self.keys.bundle(1))
        self._listener = TlsListener(
            [self.link, self.files, self.reads],
            PeerGate(trust, RevocationSet(), SystemClock()),
            partial(server_context, self.keys.operator, trust),
            REAL,
            chunk_factory=lambda _: self._chunk_stream(),
        )
        return await self._listener.listen(Address("127.0.0.1", 0))

    def _chunk_stream(self) -> FakeChunks:
        self._streams.append(FakeChunks(self._answer))
        return self._streams[-1]

    def hang_up(self) -> None:
        """End every chunk stream."""
        for one in self._streams:
            self._loop.call_soon_threadsafe(one.hang_up)

    def _answer(self, number: int) -> bytes:
        return self.chunk_answer(number)

    def close(self) -> None:
        self.files.answers.set()
        self.do(self._listener.shut(0.1))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(60)
        self._loop.close()


class Victim:
    """A third party's listener: keeps what it is sent, and answers with nonsense."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.address = Address("127.0.0.1", int(self._listening.getsockname()[1]))
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                one, _ = self._listening.accept()
            except OSError:
                return
            with one:
                one.settimeout(5)
                with suppress(OSError):
                    self.heard.append(one.recv(65536))
                    one.sendall(b"HTTP/1.1 400 no\r\n\r\n")
                    while more := one.recv(65536):
                        self.heard[-1] += more

    def close(self) -> None:
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join(60)
