"""Looking at the network for a diagnosis: names, own addresses, and what answers at an address.

Nothing is believed of what is seen here, and nothing but a handshake and a question that anybody may ask
is sent.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from dataclasses import dataclass
from enum import Enum
from typing import Final

from collective.core.errors import CollectiveError, UnreachableError
from collective.core.units import Address
from collective.pki import certificates
from collective.pki.certificates import Certified
from collective.rpc.gen.grpc.health.v1 import HealthCheckRequest, HealthStub
from collective.rpc.links import Channel, Links
from collective.rpc.tls.contexts import ALPN_GRPC
from collective.rpc.tls.unverified_gate import UnverifiedGate

TIMEOUT_S: Final = 3.0


class Answer(Enum):
    """What was met at an address; the value is the word of JSON."""

    MEMBER = "member"
    """TLS, and a certificate of a member."""
    OTHER_TLS = "other-tls"
    NO_TLS = "no-tls"
    MUTE = "mute"
    """Connections are accepted, and nothing is answered, in TLS or without: a process that hangs."""
    REFUSED = "refused"
    SILENT = "silent"
    UNKNOWN_NAME = "unknown-name"
    UNREACHABLE = "unreachable"


@dataclass(frozen=True, slots=True)
class Seen:
    """What one look at an address found."""

    answer: Answer
    latency_ms: float = 0.0
    """Of the TCP handshake."""
    certified: Certified | None = None
    """What the certificate says that was shown; not checked."""
    why: str = ""


async def resolve(host: str) -> tuple[str, ...]:
    """Return the IP addresses that ``host`` stands for; UnreachableError where it stands for none."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(TIMEOUT_S):
            found = await loop.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise UnreachableError(f"The name {host} does not resolve.") from error
    except TimeoutError as error:
        raise UnreachableError(f"The name service does not answer for {host}.") from error
    return tuple(dict.fromkeys(str(one[4][0]) for one in found))


async def look(address: Address, timeout_s: float = TIMEOUT_S) -> Seen:
    """Connect to ``address``, see what answers and which certificate it shows, and leave."""
    loop = asyncio.get_running_loop()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols([ALPN_GRPC])
    began_s = loop.time()
    writer: asyncio.StreamWriter | None = None
    try:
        async with asyncio.timeout(timeout_s):
            _, writer = await asyncio.open_connection(address.host, address.port)
            latency_ms = (loop.time() - began_s) * 1000
            await writer.start_tls(context)
            shown: ssl.SSLObject = writer.get_extra_info("ssl_object")
            return _of_leaf(shown.getpeercert(binary_form=True), latency_ms)
    except TimeoutError:
        answer = Answer.SILENT if writer is None else await _without_tls(address, timeout_s)
        return Seen(answer, why=f"no answer within {timeout_s:g} s")
    except (socket.gaierror, UnicodeError) as error:
        why = "that is no host name" if isinstance(error, UnicodeError) else error.strerror or ""
        return Seen(Answer.UNKNOWN_NAME, why=why.lower())
    except (ssl.SSLError, EOFError) as error:
        return Seen(Answer.NO_TLS, why=str(error))
    except OSError as error:
        if writer is not None:
            return Seen(Answer.NO_TLS, why="the connection ended in the handshake")
        return Seen(_answer_of(error), why=(error.strerror or str(error)).lower())
    finally:
        if writer is not None:
            writer.transport.abort()


async def _without_tls(address: Address, timeout_s: float) -> Answer:
    """Return what is at ``address``, where a TLS handshake got no answer: does it answer without?"""
    writer: asyncio.StreamWriter | None = None
    try:
        async with asyncio.timeout(timeout_s):
            reader, writer = await asyncio.open_connection(address.host, address.port)
            writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            await reader.read(1)
    except TimeoutError:
        return Answer.MUTE
    except OSError:
        return Answer.NO_TLS
    finally:
        if writer is not None:
            writer.transport.abort()
    return Answer.NO_TLS


def _answer_of(error: OSError) -> Answer:
    refused = error.errno == errno.ECONNREFUSED or isinstance(error, ConnectionRefusedError)
    return Answer.REFUSED if refused else Answer.UNREACHABLE


def _of_leaf(leaf: bytes | None, latency_ms: float) -> Seen:
    try:
        certified = certificates.describe(certificates.load_certificate(leaf or b""))
    except CollectiveError as error:
        return Seen(Answer.OTHER_TLS, latency_ms, why=error.message)
    return Seen(Answer.MEMBER, latency_ms, certified)


async def time_at(links: Links, bootstraps: tuple[Address, ...]) -> int:
    """Return the clock of a member, Unix milliseconds, as one of its bootstraps says.

    Its certificate is not checked: with a clock that is wrong here none would count.

    Raises:
        UnreachableError, RejectedError: nobody says.
    """
    channel = links.channel(
        bootstraps,
        credentials=None,
        gate=UnverifiedGate(),
        expect=lambda _: True,
        connect_timeout_s=TIMEOUT_S,
    )
    async with channel:
        return await time_of(channel)


async def time_of(channel: Channel) -> int:
    """Return the clock of who answers on ``channel``, Unix milliseconds.

    Raises:
        UnreachableError: Nobody answers, or not with a time.
    """
    await channel.stub(HealthStub).check(HealthCheckRequest(), timeout=TIMEOUT_S)
    if not channel.server_time_ms:
        raise UnreachableError(f"{channel} does not say what its clock shows.")
    return channel.server_time_ms
