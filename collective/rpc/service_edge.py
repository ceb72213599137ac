"""The edge of every service method: context in, errors out, calls counted.

One wrapper round all methods of a listener, so that a service is plain code: it reads
:func:`collective.rpc.context.current` and raises :class:`CollectiveError`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any, Final, Protocol

import structlog
from grpclib.events import RecvRequest
from grpclib.exceptions import GRPCError
from grpclib.server import Stream
from h2.exceptions import ProtocolError as H2ProtocolError

from collective.core.errors import (
    CollectiveError,
    InternalError,
    PermissionDeniedError,
    ShutOutError,
)
from collective.core.ids import SpiffeRole
from collective.pki.certificates import Certified
from collective.rpc import context
from collective.rpc.errors import to_detail, to_metadata, to_status
from collective.rpc.identity import REVOKED

_HANDLED: Final = "served"
ServedCall = Callable[[str, str, float], None]
"""(method, error code or ``ok``, seconds) for metrics."""

FOR_EVERYBODY: Final = frozenset(
    (
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
    )
)
"""Services that say nothing of the member."""


class Refusals(Protocol):
    """Hears of everything that ends in an error, and tells by itself which of it is a refusal."""

    def call(self, call: context.CallContext, error: CollectiveError) -> None:
        """Hear of a call that ended with ``error``."""
        ...

    def connection(self, source: str, error: CollectiveError) -> None:
        """Hear of a connection from ``source`` that was not let in after its handshake."""
        ...


class ServiceEdge:
    """Wraps each call that one listener serves."""

    def __init__(
        self,
        who: Callable[[Any], Certified | None],
        objection: Callable[[Certified], str | None],
        service_roles: Mapping[str, frozenset[SpiffeRole]],
        served: ServedCall | None = None,
        refusals: Refusals | None = None,
    ) -> None:
        """Take the decisions from the listener.

        Args:
            who: The verified peer of a grpclib ``Peer``; None for a listener without certificates.
            objection: Why that peer counts no longer, or None.
            service_roles: Full service name to the roles that may call it; what is not named is then
                for nobody, health and reflection apart.  Empty: everything is for everybody.
            served: Told of each call that ended.
            refusals: Told of each call that ended with an error, whoever decided it.
        """
        self._who = who
        self._objection = objection
        self._service_roles = service_roles
        self._served = served
        self._refusals = refusals
        self._active = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._log = structlog.get_logger("collective.rpc.server")

    @property
    def active_calls(self) -> int:
        """Calls running now."""
        return self._active

    async def wait_idle(self) -> None:
        """Return when no call is running; cancellation is harmless."""
        await self._idle.wait()

    async def on_request(self, event: RecvRequest) -> None:
        """Wrap the method of one call (a listener for grpclib's ``RecvRequest``)."""
        method, peer = event.method_func, event.peer
        name, deadline = event.method_name, event.deadline
        metadata = {str(key): value for key, value in event.metadata.items()}

        async def wrapped(stream: Stream[Any, Any]) -> None:
            call = context.CallContext(
                certified=self._who(peer),
                request_id=context.request_id_from(metadata.get(context.REQUEST_ID_KEY)),
                method=name,
                metadata=metadata,
                deadline=deadline,
                source=_host(peer.addr()),
            )
            context.enter(call)
            with structlog.contextvars.bound_contextvars(request_id=call.request_id):
                await self._serve(call, method, stream)

        event.method_func = wrapped

    async def _serve(
        self,
        call: context.CallContext,
        method: Callable[[Stream[Any, Any]], Awaitable[None]],
        stream: Stream[Any, Any],
    ) -> None:
        self._active += 1
        self._idle.clear()
        started_s = asyncio.get_running_loop().time()
        code = "cancelled"
        try:
            self._admit(call)
            await method(stream)
            code = "ok"
        except CollectiveError as error:
            code = error.code
            if isinstance(error, InternalError):
                self._log.exception("internal error", method=call.method)
            if self._refusals is not None:
                self._refusals.call(call, error)
            await self._answer(stream, error, call.request_id)
        except (GRPCError, H2ProtocolError):
            code = "protocol"
            raise
        except Exception:  # noqa: BLE001 - the edge of a task
            code = InternalError.code
            if stream._stream.connection.is_closing():  # noqa: SLF001 - grpclib tells it nowhere else
                self._log.debug("caller left", method=call.method, exc_info=True)
                return
            self._log.exception("unexpected error", method=call.method)
            await self._answer(stream, InternalError("Unexpected."), call.request_id)
        finally:
            self._active -= 1
            if self._active == 0:
                self._idle.set()
            duration_s = asyncio.get_running_loop().time() - started_s
            if self._served is not None:
                self._served(call.method, code, duration_s)
            self._log.debug(
                _HANDLED,
                method=call.method,
                result=code,
                duration_s=round(duration_s, 6),
                peer=str(call.certified.identity) if call.certified is not None else None,
            )

    def _admit(self, call: context.CallContext) -> None:
        if call.certified is not None:
            reason = self._objection(call.certified)
            if reason == REVOKED:
                raise ShutOutError(
                    "Your certificate was revoked; ask the operator for a new invitation."
                )
            if reason is not None:
                raise PermissionDeniedError(
                    f"The certificate of this connection is not accepted any more: {reason}."
                )
        service = call.method.split("/")[1]
        if self._service_roles and service not in FOR_EVERYBODY:
            call.require_role(*self._service_roles.get(service, ()))

    @staticmethod
    async def _answer(stream: Stream[Any, Any], error: CollectiveError, request_id: str) -> None:
        with suppress(H2ProtocolError):  # the caller has closed the stream
            await stream.send_trailing_metadata(
                status=to_status(error),
                status_message=to_detail(error, request_id).message,
                metadata=to_metadata(error, request_id),
            )


def _host(address: Any) -> str:
    """Return the host of a socket's peer address; empty for one that has gone."""
    return str(address[0]) if isinstance(address, tuple) and address else ""
