"""Opening a verified connection: TCP, TLS 1.3, the peer's identity, then the protocol.

Used by gRPC channels and by the chunk stream alike.  Nothing is sent by the protocol before the
peer's identity has been checked.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import Callable, Collection, Sequence
from typing import Final, TypeVar

from collective.core.errors import (
    CollectiveError,
    OtherAuthorityError,
    RejectedError,
    UnreachableError,
    WrongTimeError,
)
from collective.core.ids import SpiffeRole
from collective.core.units import Address
from collective.pki.certificates import Certified
from collective.pki.trust import STEP_OF_AUTHORITY, STEP_OF_TIME, UntrustedError
from collective.rpc.links import CONNECT_TIMEOUT_S
from collective.rpc.tls.contexts import ALPN_CHUNK
from collective.rpc.tls.gate import Expectation, Gate, check_expected, expected_roles
from collective.rpc.tls.handshake import Handshaken, leaf_of

P = TypeVar("P", bound=asyncio.BaseProtocol)

_SHUTDOWN_TIMEOUT_S: Final = 1.0
STAGGER_S: Final = 0.25
"""After so long without an answer the next address is tried as well (RFC 8305, section 5)."""
_AGAIN_AFTER_S: Final = 0.2
"""A server cuts off the oldest handshakes while too many come at once: the next may do better."""
# verify codes of OpenSSL (X509_V_ERR_…)
_NOT_YET_VALID: Final = 9
_EXPIRED: Final = 10
_KINDS: Final = {STEP_OF_AUTHORITY: OtherAuthorityError, STEP_OF_TIME: WrongTimeError}
"""By the step of the trust rule that refused the certificate."""
_OF_ANOTHER_CA: Final = frozenset((2, 7, 18, 19, 20, 21))
"""No issuer found, a signature of another key, a chain that ends in an unknown CA."""


async def open_stream(
    address: Address,
    tls: ssl.SSLContext,
    protocol_factory: Callable[[Certified], P],
    *,
    gate: Gate,
    expect: Expectation,
    alpn: str = ALPN_CHUNK,
    timeout_s: float = CONNECT_TIMEOUT_S,
) -> tuple[asyncio.Transport, P]:
    """Connect, check who answers, and hand the connection to a protocol.

    Args:
        address: Where to connect.
        tls: A context of :func:`collective.rpc.tls.contexts.client_context` that offers ``alpn``.
        protocol_factory: Makes the protocol once the peer is known; called at most once.
        gate: What counts as a valid certificate.
        expect: Whom the caller wants.
        alpn: The protocol that must have been chosen.
        timeout_s: Seconds for all of it; once, it is tried again where the handshake was cut off.

    Returns:
        The transport and the protocol, whose ``connection_made`` has run.

    Raises:
        UnreachableError: No connection within ``timeout_s``.
        RejectedError: The peer is somebody else, or chose another protocol.

    Cancellation closes what was opened.
    """
    roles: frozenset[SpiffeRole] = expected_roles(expect)
    made: list[P] = []

    def admit(
        ssl_object: ssl.SSLObject, chosen: str | None, _: asyncio.Transport
    ) -> asyncio.BaseProtocol:
        try:
            peer = gate.verify(leaf_of(ssl_object), roles, "server")
        except UntrustedError as error:
            raise _said_plainly(error, address, roles) from error
        check_expected(peer, expect)
        if chosen != alpn:
            raise RejectedError(f"The server at {address} does not speak {alpn}.")
        made.append(protocol_factory(peer))
        return made[0]

    def ignore(_: CollectiveError, _host: str) -> None:
        """The error is raised below."""

    try:
        async with asyncio.timeout(timeout_s):
            transport, first = await _shake_hands(
                address, tls, lambda: Handshaken(admit, ignore), timeout_s
            )
    except TimeoutError as error:
        raise UnreachableError(
            f"No answer from {address} within {timeout_s:g} s; check that it runs."
        ) from error
    except ssl.SSLCertVerificationError as error:
        raise _why_unverified(error, address) from error
    except (OSError, UnicodeError) as error:  # the latter of a host that no name can be
        raise _not_reached(error, address) from error
    if first.error is not None:
        raise first.error
    if not made:
        transport.abort()
        raise UnreachableError(f"The connection to {address} ended in the handshake.")
    return transport, made[0]


async def _shake_hands(
    address: Address, tls: ssl.SSLContext, make: Callable[[], Handshaken], timeout_s: float
) -> tuple[asyncio.Transport, Handshaken]:
    """Connect; once more where the handshake was cut off."""

    async def connect() -> tuple[asyncio.Transport, Handshaken]:
        return await asyncio.get_running_loop().create_connection(
            make,
            address.host,
            address.port,
            ssl=tls,
            server_hostname="",
            ssl_handshake_timeout=timeout_s,
            ssl_shutdown_timeout=_SHUTDOWN_TIMEOUT_S,
        )

    try:
        return await connect()
    except (ConnectionResetError, ssl.SSLEOFError):
        await asyncio.sleep(_AGAIN_AFTER_S)
        return await connect()


async def open_first(
    addresses: Sequence[Address],
    tls: ssl.SSLContext,
    protocol_factory: Callable[[Certified], P],
    *,
    gate: Gate,
    expect: Expectation,
    alpn: str = ALPN_CHUNK,
    timeout_s: float = CONNECT_TIMEOUT_S,
) -> tuple[asyncio.Transport, P, Address]:
    """Try ``addresses`` in turn, each for ``timeout_s``; return what answers first as expected, and where.

    One that is silent for STAGGER_S does not keep the next one waiting (RFC 8305): they are tried side by
    side, and the first that answers ends the others.

    Raises:
        RejectedError: Somebody else than expected answered at one or more addresses, and nobody expected
            at any; it says what the last of them was.
        UnreachableError: Nobody answered; it says why not at the address that failed last.
    """
    racing: dict[asyncio.Task[tuple[asyncio.Transport, P]], Address] = {}
    is_answered = False

    def for_first(peer: Certified) -> P:
        """Make the protocol for whoever answers first, and for nobody else."""
        nonlocal is_answered
        if is_answered:
            raise UnreachableError("Another address answered first.")
        is_answered = True
        return protocol_factory(peer)

    failure: CollectiveError = UnreachableError("No address to connect to is known.")
    waiting = list(addresses)
    try:
        while waiting or racing:
            if waiting:
                address = waiting.pop(0)
                opening = open_stream(
                    address,
                    tls,
                    for_first,
                    gate=gate,
                    expect=expect,
                    alpn=alpn,
                    timeout_s=timeout_s,
                )
                racing[asyncio.ensure_future(opening)] = address
            done, _ = await asyncio.wait(
                racing,
                timeout=STAGGER_S if waiting else None,
                return_when=asyncio.FIRST_COMPLETED,
            )
            for one in done:
                address, error = racing.pop(one), one.exception()
                if error is None:
                    return (*one.result(), address)
                if not isinstance(error, UnreachableError | RejectedError):
                    raise error
                if not isinstance(failure, RejectedError) or isinstance(error, RejectedError):
                    failure = error
        raise failure
    finally:
        await _give_up(racing)


async def _give_up(racing: Collection[asyncio.Task[tuple[asyncio.Transport, P]]]) -> None:
    """End what was opened beside the one that answered first."""
    for one in racing:
        one.cancel()
    for ended in await asyncio.gather(*racing, return_exceptions=True):
        if not isinstance(ended, BaseException):
            ended[0].abort()


def _said_plainly(
    error: UntrustedError, address: Address, roles: frozenset[SpiffeRole]
) -> RejectedError:
    """Return what to do about ``address``; the step is in the log."""
    if error.role is None:
        kind = _KINDS.get(error.step, RejectedError)
        return kind(f"The certificate of {address} does not count: {error.why}.")
    if roles == {"coordinator"}:
        return RejectedError(
            f"{address} is a {error.role}, not a coordinator; give the coordinator's address."
        )
    wanted = " or ".join(sorted(roles))
    return RejectedError(f"{address} is a {error.role}, not a {wanted}; give another address.")


def _why_unverified(error: ssl.SSLCertVerificationError, address: Address) -> RejectedError:
    """Return what a certificate that OpenSSL itself refused most likely means."""
    if error.verify_code == _EXPIRED:
        return WrongTimeError(
            f"The certificate of {address} has expired by this machine's clock; compare the clocks of"
            " both machines, and if they agree ask its operator to see to it."
        )
    if error.verify_code == _NOT_YET_VALID:
        return WrongTimeError(
            f"The certificate of {address} is not valid yet by this machine's clock; compare the clocks"
            " of both machines."
        )
    if error.verify_code in _OF_ANOTHER_CA:
        return OtherAuthorityError(
            f"The certificate of {address} is of another CA than the one that you joined; give your"
            " own coordinator's address, or ask for a new invitation if its CA was made anew."
        )
    return RejectedError(f"The certificate of {address} does not count: {error.verify_message}.")


def _not_reached(error: OSError | UnicodeError, address: Address) -> UnreachableError:
    if isinstance(error, UnicodeError):
        advice = "that is no host name; check how it is written"
    else:
        advice = f"{_reason(error)}; check that it runs there"
    return UnreachableError(f"No connection to {address}: {advice}.")


def _reason(error: OSError) -> str:
    if isinstance(error, ssl.SSLError | socket.gaierror):
        text = error.strerror
    elif error.errno:  # asyncio puts the address into the words, which says nothing new
        text = os.strerror(error.errno)
    else:
        text = error.strerror
    text = text or str(error) or type(error).__name__
    return text.rstrip(".").lower() if not isinstance(error, ssl.SSLError) else text
