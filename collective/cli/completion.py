"""``collective completion SHELL``: what makes a shell complete commands and options.

The script calls this program at each TAB, so a completion is never older than the program.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Final

import typer

from collective.cli.terminal import output
from collective.cli.unconnected import UnconnectedInvocation, unconnected_command

if TYPE_CHECKING:
    from collective.cli.json_shapes import ScriptJson

app = typer.Typer()

PROGRAM: Final = "collective"
_ZSH_LAST: Final = "compdef _collective_completion collective"
_ZSH_EITHER_WAY: Final = """\
if [ "$funcstack[1]" = "_collective" ]; then
  _collective_completion "$@"
else
  compdef _collective_completion collective
fi"""
"""A file on zsh's fpath is the function itself; one that is sourced names the function."""


class Shell(StrEnum):
    """Shells that a script can be had for."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


@app.command()
@unconnected_command
def completion(
    invocation: UnconnectedInvocation,
    shell: Annotated[Shell, typer.Argument(help="Which shell.")],
) -> None:
    """Print the script that makes a shell complete commands and options: source it, or install it."""
    text = script(shell)
    if invocation.as_json:
        told: ScriptJson = {"shell": shell.value, "script": text}
        output.as_json(told)
    else:
        output.lines(text.splitlines())


def script(shell: Shell) -> str:
    """Return the script of one shell, with a line's end at its end."""
    from typer._completion_shared import get_completion_script  # noqa: PLC0415 - for this command alone

    from collective.cli.app import VARIABLE  # noqa: PLC0415 - it imports this module

    text: str = get_completion_script(prog_name=PROGRAM, complete_var=VARIABLE, shell=shell.value)
    if shell is Shell.ZSH:
        assert text.endswith(_ZSH_LAST), "typer's script has changed"
        text = text.removesuffix(_ZSH_LAST) + _ZSH_EITHER_WAY
    return text + "\n"
