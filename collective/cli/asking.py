"""Asks before what cannot be undone."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from collective.core.errors import UsageError

YesOption = Annotated[bool, typer.Option("--yes", help="Without asking; asked on a terminal only.")]


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
    if not typer.confirm(question, err=True):
        raise UsageError(declined)
