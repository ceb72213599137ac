"""What a service method knows about the call it serves.

A call's context is set once, in the task that serves it, before the method runs; tasks started
from there inherit it, and its request id (:mod:`~collective.rpc.headers`) goes with their own calls.
"""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Protocol

from collective.core.errors import InternalError, PermissionDeniedError
from collective.core.ids import SpiffeRole
from collective.pki.certificates import Certified
from collective.rpc import headers


class Deadline(Protocol):
    """Until when the caller of a call waits; grpclib's is one."""

    def time_remaining(self) -> float:
        """Return the seconds left, at least 0."""
        ...


@dataclass(slots=True)
class Subject:
    """What a call is about, as far as its method has said; for logs and audit."""

    operation: str = ""
    target: str = ""
    principal: str = ""
    """For whom the caller's member calls; empty where callers call for themselves."""


@dataclass(frozen=True, slots=True)
class CallContext:
    """One call as it arrived."""

    certified: Certified | None
    """The caller, verified; None on the bootstrap listener only."""
    request_id: str
    method: str
    """``/package.Service/Method``."""
    metadata: dict[str, str | bytes]
    """Metadata of the request; the last value where a key stands twice."""
    deadline: Deadline | None = None
    source: str = ""
    """The host that the connection comes from."""
    subject: Subject = field(default_factory=Subject)

    def about(self, operation: str, target: str) -> None:
        """Say what the call is about, before it is decided whether it is allowed."""
        self.subject.operation, self.subject.target = operation, target

    @property
    def peer(self) -> Certified:
        """The caller; raises :class:`PermissionDeniedError` if that is nobody."""
        if self.certified is None:
            raise PermissionDeniedError("This call needs a certificate; redeem an invite first.")
        return self.certified

    def remaining_s(self, default_s: float) -> float:
        """Return the seconds that the caller still waits, at most ``default_s``."""
        if self.deadline is None:
            return default_s
        return min(default_s, self.deadline.time_remaining())

    def require_role(self, *roles: SpiffeRole) -> Certified:
        """Return the peer if it has one of ``roles``, else raise :class:`PermissionDeniedError`."""
        if self.peer.identity.role not in roles:
            raise PermissionDeniedError(f"A {self.peer.identity.role} may not call {self.method}.")
        return self.peer


_current: ContextVar[CallContext | None] = ContextVar("collective_call", default=None)


def current() -> CallContext:
    """Return the context of the call being served; :class:`InternalError` outside of one."""
    context = _current.get()
    if context is None:
        raise InternalError("There is no call here to take the context from.")
    return context


def remaining_s(default_s: float) -> float:
    """Return the seconds that the caller of the call being served waits; ``default_s`` outside of one."""
    context = _current.get()
    return default_s if context is None else context.remaining_s(default_s)


def enter(context: CallContext) -> None:
    """Make ``context`` the one of the running task (the server does; tests may)."""
    _current.set(context)
    headers.enter(context.request_id)
