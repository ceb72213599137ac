"""Text that may be anybody's words, made safe for a terminal.

Whatever is not printable is escaped: a name, a sentence or an id from outside could move the cursor,
set the title, turn the direction of text, or begin a line that looks like one of ours.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any, Final

_SEVERAL_LINES: Final = frozenset(("exception", "stack"))
"""What tracebacks are under in a log line; their rows are set in, so that none looks like a line."""


def safe(text: str) -> str:
    r"""Return ``text`` with everything that is not printable escaped (``\x1b``, ``\u202e``)."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape", "replace").decode()
        for char in text.encode("utf-8", "backslashreplace").decode()
    )


def escaped_log(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> Any:
    """Make every value of a log line safe for a terminal (a processor of ``structlog``).

    Runs after tracebacks were written out, and right before the line is.
    """
    for name in list(event):
        value = event.pop(name)
        if value is not None and not isinstance(value, bool | int | float):
            text = value if isinstance(value, str) else repr(value)
            if name in _SEVERAL_LINES:
                value = "\n".join(f"  {safe(row)}" for row in text.split("\n"))
            else:
                value = safe(text)
        event[safe(name)] = value
    return event
