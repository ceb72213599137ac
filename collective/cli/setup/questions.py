"""Questions with defaults: asked at a terminal, answered by flags, and by the default where nobody is asked."""

from __future__ import annotations

from collections.abc import Callable

import typer

from collective.cli.terminal import output
from collective.cli.terminal.asking import has_terminal
from collective.cli.terminal.interrupts import ending_in_order
from collective.core.errors import CollectiveError, UsageError

Check = Callable[[str], object]
"""Raises CollectiveError where an answer cannot be used."""


class Questions:
    """Gets answers."""

    def __init__(self, *, is_silent: bool, takes_defaults: bool = True) -> None:
        """Ask a person if there is one, and ``is_silent`` does not say otherwise.

        Args:
            is_silent: ask nobody.
            takes_defaults: somebody wants the defaults even of what cannot be changed later.
        """
        self.is_asking = has_terminal() and not is_silent
        self.takes_defaults = takes_defaults

    def text(
        self, given: str | None, flag: str, question: str, default: str | None, check: Check
    ) -> str:
        """Return an answer that ``check`` takes: what was given, else asked for, else the default.

        Raises:
            CollectiveError: what was given cannot be used.
            UsageError: there is no default, and nobody to ask.
        """
        if given is not None:
            try:
                check(given)
            except UsageError as error:
                raise UsageError(f"{flag}: {error.message}") from error
            return given
        if not self.is_asking:
            if default is None:
                raise UsageError(f"{question} is not said; give {flag}.")
            return default
        while True:
            with ending_in_order():
                answer = str(typer.prompt(question, default=default, err=True)).strip()
            try:
                check(answer)
            except CollectiveError as error:
                output.note(error.message[:1].upper() + error.message[1:])
            else:
                return answer

    def is_agreed(self, given: bool | None, question: str, *, default: bool) -> bool:
        """Return whether it is wanted: as given, else as a person says, else ``default``."""
        if given is not None:
            return given
        if not self.is_asking:
            return default
        with ending_in_order():
            return bool(typer.confirm(question, default=True, err=True))
