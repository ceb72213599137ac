"""Asks before what cannot be undone."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from collective.cli.interrupts import ending_in_order
from collective.core.errors import UsageError

YesOption = Annotated[bool, typer.Option("--yes", help="Do not ask. Scripts are never asked.")]


def has_terminal() -> bool:
    """Whether a person can be asked: scripts are not."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def ask(question: str, declined: str, *, yes: bool) -> None:
    """Return if a person agrees, if ``yes`` says so already, and where nobody can be asked.

    Raises:
        UsageError: It was declined; its message is ``declined``.
    """
    if yes or not has_terminal():
        return
    with ending_in_order():
        is_agreed = typer.confirm(question, err=True)
    if not is_agreed:
        raise UsageError(declined)
