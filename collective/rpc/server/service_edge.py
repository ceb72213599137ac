"""The edge of every service method: context in, errors out, calls counted.

One wrapper round all methods of a listener, so that a service is plain code: it reads
:func:`collective.rpc.server.context.current` and raises :class:`CollectiveError`.  It knows no HTTP/2: that
is :mod:`collective.rpc.server.listener`'s.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, Protocol

import structlog
from grpclib.exceptions import GRPCError
from h2.exceptions import ProtocolError as H2ProtocolError

from collective.core.errors import (
    CollectiveError,
    InternalError,
    PermissionDeniedError,
    ShutOutError,
)
from collective.core.ids import SpiffeRole
from collective.core.randomness import Randomness
from collective.pki.certificates import Certified
from collective.rpc.headers import REQUEST_ID_KEY, request_id_from
from collective.rpc.server import context
from collective.rpc.server.context import Deadline
from collective.rpc.tls.gate import REVOKED

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


class CallEnd(Protocol):
    """What the edge needs of the way back to a caller, beside the messages."""

    async def fail(self, error: CollectiveError, request_id: str) -> None:
        """End the call by ``error``, as :func:`collective.rpc.errors.to_detail` says it to peers.

        Does nothing where the caller has left or the call has ended.
        """
        ...

    def has_left(self) -> bool:
        """Whether the caller's connection is gone, so that errors of the method mean nothing."""
        ...


class ServiceEdge:
    """Wraps each call that one listener serves, however it arrived."""

    def __init__(
        self,
        objection: Callable[[Certified], str | None],
        service_roles: Mapping[str, frozenset[SpiffeRole]],
        randomness: Randomness,
        served: ServedCall | None = None,
        refusals: Refusals | None = None,
    ) -> None:
        """Take the decisions from the listener.

        Args:
            objection: Why a verified peer counts no longer, or None.
            service_roles: Full service name to the roles that may call it; what is not named is then
                for nobody, health and reflection apart.  Empty: everything is for everybody.
            randomness: For the request ids of calls that bring none.
            served: Told of each call that ended.
            refusals: Told of each call that ended with an error, wherever that was decided.
        """
        self._objection = objection
        self._service_roles = service_roles
        self._randomness = randomness
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

    def call(
        self,
        certified: Certified | None,
        method: str,
        metadata: dict[str, str | bytes],
        deadline: Deadline | None,
        source: str,
    ) -> context.CallContext:
        """Return the context of a call that arrived.

        Args:
            certified: The verified peer; None for a listener without certificates.
            method: ``/package.Service/Method``.
            metadata: Of the request; its request id is taken if it is well formed.
            deadline: Until when the caller waits.
            source: The host that the connection comes from; empty if it has gone.
        """
        return context.CallContext(
            certified=certified,
            request_id=request_id_from(metadata.get(REQUEST_ID_KEY), self._randomness),
            method=method,
            metadata=metadata,
            deadline=deadline,
            source=source,
        )

    async def serve(
        self, call: context.CallContext, method: Callable[[], Awaitable[None]], end: CallEnd
    ) -> None:
        """Run ``method`` in the context of ``call``, in a task of its own; what it raises ends the call.

        A service's method is ``service.__mapping__()[call.method].func`` of the stream of messages:
        something with ``recv_message``, ``send_message`` and asynchronous iteration.  The deadline
        is enforced by the caller, by cancelling.

        Raises:
            GRPCError: The method chose a status itself.
        """
        context.enter(call)
        structlog.contextvars.bind_contextvars(request_id=call.request_id)  # ends with the task
        await self._serve(call, method, end)

    async def _serve(
        self, call: context.CallContext, method: Callable[[], Awaitable[None]], end: CallEnd
    ) -> None:
        self._active += 1
        self._idle.clear()
        started_s = asyncio.get_running_loop().time()
        code = "cancelled"
        try:
            self._admit(call)
            await method()
            code = "ok"
        except CollectiveError as error:
            code = error.code
            if isinstance(error, InternalError):
                self._log.exception("internal error", method=call.method)
            if self._refusals is not None:
                self._refusals.call(call, error)
            await end.fail(error, call.request_id)
        except (GRPCError, H2ProtocolError):
            code = "protocol"
            raise
        except Exception:  # noqa: BLE001 - the edge of a task
            code = InternalError.code
            if end.has_left():
                self._log.debug("caller left", method=call.method, exc_info=True)
                return
            self._log.exception("unexpected error", method=call.method)
            await end.fail(InternalError("Unexpected."), call.request_id)
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
                raise ShutOutError
            if reason is not None:
                raise PermissionDeniedError(
                    f"The certificate of this connection is not accepted any more: {reason}."
                )
        service = call.method.split("/")[1]
        if self._service_roles and service not in FOR_EVERYBODY:
            call.require_role(*self._service_roles.get(service, ()))
