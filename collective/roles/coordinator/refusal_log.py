"""Every refusal at the coordinator passes here, once: counted, logged, noted for the audit.

The listeners tell of each call that ended with an error, wherever that was decided: the listener's own
rule who may call what, a frame of :mod:`~.faces.grpc.admission`, a service, the catalogue or joining.  At the
bootstrap, where callers prove who they are by the call itself, a code or certificate that is
refused is a refusal whatever its kind of error.  Where chunks are passed on, a ticket that is forged
or somebody else's is one; a ticket that is only too old is not.
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
from collective.core.ids import SpiffeId
from collective.core.randomness import Randomness
from collective.member.metrics import MemberMetrics
from collective.model.audit import Refusal
from collective.pki.trust import RevokedCertificateError, UntrustedError
from collective.rpc.context import CallContext
from collective.rpc.headers import request_id_from

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

    def __init__(self, audit: Audit, metrics: MemberMetrics, randomness: Randomness) -> None:
        """Note for ``audit``."""
        self._audit = audit
        self._metrics = metrics
        self._randomness = randomness
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
        self._take(
            operation,
            Refusal(
                actor, action, target, error.message, call.source, call.request_id, accountable
            ),
        )

    def connection(self, source: str, error: CollectiveError) -> None:
        """Take a connection that was not let in, if that is a refusal."""
        if isinstance(error, RejectedError | PermissionDeniedError):
            actor, why = UNKNOWN, error.message
            if isinstance(error, UntrustedError):
                why = f"the certificate does not count: {error.why} (step {error.step})"
            if isinstance(error, RevokedCertificateError):  # they have proved who they are
                actor = str(error.identity)
            self._take(CONNECT, Refusal(actor, CONNECT, "", why, source))

    def ticket(self, peer: SpiffeId, source: str, error: CollectiveError, request_id: str) -> None:
        """Take a ticket that was refused where chunks are passed on."""
        actor, traced = str(peer), request_id_from(request_id, self._randomness)
        self._take(RELAY, Refusal(actor, RELAY, "", error.message, source, traced))

    def _take(self, operation: str, refusal: Refusal) -> None:
        self._metrics.denials.labels(operation).inc()
        self._log.warning(
            "denied",
            operation=operation,
            action=refusal.action,
            target=refusal.target[:512],
            principal=refusal.actor,
            why=refusal.why,
            source=refusal.source,
        )
        self._audit.note_denial(refusal)


def operation_of(method: str) -> str:
    """Return ``begin_join`` for ``BeginJoin``."""
    return _INNER_CAPITAL.sub("_", method).lower()
