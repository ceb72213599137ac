"""The metrics and health listener: HTTP/1.1, three paths, GET and HEAD, one request a connection.

The only listener without TLS.  Bounded: 8 KiB of request, 5 s, 128 connections of which whoever
waited longest gives way to the next, so that silent ones keep nobody out.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

import structlog

from collective.core.errors import CannotListenError
from collective.core.unauthenticated_slots import UnauthenticatedSlots
from collective.core.units import Address

REQUEST_MAX_BYTES: Final = 8192
REQUEST_TIMEOUT_S: Final = 5.0
CONNECTIONS_MAX: Final = 128
_METRICS_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_TEXT_TYPE: Final = "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Answer:
    """One response."""

    status: HTTPStatus
    body: bytes
    content_type: str = _TEXT_TYPE

    def encode(self, *, with_body: bool) -> bytes:
        """Return the bytes on the wire."""
        allow = "Allow: GET, HEAD\r\n" if self.status is HTTPStatus.METHOD_NOT_ALLOWED else ""
        head = (
            f"HTTP/1.1 {self.status.value} {self.status.phrase}\r\n"
            f"Content-Type: {self.content_type}\r\n"
            f"Content-Length: {len(self.body)}\r\n"
            f"{allow}Connection: close\r\nX-Content-Type-Options: nosniff\r\n\r\n"
        )
        return head.encode("ascii") + (self.body if with_body else b"")


class ObserveListener:
    """Serves ``/metrics``, ``/healthz`` and ``/readyz``."""

    def __init__(
        self, exposition: Callable[[], bytes], unready: Callable[[], tuple[str, ...]]
    ) -> None:
        """``unready`` returns why the process cannot serve; empty means that it can."""
        self._exposition = exposition
        self._unready = unready
        self._server: asyncio.Server | None = None
        self._slots: UnauthenticatedSlots[asyncio.StreamWriter] = UnauthenticatedSlots(
            CONNECTIONS_MAX
        )
        self._log = structlog.get_logger("collective.runtime.http")

    async def start(self, address: Address) -> Address:
        """Listen; return the address with the port taken.

        Raises:
            CannotListenError: The address cannot be listened on.
        """
        try:
            self._server = await asyncio.start_server(
                self._serve, address.host, address.port, limit=REQUEST_MAX_BYTES
            )
        except OSError as error:
            reason = os.strerror(error.errno).lower() if error.errno else str(error)
            raise CannotListenError(f"Cannot serve metrics on {address}: {reason}.") from error
        return Address(address.host, self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Stop listening; requests being answered end by their own deadline."""
        if self._server is not None:
            self._server.close()

    def answer(self, request_line: bytes) -> tuple[Answer, bool]:
        """Return the response to ``GET /path HTTP/1.1`` and whether to send its body."""
        parts = request_line.split()
        if len(parts) != 3 or not parts[2].startswith(b"HTTP/1."):  # noqa: PLR2004 - RFC 9112
            return Answer(HTTPStatus.BAD_REQUEST, b"bad request\n"), True
        method, target, _ = parts
        if method not in (b"GET", b"HEAD"):
            return Answer(HTTPStatus.METHOD_NOT_ALLOWED, b"only GET and HEAD\n"), True
        return self._page(target.split(b"?")[0]), method == b"GET"

    def _page(self, path: bytes) -> Answer:
        match path:
            case b"/metrics":
                return Answer(HTTPStatus.OK, self._exposition(), _METRICS_TYPE)
            case b"/healthz":
                return Answer(HTTPStatus.OK, b"alive\n")
            case b"/readyz":
                why = self._unready()
                if not why:
                    return Answer(HTTPStatus.OK, b"ready\n")
                return Answer(HTTPStatus.SERVICE_UNAVAILABLE, ("\n".join(why) + "\n").encode())
            case _:
                return Answer(HTTPStatus.NOT_FOUND, b"not found\n")

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        source = str((writer.get_extra_info("peername") or ("",))[0])
        pushed_out = self._slots.enter(source, writer)
        if pushed_out is not None:
            pushed_out.transport.abort()
        try:
            async with asyncio.timeout(REQUEST_TIMEOUT_S):
                response = await self._respond(reader)
                writer.write(response)
                await writer.drain()
                writer.close()
                await writer.wait_closed()
        except (TimeoutError, OSError, asyncio.IncompleteReadError):
            writer.transport.abort()
        except Exception:  # noqa: BLE001 - the edge of a task
            self._log.exception("scrape failed")
            writer.transport.abort()
        finally:
            self._slots.leave(source, writer)

    async def _respond(self, reader: asyncio.StreamReader) -> bytes:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError:
            too_large = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
            return Answer(too_large, b"request too large\n").encode(with_body=True)
        answer, with_body = self.answer(head.split(b"\r\n", 1)[0])
        return answer.encode(with_body=with_body)
