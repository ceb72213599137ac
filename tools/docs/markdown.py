"""Pieces of Markdown."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Sequence

_LITERAL = re.compile(r"``(.+?)``")
_ROLE = re.compile(r":\w+:`~?([^`]+)`")


def cell(text: str) -> str:
    """Return ``text`` as one cell of a table."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def code(text: str) -> str:
    """Return ``text`` as code in a cell; empty for nothing.  A bar within code does not end a cell."""
    return f"`{text}`" if text else ""


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table; cells are Markdown already."""
    lines = [f"| {' | '.join(headings)} |", f"|{' --- |' * len(headings)}"]
    lines += [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join(lines) + "\n"


def prose(docstring: str | None) -> str:
    """Return a docstring as Markdown: its markup of code is another one."""
    text = inspect.cleandoc(docstring or "")
    return _ROLE.sub(r"`\1`", _LITERAL.sub(r"`\1`", text))


def made_from(what: str) -> str:
    """Return the note at the head of a page."""
    return f"Made from {what} by `make docs`; this page is never edited.\n"
