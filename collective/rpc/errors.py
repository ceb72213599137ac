"""Our errors as gRPC status, and back: the one place that knows both.

A status carries the family for clients of other languages; the trailing metadata
``collective-error-bin`` carries an ``ErrorDetail``, from which our own client gets the same class
back.  Unexpected exceptions become :class:`InternalError` with the request id and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from grpclib.const import Status
from grpclib.exceptions import GRPCError, ProtocolError, StreamTerminatedError
from h2.exceptions import ProtocolError as H2ProtocolError

from collective.core import errors as e
from collective.rpc.gen.collective.v1 import ErrorDetail
from collective.rpc.wire.decoding import parse_message

ERROR_KEY: Final = "collective-error-bin"
_MESSAGE_MAX_CHARS: Final = 1000

_STATUS: Final[tuple[tuple[type[e.CollectiveError], Status], ...]] = (
    (e.UsageError, Status.INVALID_ARGUMENT),
    (e.NotFoundError, Status.NOT_FOUND),
    (e.PermissionDeniedError, Status.PERMISSION_DENIED),
    (e.ConflictError, Status.FAILED_PRECONDITION),
    (e.NotJoinedError, Status.UNAUTHENTICATED),
    (e.CallerError, Status.INVALID_ARGUMENT),
    (e.UnreachableError, Status.UNAVAILABLE),
    (e.RejectedError, Status.ABORTED),
    (e.BusyError, Status.RESOURCE_EXHAUSTED),
    (e.PeerError, Status.UNAVAILABLE),
    (e.NotEnoughCopiesError, Status.UNAVAILABLE),
    (e.NoSpaceError, Status.RESOURCE_EXHAUSTED),
    (e.OperatorError, Status.FAILED_PRECONDITION),
    (e.CorruptionError, Status.DATA_LOSS),
    (e.InternalError, Status.INTERNAL),
    (e.CollectiveError, Status.UNKNOWN),
)

_CLASS: Final[Mapping[Status, type[e.CollectiveError]]] = {
    Status.INVALID_ARGUMENT: e.UsageError,
    Status.OUT_OF_RANGE: e.UsageError,
    Status.NOT_FOUND: e.NotFoundError,
    Status.PERMISSION_DENIED: e.PermissionDeniedError,
    Status.UNAUTHENTICATED: e.PermissionDeniedError,
    Status.ALREADY_EXISTS: e.ConflictError,
    Status.FAILED_PRECONDITION: e.ConflictError,
    Status.ABORTED: e.ConflictError,
    Status.RESOURCE_EXHAUSTED: e.BusyError,
    Status.UNAVAILABLE: e.UnreachableError,
    Status.DEADLINE_EXCEEDED: e.UnreachableError,
    Status.CANCELLED: e.UnreachableError,
    Status.DATA_LOSS: e.CorruptionError,
    Status.UNIMPLEMENTED: e.RejectedError,
}

_CONNECTION_ERRORS: Final = (
    StreamTerminatedError,
    ConnectionError,
    TimeoutError,
    H2ProtocolError,
    ProtocolError,
    OSError,
)


def to_status(error: e.CollectiveError) -> Status:
    """Return the gRPC status that stands for ``error``."""
    return next(status for cls, status in _STATUS if isinstance(error, cls))


def to_detail(error: e.CollectiveError, request_id: str = "") -> ErrorDetail:
    """Return the wire form of ``error``; an internal error's own words stay here."""
    message = internal_text(request_id) if isinstance(error, e.InternalError) else error.message
    return ErrorDetail(
        code=error.code,
        message=message[:_MESSAGE_MAX_CHARS],
        retryable=error.retryable,
        request_id=request_id,
    )


def to_metadata(error: e.CollectiveError, request_id: str = "") -> dict[str, str | bytes]:
    """Return the trailing metadata that carries ``error``."""
    return {ERROR_KEY: bytes(to_detail(error, request_id))}


def internal_text(request_id: str) -> str:
    """Return the sentence that a peer gets for a defect of ours."""
    return f"The server met an internal error; its log has the details under request {request_id}."


def from_detail(detail: ErrorDetail) -> e.CollectiveError:
    """Return the error that ``detail`` describes, of the class it was raised as."""
    cls = e.error_classes().get(detail.code, e.CollectiveError)
    return cls(detail.message[:_MESSAGE_MAX_CHARS] or "The server gave no reason.")


def from_metadata(metadata: Mapping[str, str | bytes] | None) -> e.CollectiveError | None:
    """Return the error in trailing ``metadata``, or None where there is none that can be read."""
    raw = metadata.get(ERROR_KEY) if metadata is not None else None
    if not isinstance(raw, bytes):
        return None
    try:
        return from_detail(parse_message(ErrorDetail, raw))
    except (e.RejectedError, TypeError):  # a field of another wire type is left as it came
        return None


def from_grpc(
    error: BaseException, metadata: Mapping[str, str | bytes] | None = None, *, peer: str = ""
) -> e.CollectiveError:
    """Return what an exception of grpclib, asyncio or the socket means to our caller.

    Args:
        error: What was raised.
        metadata: The call's trailing metadata, if it came.
        peer: Who was called, for the message.
    """
    who = peer or "the server"
    if isinstance(error, e.CollectiveError):
        return error
    if isinstance(error, GRPCError):
        return from_metadata(metadata) or _from_status(error, who)
    if isinstance(error, TimeoutError):
        return e.UnreachableError(f"No answer from {who} in time; check that it runs.")
    if isinstance(error, _CONNECTION_ERRORS):
        reason = (str(error).rstrip(".") or type(error).__name__).replace(
            "Connection", "connection"
        )
        return e.UnreachableError(
            f"The connection to {who} failed: {reason}; check that it runs and that your"
            " certificate was not revoked."
        )
    return e.InternalError(f"Unexpected {type(error).__name__} in a call to {who}.")


def _from_status(error: GRPCError, who: str) -> e.CollectiveError:
    """Return the error of a call that ended with a status and none of our own metadata."""
    if error.status is Status.UNIMPLEMENTED:
        return e.RejectedError(
            f"{who} does not serve this; give the coordinator's address, or update one side."
        )
    cls = _CLASS.get(error.status, e.InternalError)
    return cls(error.message or f"The call failed at {who} with {error.status.name}.")


def is_expected(error: BaseException) -> bool:
    """Whether :func:`from_grpc` knows ``error`` (anything else is a defect and stays as it is)."""
    return isinstance(error, (e.CollectiveError, GRPCError, *_CONNECTION_ERRORS))
