"""From a connection's certificate to a :class:`Call`, or a refusal.

Every method of a service begins here: who calls, what for, and in the end how it went.  A call's peer
is what its certificate attests.  Only the member's own users and its coordinator certificate (the
operator) may use the client services; nodes may use only the node registry.  What a call is about is
said to its context, for the refusal log.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from types import TracebackType

from collective.core.clock import Clock
from collective.core.errors import CollectiveError, PermissionDeniedError
from collective.core.ids import Domain, NodeId, SpiffeId
from collective.member.metrics import MemberMetrics
from collective.member.trust.certificates_seen import CertificatesSeen
from collective.model.calls import Call
from collective.pki.certificates import Certified
from collective.roles.coordinator.refusal_log import operation_of
from collective.rpc import context


class _Frame(AbstractAsyncContextManager[Call]):
    """One call from its admission to its end.  A class: a generator costs each call 20 us more."""

    def __init__(
        self,
        enter: Callable[[], Awaitable[Call]],
        ended: Callable[[str, float], None],
        clock: Clock,
    ) -> None:
        self._enter = enter
        self._ended = ended
        self._clock = clock
        self._began_s = clock.monotonic_s()

    async def __aenter__(self) -> Call:
        try:
            return await self._enter()
        except BaseException as error:
            self._end(error)
            raise

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._end(error)

    def _end(self, error: BaseException | None) -> None:
        """Tell how the call went: ``ok``, an error's code, ``internal`` or ``cancelled``."""
        result = "cancelled"
        if error is None:
            result = "ok"
        elif isinstance(error, CollectiveError):
            result = error.code
        elif isinstance(error, Exception):
            result = "internal"
        self._ended(result, self._clock.monotonic_s() - self._began_s)


class Admission:
    """Lets calls in, each in a frame that measures it."""

    def __init__(
        self,
        domain: Domain,
        metrics: MemberMetrics,
        clock: Clock,
        *,
        seen: Callable[[SpiffeId, bytes], None] | None = None,
        certificates_seen: CertificatesSeen | None = None,
    ) -> None:
        """Serve the member of ``domain``.

        ``seen`` is told of each caller and the digest of the CA that signed their certificate;
        ``certificates_seen`` may refuse them.
        """
        self._certificates_seen = certificates_seen
        self._seen = seen
        self._domain = domain
        self._metrics = metrics
        self._clock = clock

    def call(self, operation: str, target: str) -> AbstractAsyncContextManager[Call]:
        """Frame a call of a user or the operator; PermissionDeniedError for anybody else.

        Args:
            operation: one word for metrics, log and audit.
            target: what it is about, as the caller named it.
        """
        current = context.current()
        current.about(operation, target)
        ended = functools.partial(self._metrics.operation, operation)
        return _Frame(functools.partial(self._enter, current), ended, self._clock)

    async def _enter(self, current: context.CallContext) -> Call:
        """Return the call of ``current`` once its caller is known."""
        call = self._call_of(current)
        if self._seen is not None:
            self._seen(call.principal, current.peer.authority_digest)
        if self._certificates_seen is not None:
            await self._certificates_seen.note(current.peer)
        return call

    def _call_of(self, current: context.CallContext) -> Call:
        """Return the call that the connection's certificate stands for."""
        peer = current.peer.identity
        if peer.trust_domain != self._domain or peer.role not in {"user", "coordinator"}:
            raise PermissionDeniedError(
                f"A certificate of role {peer.role} may not do this; use a user's."
            )
        return Call(
            principal=peer,
            is_operator=peer == SpiffeId.coordinator(self._domain),
            request_id=current.request_id,
            key_digest=current.peer.key_digest,
        )

    async def own(self) -> Certified:
        """Return the caller of the current call, of any role of this member, once it is known.

        Raises PermissionDeniedError for another member's, and as `CertificatesSeen.note`.
        """
        peer = context.current().peer
        if peer.identity.trust_domain != self._domain:
            raise PermissionDeniedError("This is for certificates of this member only.")
        if self._certificates_seen is not None:
            await self._certificates_seen.note(peer)
        return peer

    def moved(self, direction: str, size_bytes: int) -> None:
        """Count file bytes that pass through the coordinator, ``in`` or ``out``."""
        self._metrics.moved.labels(direction).inc(size_bytes)

    def node(self) -> tuple[NodeId, Certified]:
        """Return the node that makes the current call; PermissionDeniedError for anybody else."""
        current = context.current()
        current.about("node_registry", operation_of(current.method))
        peer = current.peer
        if peer.identity.trust_domain != self._domain or peer.identity.role != "node":
            raise PermissionDeniedError("Only nodes of this member may use the node registry.")
        return peer.identity.node_id, peer
