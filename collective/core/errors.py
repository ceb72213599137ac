"""Every error the product raises on purpose, in families by who must act.

A class carries the process exit code of ``docs/`` (and the spec), a stable ``code`` used on the
wire and in logs, and whether trying again unchanged can help.  The message is one sentence for a
person and says what to do next.  ``rpc/errors.py`` maps these to gRPC status, nowhere else.
"""

from __future__ import annotations

from enum import IntEnum
from typing import ClassVar


class ExitCode(IntEnum):
    """Exit codes of the command line, as the spec fixes them."""

    DONE = 0
    FAILURE = 1
    USAGE = 2
    NOT_FOUND = 3
    PERMISSION_DENIED = 4
    NOT_REACHABLE = 5
    NOT_ENOUGH = 6
    CORRUPT = 7
    CONFLICT = 8
    PARTIAL = 9


class CollectiveError(Exception):
    """Root of all expected errors."""

    code: ClassVar[str] = "failure"
    exit_code: ClassVar[ExitCode] = ExitCode.FAILURE
    retryable: ClassVar[bool] = False

    def __init__(self, message: str) -> None:
        """Keep ``message``: one sentence, shown to the user as it stands."""
        super().__init__(message)
        self.message = message


# --- the caller must act -------------------------------------------------------------------------


class CallerError(CollectiveError):
    """The request itself is wrong or not allowed; the same request will fail again."""


class UsageError(CallerError):
    """An argument, path, size or setting is malformed."""

    code = "usage"
    exit_code = ExitCode.USAGE


class NotFoundError(CallerError):
    """What was named does not exist (and the caller may know that)."""

    code = "not_found"
    exit_code = ExitCode.NOT_FOUND


class PermissionDeniedError(CallerError):
    """The caller's grants do not cover this."""

    code = "permission_denied"
    exit_code = ExitCode.PERMISSION_DENIED
    concerns: tuple[str, str] | None = None
    """Act and target, where the place of the refusal knows them better than the call's edge."""


class ShutOutError(PermissionDeniedError):
    """The caller's certificate was revoked: nothing that it asks for will be done."""

    code = "certificate_revoked"
    exit_code = ExitCode.CONFLICT

    def __init__(
        self, message: str = "Your certificate was revoked; ask the operator for a new invitation."
    ) -> None:
        """Keep ``message``, by default what every server says."""
        super().__init__(message)


class ConflictError(CallerError):
    """The state of things forbids it: exists, not empty, revoked, used up, version mismatch."""

    code = "conflict"
    exit_code = ExitCode.CONFLICT


class PartialError(CallerError):
    """Something of a tree was left out; the rest was done, and each thing was named before."""

    code = "partial"
    exit_code = ExitCode.PARTIAL


class NameTakenError(ConflictError):
    """An invite cannot give this identity, for a reason that its holder is not told."""


class NotJoinedError(CallerError):
    """No certificate, no collective or no address to talk to is known on this client."""

    code = "not_joined"
    exit_code = ExitCode.NOT_REACHABLE


# --- a peer (another process) must act -----------------------------------------------------------


class PeerError(CollectiveError):
    """Another process did not do its part."""


class UnreachableError(PeerError):
    """No connection, or no answer within the deadline."""

    code = "unreachable"
    exit_code = ExitCode.NOT_REACHABLE
    retryable = True


class PeeringEndedError(UnreachableError):
    """Another member is no peer any more: nothing more comes of what was under way with it."""

    retryable = False


class AwayError(UnreachableError):
    """Another member is known to be away: asking again at once is of no use."""

    code = "away"
    retryable = False


class RejectedError(PeerError):
    """The other side sent bytes that break the protocol, or a certificate that does not count."""

    code = "rejected"
    exit_code = ExitCode.CORRUPT


class OtherAuthorityError(RejectedError):
    """The certificate of who answered is of a CA that is not known here."""


class WrongTimeError(RejectedError):
    """The certificate of who answered has expired or is not valid yet, by this machine's clock."""


class BusyError(PeerError):
    """The other side is at a limit for the moment (rate, memory, connections)."""

    code = "busy"
    retryable = True


# --- the operator must act -----------------------------------------------------------------------


class OperatorError(CollectiveError):
    """The installation needs its operator: settings, disks, certificates."""


class NotEnoughCopiesError(OperatorError):
    """Too few healthy nodes or copies to keep the promise of durability, or to read."""

    code = "not_enough_copies"
    exit_code = ExitCode.NOT_ENOUGH
    retryable = True


class NoSpaceError(OperatorError):
    """A disk, a capacity or a quota is exhausted."""

    code = "no_space"
    exit_code = ExitCode.NOT_ENOUGH


class SettingsError(OperatorError):
    """``serve`` cannot start with these settings or this data dir."""

    code = "settings"
    exit_code = ExitCode.USAGE


class CannotListenError(OperatorError):
    """An address cannot be listened on now: it is taken, or this machine does not have it yet.

    ``serve`` ends with another exit code than for settings, so that its service manager starts it
    again: a VPN may come up later, and whoever has the port may end.
    """

    code = "cannot_listen"


class DataDirError(OperatorError):
    """The data dir is absent, foreign, locked by another process, or of a newer version."""

    code = "data_dir"
    exit_code = ExitCode.FAILURE


# --- data is damaged -----------------------------------------------------------------------------


class CorruptionError(CollectiveError):
    """Stored bytes do not match what they are named by."""

    code = "corrupt"
    exit_code = ExitCode.CORRUPT


# --- we must act ---------------------------------------------------------------------------------


class InternalError(CollectiveError):
    """A defect of ours; the log has the details under the request id."""

    code = "internal"
    exit_code = ExitCode.FAILURE


def error_classes() -> dict[str, type[CollectiveError]]:
    """Return every concrete class by its wire ``code`` (the first to use a code wins)."""
    found: dict[str, type[CollectiveError]] = {}
    pending: list[type[CollectiveError]] = [CollectiveError]
    while pending:
        cls = pending.pop(0)
        found.setdefault(cls.code, cls)
        pending.extend(cls.__subclasses__())
    return found


def first_error(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the one exception of a task group that its caller should see: a defect before any other."""
    leaves: list[BaseException] = []
    pending: list[BaseException] = [group]
    while pending:
        error = pending.pop(0)
        if isinstance(error, BaseExceptionGroup):
            pending.extend(error.exceptions)
        else:
            leaves.append(error)
    unexpected = [error for error in leaves if not isinstance(error, CollectiveError)]
    return unexpected[0] if unexpected else leaves[0]
