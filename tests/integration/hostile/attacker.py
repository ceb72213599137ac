"""An attacker's program: real certificates, our own client where it helps, raw TLS where it lies."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self, TypeVar

import psutil
from betterproto2 import Message
from cryptography.hazmat.primitives.serialization import Encoding

from collective.chunking.chunk_ids import chunk_id
from collective.chunking.envelope import encode_header
from collective.client import joining
from collective.core.clock import ManualClock, SystemClock
from collective.core.ids import Domain, GlobalId, MemberId, NodeId, SpiffeId
from collective.core.units import Address
from collective.pki import invite_code
from collective.pki.ca import CertificateAuthority
from collective.pki.certificates import Certified, new_private_key
from collective.pki.credentials import Credentials, load_credentials, save_credentials
from collective.pki.revocation import RevocationSet
from collective.pki.trust import TrustStore
from collective.rpc.client.channel import RpcChannel
from collective.rpc.tls.contexts import ALPN_CHUNK, client_context
from collective.rpc.tls.gate import PeerGate
from collective.rpc.wire.decoding import parse_message
from collective.transfer.stream.frames import (
    FRAME_HEADER_BYTES,
    FrameType,
    decode_frame,
    encode_head,
)
from tests import protocol as pb
from tests.integration.cluster import Cluster
from tests.worlds import LINKS, REAL, world_of

M = TypeVar("M", bound=Message)
TIMEOUT_S = 120.0


def stored(content: bytes) -> bytes:
    """Return the stored form of one chunk of ``content``."""
    return encode_header(len(content)) + content


def intent(content: bytes, offset: int = 0) -> pb.Extent:
    raw = stored(content)
    return pb.Extent(
        chunk_id=chunk_id(raw), stored_length=len(raw), offset=offset, length=len(content)
    )


def extent(content: bytes, offset: int = 0, length: int | None = None) -> pb.Extent:
    raw = stored(content)
    return pb.Extent(
        offset=offset,
        length=len(content) if length is None else length,
        chunk_id=chunk_id(raw),
        stored_length=len(raw),
    )


@dataclass(slots=True)
class Answer:
    """One frame that came back."""

    type: FrameType
    head: bytes
    payload: bytes

    def error(self) -> pb.ErrorDetail:
        assert self.type is FrameType.ERROR, self
        return parse_message(pb.ErrorDetail, self.head)

    def result(self) -> pb.PutResult:
        assert self.type is FrameType.PUT_RESULT, self.error()
        return parse_message(pb.PutResult, self.head)


class Wire:
    """A raw TLS connection."""

    def __init__(self, sock: ssl.SSLSocket) -> None:
        self.sock = sock

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def send(self, raw: bytes) -> None:
        self.sock.sendall(raw)

    def exactly(self, count: int) -> bytes:
        """Return ``count`` bytes; ConnectionError when the server closed before."""
        got = bytearray()
        while len(got) < count:
            piece = self.sock.recv(count - len(got))
            if not piece:
                raise ConnectionError("closed by the server")
            got += piece
        return bytes(got)

    def closed(self, timeout_s: float = TIMEOUT_S) -> bool:
        """Whether the server ends the connection within ``timeout_s``, whatever it says before."""
        self.sock.settimeout(timeout_s)
        try:
            while self.sock.recv(65536):
                pass
        except TimeoutError:
            return False
        except OSError:
            return True
        return True

    def ask(self, kind: FrameType, message: Message, payload: bytes = b"", number: int = 1) -> None:
        self.send(encode_head(kind, number, bytes(message), len(payload)) + payload)

    def answer(self) -> Answer:
        frame = decode_frame(self.exactly(FRAME_HEADER_BYTES))
        return Answer(
            frame.type, self.exactly(frame.head_length), self.exactly(frame.payload_length)
        )

    def put(self, hops: Sequence[pb.SignedTicket], chunk: bytes, raw: bytes) -> Answer:
        header = pb.PutHeader(chunk_id=chunk, length=len(raw), hops=list(hops), request_id="attack")
        self.ask(FrameType.PUT, header, raw)
        return self.answer()

    def get(self, hops: Sequence[pb.SignedTicket], chunk: bytes, offset: int = 0) -> Answer:
        self.ask(FrameType.GET, pb.GetHeader(chunk_id=chunk, hops=list(hops), offset=offset))
        return self.answer()


@dataclass
class Target:
    """The member under attack, with every key that an attacker could have stolen or been given."""

    cluster: Cluster
    folder: Path
    authority: CertificateAuthority
    operator: Credentials
    others: CertificateAuthority = field(init=False)

    def __post_init__(self) -> None:
        self.others = CertificateAuthority.create(MemberId("bob"), Domain("garage.bob"), REAL)
        self.domain = Domain(self.cluster.domain)
        self.coordinator = SpiffeId.coordinator(self.domain)
        self.trust = TrustStore({self.domain: [self.authority.certificate]})
        self.gate = PeerGate(self.trust, RevocationSet(), SystemClock())
        self.mallory = self.user("mallory")
        self.bystander = self.user("bystander")

    @classmethod
    def of(cls, cluster: Cluster, folder: Path) -> Self:
        """Return ``cluster`` as a target, whose keys are stolen; ``folder`` takes those made by them."""
        certs = cluster.cert_dir("coordinator")
        ca, own = certs / "ca", certs / "coordinators" / "alice-coordinator"
        authority = CertificateAuthority.load(
            (ca / "alice-ca.crt").read_bytes(), (ca / "alice-ca.key").read_bytes(), REAL
        )
        operator = load_credentials(
            f"{own}.crt", f"{own}.key", str(ca / "alice-ca.crt"), disk=REAL.disk
        )
        folder.mkdir()
        return cls(cluster, folder, authority, operator)

    async def enrol(self) -> Credentials:
        """Return the certificate of another node, which joined by the member's node join code."""
        code = (self.cluster.cert_dir("coordinator") / "join" / "node.code").read_text().strip()
        key = new_private_key(REAL.randomness)
        joined = await joining.redeem(
            invite_code.parse(code), key, clock=SystemClock(), links=LINKS
        )
        base = str(self.folder / os.urandom(6).hex())
        return save_credentials(
            f"{base}.crt",
            f"{base}.key",
            f"{base}-ca.crt",
            certificate=joined.certificate,
            private_key=key,
            authority=joined.authority,
            disk=REAL.disk,
        )

    def user(self, name: str) -> Credentials:
        return self.issue(SpiffeId.user(self.domain, GlobalId(name, self.domain)))

    def issue(
        self,
        identity: SpiffeId,
        *,
        authority: CertificateAuthority | None = None,
        lifetime_s: float = 3600.0,
    ) -> Credentials:
        """Return a fresh certificate and key, as ``collective pki issue`` makes them."""
        signer = authority or self.authority
        key = new_private_key(REAL.randomness)
        certificate = signer.issue(identity, key.public_key(), lifetime_s=lifetime_s)
        base = str(self.folder / os.urandom(6).hex())
        return save_credentials(
            f"{base}.crt",
            f"{base}.key",
            f"{base}-ca.crt",
            certificate=certificate,
            private_key=key,
            authority=signer.certificate,
            disk=REAL.disk,
        )

    def expired(self, identity: SpiffeId) -> Credentials:
        """Return a certificate that ran out half a minute ago."""
        past = ManualClock(SystemClock().wall_s() - 60.0)
        signer = CertificateAuthority.load(
            self.authority.certificate.public_bytes(Encoding.PEM),
            self.authority.key_pem(),
            world_of(past),
        )
        return self.issue(identity, authority=signer, lifetime_s=30.0)

    def node(self, number: int = 1) -> Credentials:
        """Return the certificate and key of a running node, stolen from its disk."""
        name = f"alice-node-{number:02}"
        certs = self.cluster.cert_dir(name)
        return load_credentials(
            str(certs / "nodes" / f"{name}.crt"),
            str(certs / "nodes" / f"{name}.key"),
            str(certs / "ca" / "alice-ca.crt"),
            disk=REAL.disk,
        )

    def node_id(self, number: int = 1) -> SpiffeId:
        return SpiffeId.node(self.domain, NodeId(f"alice-node-{number:02}"))

    def node_port(self, number: int = 1) -> int:
        return self.cluster.node_ports[f"alice-node-{number:02}"]

    @asynccontextmanager
    async def channel(
        self, credentials: Credentials, port: int | None = None, expect: SpiffeId | None = None
    ) -> AsyncIterator[RpcChannel]:
        """A gRPC channel to the coordinator, or to whatever listens on ``port``."""
        address = Address("127.0.0.1", port or self.cluster.coordinator_port)

        def anybody(_: Certified) -> bool:
            return True

        channel = LINKS.channel(
            [address],
            credentials=credentials,
            gate=self.gate,
            expect=expect or (anybody if port else self.coordinator),
        )
        try:
            yield channel
        finally:
            await channel.aclose()
            await asyncio.sleep(0.02)  # TLS says goodbye

    def wire(self, credentials: Credentials | None, port: int, alpn: str = ALPN_CHUNK) -> Wire:
        """Return a raw connection after its TLS handshake."""
        context = client_context(credentials, self.trust, (alpn,))
        plain = socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_S)
        try:
            return Wire(context.wrap_socket(plain))
        except BaseException:
            plain.close()
            raise

    def refused(self, credentials: Credentials | None, port: int, alpn: str = ALPN_CHUNK) -> bool:
        """Whether a connection is ended by the server before it answers anything."""
        try:
            with self.wire(credentials, port, alpn) as wire:
                wire.sock.settimeout(TIMEOUT_S)
                return wire.sock.recv(1) == b""
        except OSError:
            return True

    def memory(self) -> dict[str, int]:
        """Return the resident bytes of each process."""
        return {
            name: psutil.Process(service.pid).memory_info().rss
            for name, service in self.cluster.services.items()
        }


async def upload(
    target: Target, credentials: Credentials, path: str, content: bytes
) -> pb.OpenUploadResponse:
    """Open an upload of one chunk."""
    async with target.channel(credentials) as channel:
        return await channel.stub(pb.UploadsStub).open_upload(
            pb.OpenUploadRequest(path=path, chunks=[intent(content)])
        )


def send(
    target: Target, credentials: Credentials, plan: pb.ChunkPlan, content: bytes
) -> list[pb.SignedReceipt]:
    """Send ``content`` along all routes of ``plan``; return the receipts."""
    receipts = []
    for route in plan.routes:
        with target.wire(credentials, route.first_addresses[0].port) as wire:
            answer = wire.put(route.hops, plan.chunk_id, stored(content))
            for left in range(len(route.hops), 0, -1):
                result = answer.result()
                assert result.receipt is not None, result.error
                receipts.append(result.receipt)
                if left > 1:
                    answer = wire.answer()
    return receipts
