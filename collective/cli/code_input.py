"""The code of an invitation as it is given: as an argument, on stdin or in a file, pasted in any way."""

from __future__ import annotations

import errno
import sys
from typing import TYPE_CHECKING, Annotated, Final

import typer

from collective.cli.terminal.passphrases import unseen
from collective.core.disk import Disk
from collective.core.errors import ConflictError, UsageError
from collective.core.limits import JOIN_CODE_TEXT_MAX

if TYPE_CHECKING:
    from collective.pki.invite_code import InviteCode

FROM_STDIN: Final = "-"

CodeArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="CODE",
        help="The code or its join URL, as it was copied; '-' reads it from stdin, which keeps it, a secret"
        " until it is used, out of 'ps' and the shell's history.",
    ),
]
CodeFileOption = Annotated[
    str | None,
    typer.Option(
        "--file", metavar="FILE", help="Read the code from FILE: a whole message will do."
    ),
]


_ADMITTED: Final = {"user": "a person", "device": "a person", "node": "a node", "peer": "a member"}
_USED_BY: Final = {
    "user": "collective join CODE --as person",
    "device": "collective join CODE --as person",
    "node": "collective join CODE --as node",
    "peer": "collective peer accept CODE",
}
_MADE_BY: Final = {
    "a person": "collective invite generate --grant PATH:RIGHT",
    "a node": "collective invite generate --for node",
    "a member": "collective peer invite DOMAIN",
}


def admitted(code: InviteCode) -> str | None:
    """Return whom a code is for, as it says itself: a person, a node or a member; None: it does not."""
    return None if code.kind is None else _ADMITTED[code.kind.value]


def require_for(code: InviteCode, who: str) -> None:
    """Return if a code may be for ``who``; what it does not say, its server will.

    Raises:
        ConflictError: It is for somebody else, which is what its server would say, too; says how it is used,
            and how the other kind is made.
    """
    if code.kind is not None and admitted(code) != who:
        raise ConflictError(
            f"This code is for {admitted(code)}, not for {who}; use it with '{_USED_BY[code.kind.value]}',"
            f" or have its member make another: {_MADE_BY[who]}"
        )


def code_given(words: list[str] | None, file: str | None, disk: Disk) -> InviteCode:
    """Return the code that was given in one of the three ways.

    Only a person at a terminal is asked for it.

    Raises:
        UsageError: None was given, or it is mistyped; says what is wrong.
    """
    from collective.client.identity.redemption import parse_invite  # noqa: PLC0415 - heavy

    if words and file is not None:
        raise UsageError("Give the code or --file, not both.")
    if file is not None:
        return parse_invite(_from_file(file, disk))
    if words and words != [FROM_STDIN]:
        return parse_invite(" ".join(words))
    if not words and not sys.stdin.isatty():
        raise UsageError("No code was given; give CODE, '-' for stdin, or --file FILE.")
    return parse_invite(_from_stdin())


def _from_file(file: str, disk: Disk) -> str:
    try:
        with disk.open(file, "read") as opened:
            buffer = memoryview(bytearray(JOIN_CODE_TEXT_MAX + 1))
            return _text(bytes(buffer[: opened.read_into(buffer, 0)]))
    except OSError as error:
        if error.errno == errno.ESPIPE:
            raise UsageError(f"{file} is no file; give a file, or '-' for stdin.") from error
        raise UsageError(f"The code cannot be read from {file}: {error.strerror}.") from error


def _from_stdin() -> str:
    if sys.stdin.isatty():
        return unseen("Code: ")
    given = _text(sys.stdin.buffer.read(JOIN_CODE_TEXT_MAX + 1))
    if not given.strip():
        raise UsageError("No code came on stdin; give the code that 'invite generate' printed.")
    return given


def _text(given: bytes) -> str:
    if given.startswith((b"\xff\xfe", b"\xfe\xff")):  # what some editors write
        return given.decode("utf-16", "replace")
    return given.decode("utf-8", "replace")
