"""One question to a process's own metrics and health listener, by plain HTTP/1.1.

For health checks that run as commands, many times an hour: no event loop, no TLS, no HTTP library.
"""

from __future__ import annotations

import contextlib
import socket
from typing import Final

from collective.core.errors import UnreachableError
from collective.core.units import Address

ANSWER_MAX_BYTES: Final = 64 * 1024
_LOOPBACK: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared, not bound


def ask(address: Address, path: str, *, timeout_s: float) -> tuple[int, str]:
    """Return status and body of ``GET path`` at ``address``; blocking, at most ``timeout_s`` a step.

    A wildcard, as a listener has it, stands for loopback.

    Raises:
        UnreachableError: nobody answers there, or not in HTTP.
    """
    host = _LOOPBACK.get(address.host, address.host)
    raw = bytearray()
    try:
        with contextlib.closing(
            socket.create_connection((host, address.port), timeout=timeout_s)
        ) as connection:
            connection.sendall(_request(host, path))
            while len(raw) < ANSWER_MAX_BYTES and (part := connection.recv(ANSWER_MAX_BYTES)):
                raw += part
    except (OSError, UnicodeError) as error:
        reason = _reason(error)
        raise UnreachableError(
            f"Nobody answers at {address}: {reason}; is it where the process has its"
            " COLLECTIVE_METRICS_ADDRESS?"
        ) from error
    head, _, body = bytes(raw).partition(b"\r\n\r\n")
    words = head.split(maxsplit=2)
    if len(words) < 2 or not words[0].startswith(b"HTTP/1.") or not words[1].isdigit():  # noqa: PLR2004
        raise UnreachableError(f"What listens at {address} is no health listener of collective.")
    return int(words[1]), body.decode("utf-8", "replace").strip()


def _request(host: str, path: str) -> bytes:
    name = host.encode("idna").decode("ascii")
    return f"GET {path} HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n".encode("ascii")


def _reason(error: OSError | UnicodeError) -> str:
    if isinstance(error, UnicodeError):
        return "that is no host name"
    return (error.strerror or str(error)).lower()
