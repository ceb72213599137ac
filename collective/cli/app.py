"""The command line's root: finds the command's module, and is the one edge for errors.

Only the module that a command lives in is imported, since most of a short command's time is
imports.
"""

from __future__ import annotations

import copy
import errno
import importlib
import io
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final

import typer
from typer.core import TyperGroup

from collective import __version__
from collective.cli.options import completed
from collective.cli.terminal import output
from collective.cli.terminal.interrupts import INTERRUPTED
from collective.core.errors import CollectiveError, ExitCode
from collective.core.loading import loading

_NEAR: Final = 0.8
"""How like an option's name what was typed must be for it to be proposed; 1 is equal."""

COMMANDS: Final[Mapping[str, str]] = {
    "init": "init",
    "join": "join",
    "serve": "serve",
    "healthcheck": "healthcheck",
    "status": "status",
    "audit": "audit",
    "mkdir": "names",
    "ls": "names",
    "rm": "names",
    "mv": "names",
    "stat": "names",
    "write": "transfer",
    "read": "transfer",
    "put": "transfer",
    "get": "transfer",
    "cp": "transfer",
    "identity": "identity",
    "invite": "invites",
    "node": "nodes",
    "datastore": "datastores",
    "grant": "grants",
    "peer": "peers",
    "pki": "pki",
    "doctor": "doctor",
    "systemd": "systemd",
    "completion": "completion",
    "man": "man",
    "demo": "demo.command",
}
"""Commands and groups of commands in the order of help, and the modules whose ``app`` has them."""
GROUPS: Final = frozenset(
    ("identity", "invite", "node", "datastore", "grant", "peer", "pki", "systemd")
)
"""Those that are groups: all of their module's ``app``."""
VARIABLE: Final = "_COLLECTIVE_COMPLETE"
"""Set by the script that ``completion`` prints; the option parser derives it from the program's name."""
ABOUT: Final = "Storage shared among friends: files in several copies, over mutual TLS."


class Commands(TyperGroup):
    """The root: knows the names of all commands, and imports the module of the one that is asked for."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 - its name is given
        """Return every name, for help and for completion."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return the command or group of this name, made now; None if there is none such."""
        if cmd_name not in COMMANDS:
            return None
        with loading():
            app: typer.Typer = importlib.import_module(f"collective.cli.{COMMANDS[cmd_name]}").app
        holder = _typer(cls=TyperGroup, is_root=False)
        if cmd_name in GROUPS:
            group = copy.copy(app)
            group.registered_commands = [_completed(one) for one in app.registered_commands]
            holder.add_typer(group, name=cmd_name)
        else:
            holder.registered_commands.extend(
                _completed(one) for one in app.registered_commands if _name(one) == cmd_name
            )
        return typer.main.get_group(holder).get_command(ctx, cmd_name)


def _completed(one: typer.models.CommandInfo) -> typer.models.CommandInfo:
    made = copy.copy(one)
    made.callback = completed(one.callback) if one.callback else None
    return made


def _name(one: typer.models.CommandInfo) -> str:
    return one.name or str(getattr(one.callback, "__name__", ""))


def _typer(*, cls: type[TyperGroup], is_root: bool) -> typer.Typer:
    return typer.Typer(
        cls=cls,
        add_completion=is_root and VARIABLE in os.environ,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        no_args_is_help=True,
        help=ABOUT,
    )


def build() -> typer.Typer:
    """Return the application."""
    root = _typer(cls=Commands, is_root=True)

    @root.callback()
    def _root(
        version: Annotated[
            bool, typer.Option("--version", is_eager=True, callback=_tell_version, help="Tell it.")
        ] = False,
    ) -> None:
        """Storage shared among friends: files in several copies, over mutual TLS."""

    return root


def _tell_version(wanted: bool) -> None:
    if wanted:
        output.line(f"collective {__version__}")
        raise typer.Exit


def run(arguments: Sequence[str]) -> int:
    """Run one command; return the process's exit code.

    Never raises, and never shows a traceback unless ``-v`` is given.
    """
    _claim_streams()
    options = arguments[: arguments.index("--")] if "--" in arguments else arguments
    is_verbose = any(argument in {"-v", "--verbose"} for argument in options)
    try:
        code = _dispatch(arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        _silence_stdout()
        return ExitCode.FAILURE
    except KeyboardInterrupt:
        return _leave_now(INTERRUPTED)
    except CollectiveError as error:
        if is_verbose:
            output.trace(error)
        output.note(f"Error: {error.message}")
        return error.exit_code
    except OSError as error:
        if is_verbose:
            output.trace(error)
        output.note(f"Error: {_refused(error)}")
        _silence_stdout()
        return ExitCode.FAILURE
    except Exception as error:  # noqa: BLE001 - the edge of the process
        return _unexpected(error, arguments, is_verbose=is_verbose)
    return code


def _not_text(words: Sequence[str]) -> str | None:
    """Return the first of the words that were typed that is no text, for people."""
    for word in words:
        if any("\ud800" <= char <= "\udfff" for char in word):
            return output.exact(word)
    return None


def _claim_streams() -> None:
    """Open what the caller has closed of stdin, stdout and stderr, so that nothing else gets 0-2.

    Reading and writing them then fails as it would have: stdin is for writing only, and so on.
    """
    for number, name, mode in ((0, "stdin", os.O_WRONLY), (1, "stdout", os.O_RDONLY)):
        if getattr(sys, name) is None:
            _reopen(number, name, mode)
    if sys.stderr is None:
        _reopen(2, "stderr", os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # names are UTF-8, whatever the terminal says
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")


def _reopen(number: int, name: str, mode: int) -> None:
    opened = os.open(os.devnull, mode)
    if opened != number:
        os.dup2(opened, number)
        os.close(opened)
    stream = open(number, "r" if name == "stdin" else "w", closefd=False)  # noqa: SIM115
    setattr(sys, name, stream)


def _refused(error: OSError) -> str:
    """Return the sentence for what the machine refused to do."""
    reason = (error.strerror or str(error) or type(error).__name__).rstrip(".").lower()
    where = f" ({os.fsdecode(error.filename)})" if isinstance(error.filename, str | bytes) else ""
    advice = (
        "allow more: ulimit -n 1024" if error.errno == errno.EMFILE else "mend that and try again."
    )
    return f"This machine cannot read or write here{where}: {reason}; {advice}"


def _dispatch(arguments: Sequence[str]) -> int:
    command = typer.main.get_command(build())
    try:
        result = command.main(list(arguments), prog_name="collective", standalone_mode=False)
    except typer.Abort:
        raise KeyboardInterrupt from None
    code = result if isinstance(result, int) else ExitCode.DONE
    if code == INTERRUPTED:
        raise KeyboardInterrupt
    return code


def _unexpected(error: Exception, arguments: Sequence[str], *, is_verbose: bool) -> int:
    """Print one sentence for what nobody raised on purpose, and for wrong usage."""
    say = getattr(error, "format_message", None)
    if callable(say):  # a usage error of the option parser, whose class is not public
        if getattr(error, "possibilities", None):  # all that share a few letters
            text = str(getattr(error, "message", ""))
        else:
            text = str(say())
        if type(error).__name__ == "NoArgsIsHelpError":
            sys.stderr.write(text + "\n")
        else:
            output.note(f"Error: {_sentence(text)}{_meant(error)} See '{_command(error)} --help'.")
        return ExitCode.USAGE
    if is_verbose:
        output.trace(error)
    word = _not_text(arguments) if isinstance(error, UnicodeEncodeError) else None
    if word is not None:
        output.note(f"Error: {word} is not UTF-8; rename it, or give another.")
        return ExitCode.USAGE
    if is_verbose:
        return ExitCode.FAILURE
    reason = str(error) or type(error).__name__
    output.note(
        f"Error: Something unexpected happened ({reason}); run it again with -v for details."
    )
    return ExitCode.FAILURE


def _command(error: Exception) -> str:
    """Return the command that a usage error is of: its words so far."""
    return str(getattr(getattr(error, "ctx", None), "command_path", "collective"))


def _meant(error: Exception) -> str:
    """Return what was likely meant by an option that there is not, where one is near."""
    typed = getattr(error, "option_name", "")
    if not typed:
        return ""
    import difflib  # noqa: PLC0415 - only for what is wrong

    near = difflib.get_close_matches(
        typed, getattr(error, "possibilities", None) or (), n=1, cutoff=_NEAR
    )
    return f" Did you mean {near[0]}?" if near else ""


def _sentence(text: str) -> str:
    return text if text.endswith((".", "?", "!", ")")) else f"{text}."


def _silence_stdout() -> None:
    """Let the interpreter's own last flush fail quietly: nobody reads on."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _leave_now(code: int) -> int:
    """Return ``code``, or end at once where a thread still waits for a terminal's input."""
    import threading  # noqa: PLC0415 - only on the way out

    sys.stderr.write("\n" if sys.stderr.isatty() else "")
    if threading.active_count() > 1:
        sys.stderr.flush()
        os._exit(code)
    return code
