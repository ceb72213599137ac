"""Asks before what cannot be undone."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from collective.cli.terminal.interrupts import ending_in_order
from collective.core.errors import UsageError

YesOption = Annotated[
    bool, typer.Option("--yes", help="Do not ask; needed where nobody can be asked, as in scripts.")
]


def has_terminal() -> bool:
    """Whether a person can be asked: not in scripts."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def ask(question: str, declined: str, *, yes: bool) -> None:
    """Return if a person agrees to what cannot be undone, or ``yes`` says so already.

    Raises:
        UsageError: It was declined; its message is ``declined``.  Or nobody can be asked.
    """
    if not yes and not has_terminal():
        raise UsageError(f"{question} Nobody can be asked here; if it is meant, give --yes.")
    ask_whoever_is_there(question, declined, yes=yes)


def ask_whoever_is_there(question: str, declined: str, *, yes: bool) -> None:
    """Return if a person agrees, and where nobody can be asked; for what can be undone.

    Raises:
        UsageError: It was declined; its message is ``declined``.
    """
    if yes or not has_terminal():
        return
    with ending_in_order():
        is_agreed = typer.confirm(question, err=True)
    if not is_agreed:
        raise UsageError(declined)
