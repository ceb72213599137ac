"""From a connection's certificate to a :class:`Call`, or a refusal.

Every method of a service begins here: who calls, what for, and in the end how it went.  A call's peer
is what its certificate attests.  Only the member's own users and its coordinator certificate (the
operator) may use the client services; nodes may use only the node registry.  The coordinator of a peer
calls for that member's own people, whom it names, and only what is about files; what it names counts
because its connection attests it, and is never passed on.  What a call is about is said to its context,
for the refusal log.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Final

from collective.core.clock import Clock
from collective.core.errors import CollectiveError, PermissionDeniedError, UsageError
from collective.core.ids import Domain, NodeId, SpiffeId
from collective.federation.links.peer_call_limits import PeerCallLimits
from collective.member.metrics import MemberMetrics
from collective.member.trust.certificates_seen import CertificatesSeen
from collective.model.calls import Call
from collective.pki.certificates import Certified
from collective.roles.coordinator.refusal_log import operation_of
from collective.rpc.headers import PRINCIPAL_KEY
from collective.rpc.server import context

_PRINCIPAL_MAX_CHARS: Final = 512
_FORWARDED: Final = frozenset(
    ("collective.v1.files.Files", "collective.v1.uploads.Uploads", "collective.v1.reads.Reads")
)
"""Services that peers may call for their people,"""
_FORWARDED_METHODS: Final = frozenset(
    f"/collective.v1.people.People/{name}" for name in ("AddGrant", "ListGrants", "RemoveGrant")
)
"""and single methods of others."""
_WAITING: Final = frozenset(("/collective.v1.files.Files/Changes",))
"""Methods that mostly wait, and have a bound of their own."""


class _Frame(AbstractAsyncContextManager[Call]):
    """One call from its admission to its end.  A class: a generator costs each call 20 us more."""

    def __init__(
        self,
        enter: Callable[[], Awaitable[Call]],
        leave: Callable[[Call, str], None],
        ended: Callable[[str, float], None],
        clock: Clock,
    ) -> None:
        self._enter = enter
        self._leave = leave
        self._call: Call | None = None
        self._ended = ended
        self._clock = clock
        self._began_s = clock.monotonic_s()

    async def __aenter__(self) -> Call:
        try:
            call = self._call = await self._enter()
        except BaseException as error:
            self._end(error)
            raise
        return call

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
        if self._call is not None:
            self._leave(self._call, result)
        self._ended(result, self._clock.monotonic_s() - self._began_s)


class Admission:
    """Lets calls in, each in a frame that measures it."""

    def __init__(
        self,
        domain: Domain,
        metrics: MemberMetrics,
        clock: Clock,
        call_limits: PeerCallLimits,
        *,
        seen: Callable[[SpiffeId, bytes], None] | None = None,
        certificates_seen: CertificatesSeen | None = None,
    ) -> None:
        """Serve the member of ``domain``; ``call_limits`` let its peers in.

        ``seen`` is told of each caller and the digest of the CA that signed their certificate;
        ``certificates_seen`` may refuse them.
        """
        self._certificates_seen = certificates_seen
        self._seen = seen
        self._domain = domain
        self._metrics = metrics
        self._clock = clock
        self._call_limits = call_limits

    def call(self, operation: str, target: str) -> AbstractAsyncContextManager[Call]:
        """Frame a call of a user or the operator, or of a peer for its people.

        PermissionDeniedError for anybody else; BusyError where a peer is beyond its bounds.

        Args:
            operation: one word for metrics, log and audit.
            target: what it is about, as the caller named it.
        """
        current = context.current()
        current.about(operation, target)
        ended = functools.partial(self._metrics.operation, operation)
        enter = functools.partial(self._enter, current)
        return _Frame(enter, self._leave, ended, self._clock)

    async def _enter(self, current: context.CallContext) -> Call:
        """Return the call of ``current`` once its caller is known."""
        if current.peer.identity.trust_domain != self._domain:
            return self._forwarded(current)
        call = self._call_of(current)
        if self._seen is not None:
            self._seen(call.principal, current.peer.authority_digest)
        if self._certificates_seen is not None:
            await self._certificates_seen.note(current.peer)
        return call

    def _call_of(self, current: context.CallContext) -> Call:
        """Return the call that the connection's certificate stands for."""
        peer = current.peer.identity
        if peer.role not in {"user", "coordinator"}:
            raise PermissionDeniedError(
                f"A certificate of role {peer.role} may not do this; use a user's."
            )
        return Call(
            principal=peer,
            is_operator=peer == SpiffeId.coordinator(self._domain),
            request_id=current.request_id,
            key_digest=current.peer.key_digest,
        )

    def _forwarded(self, current: context.CallContext) -> Call:
        """Return the call that a peer's coordinator makes for one of its own people."""
        peer = current.peer.identity
        if peer.role != "coordinator":
            raise PermissionDeniedError(
                f"This member knows people of {peer.trust_domain} through their own coordinator only."
            )
        told = current.metadata.get(PRINCIPAL_KEY)
        named = told if isinstance(told, str) else ""
        current.subject.principal = named[:_PRINCIPAL_MAX_CHARS]
        waits = current.method in _WAITING
        self._call_limits.enter(
            peer.trust_domain, waits=waits
        )  # also what is refused below costs something
        try:
            principal = self._principal(current, named)
        except PermissionDeniedError as error:
            self._call_limits.leave(peer.trust_domain, error.code, waits=waits)
            raise
        return Call(
            principal=principal,
            is_operator=False,
            request_id=current.request_id,
            carrier=peer,
            via=peer.trust_domain,
        )

    def _principal(self, current: context.CallContext, named: str) -> SpiffeId:
        """Return for whom a peer's coordinator makes a call, which names them so."""
        peer = current.peer.identity
        if not named:
            raise PermissionDeniedError("A peer calls for one of its people; it names nobody.")
        try:
            principal = SpiffeId.parse(named)
        except UsageError as error:
            raise PermissionDeniedError("A peer names nobody that there can be.") from error
        if principal.trust_domain != peer.trust_domain or principal.role != "user":
            raise PermissionDeniedError(
                f"{peer.trust_domain} speaks for its own people only, not for {principal}."
            )
        service = current.method.split("/")[1]
        if service not in _FORWARDED and current.method not in _FORWARDED_METHODS:
            raise PermissionDeniedError(f"Peers may not call {current.method}.")
        return principal

    def _leave(self, call: Call, result: str) -> None:
        if call.via is not None:
            waits = context.current().method in _WAITING
            self._call_limits.leave(call.via, result, waits=waits)

    def peer(self, operation: str) -> Domain:
        """Return the peer whose coordinator makes the current exchange.

        PermissionDeniedError for anybody else; BusyError where it comes too often.
        """
        current = context.current()
        peer = current.peer.identity
        current.about(operation, peer.trust_domain)
        if peer.trust_domain == self._domain or peer.role != "coordinator":
            raise PermissionDeniedError("Only coordinators of peers may call this.")
        self._call_limits.exchange(peer.trust_domain)
        return peer.trust_domain

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
