"""Every refusal at the coordinator passes here, once: counted, logged, noted for the audit.

The listeners tell of each call that ended with an error, wherever that was decided: the listener's own
rule who may call what, a frame of :mod:`~.faces.grpc.admission`, a service, the catalogue or joining.  At the
bootstrap, where callers prove who they are by the call itself, a code or certificate that is
refused is a refusal whatever its kind of error.  Where chunks are passed on, a ticket that is forged
or somebody else's is one; a ticket that is only too old is not.

All are counted; lines in the log have a rate, for each peer as a whole, each person of the own member, and
all who prove nothing together (:mod:`collective.core.log_rate`).
"""

from __future__ import annotations

import re
from typing import Final

import structlog

from collective.catalog.interface import Audit
from collective.core.errors import (
    BusyError,
    CollectiveError,
    ConflictError,
    PermissionDeniedError,
    RejectedError,
)
from collective.core.ids import Domain, SpiffeId
from collective.core.log_rate import LogRate
from collective.core.world import World
from collective.federation.links.tallies import PeerTallies
from collective.member.metrics import MemberMetrics
from collective.model.audit import Refusal
from collective.pki.trust import RevokedCertificateError, UntrustedError
from collective.rpc.headers import request_id_from
from collective.rpc.server.context import CallContext

UNKNOWN: Final = "unknown"
"""The actor of a connection that proved nothing."""
JOINER: Final = "joiner"
"""The actor of a call at the bootstrap, who proves by the call itself who they are."""
CONNECT: Final = "connect"
RELAY: Final = "relay"
BOOTSTRAP: Final = "collective.v1.bootstrap.Bootstrap"
_REFUSED_AT_BOOTSTRAP: Final = (ConflictError, RejectedError, BusyError)
_INNER_CAPITAL: Final = re.compile(r"(?<!^)(?=[A-Z])")


class RefusalLog:
    """Counts, logs and notes refusals of one member's coordinator."""

    def __init__(
        self, audit: Audit, metrics: MemberMetrics, tallies: PeerTallies, own: Domain, world: World
    ) -> None:
        """Note for the ``audit`` of the member ``own``; what peers are refused goes into ``tallies`` too."""
        self._audit = audit
        self._metrics = metrics
        self.tallies = tallies
        """Of peers."""
        self._own = own
        self._clock = world.clock
        self._randomness = world.randomness
        self._lines = LogRate()
        self._log = structlog.get_logger("coordinator.refusals")

    def call(self, call: CallContext, error: CollectiveError) -> None:
        """Take a call that ended with ``error``, if that is a refusal."""
        service, method = call.method.split("/")[1:3]
        if not isinstance(error, PermissionDeniedError) and not (
            service == BOOTSTRAP and isinstance(error, _REFUSED_AT_BOOTSTRAP)
        ):
            return
        operation = call.subject.operation or operation_of(method)
        action, target = operation, call.subject.target
        if isinstance(error, PermissionDeniedError) and error.concerns is not None:
            action, target = error.concerns
        actor = JOINER if call.certified is None else str(call.certified.identity)
        accountable = actor
        if call.subject.principal:
            actor = f"{call.subject.principal}, by {actor}"
        refusal = Refusal(
            actor, action, target, error.message, call.source, call.request_id, accountable
        )
        self._take(operation, refusal, None if call.certified is None else call.certified.identity)

    def connection(self, source: str, error: CollectiveError) -> None:
        """Take a connection that was not let in, if that is a refusal."""
        if isinstance(error, RejectedError | PermissionDeniedError):
            who, actor, why = None, UNKNOWN, error.message
            if isinstance(error, UntrustedError):
                why = f"the certificate does not count: {error.why} (step {error.step})"
            if isinstance(error, RevokedCertificateError):  # they have proved who they are
                who, actor = error.identity, str(error.identity)
            self._take(CONNECT, Refusal(actor, CONNECT, "", why, source), who)

    def ticket(self, peer: SpiffeId, source: str, error: CollectiveError, request_id: str) -> None:
        """Take a ticket that was refused where chunks are passed on."""
        actor, traced = str(peer), request_id_from(request_id, self._randomness)
        self._take(RELAY, Refusal(actor, RELAY, "", error.message, source, traced), peer)

    def _take(self, operation: str, refusal: Refusal, who: SpiffeId | None) -> None:
        """Take a refusal of ``who`` proved to be there; None: nobody did."""
        self._metrics.denials.labels(operation).inc()
        self._audit.note_denial(refusal)
        if who is not None and who.trust_domain != self._own:
            self.tallies.refused(who.trust_domain)
        line = self._lines.take(self._source_of(who), self._clock.monotonic_s())
        if line is None:
            return
        self._log.warning(
            "denied",
            operation=operation,
            action=refusal.action,
            target=refusal.target[:512],
            principal=refusal.actor,
            why=refusal.why,
            source=refusal.source,
            **line,
        )

    def _source_of(self, who: SpiffeId | None) -> str:
        """Return whose lines are counted together."""
        if who is None:
            return UNKNOWN
        return str(who) if who.trust_domain == self._own else who.trust_domain


def operation_of(method: str) -> str:
    """Return ``begin_join`` for ``BeginJoin``."""
    return _INNER_CAPITAL.sub("_", method).lower()
