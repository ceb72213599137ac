"""What goes into a log line, and what must not."""

from __future__ import annotations

import io
import json
import logging
import re
from collections.abc import Iterator

import pytest
import structlog

from collective.roles.runtime import logs


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    stream = io.StringIO()
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    logs.configure("debug", stream)
    yield stream
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(level)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


ATTACK = "\x1b]0;owned\x07\x1b[2J\u202e\r\nforged line"
NAME = "odd\x1bname"


@pytest.mark.parametrize("library", [False, True])
def test_an_id_with_terminal_escapes_reaches_no_terminal(*, library: bool) -> None:
    """``RemoveGrant(id="\\x1b]0;…")`` is logged as denied: the operator's terminal acts on nothing."""
    stream = Terminal()
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    logs.configure("debug", stream)
    try:
        try:
            raise RuntimeError(ATTACK)  # noqa: TRY301 - to be caught right here
        except RuntimeError:
            if library:
                logging.getLogger("some.library").exception("failed: %s", ATTACK)
            else:
                structlog.get_logger("ours").exception(
                    ATTACK, target=ATTACK, many=[ATTACK], raw=ATTACK.encode(), **{NAME: 1}
                )
    finally:
        structlog.reset_defaults()
        root.handlers[:] = handlers
        root.setLevel(level)
    text = re.sub("\x1b\\[[0-9;]*m", "", stream.getvalue())  # colours of our own
    assert "forged line" in text
    assert all(line.isprintable() for line in text.split("\n"))
    assert not any(line.startswith("forged") for line in text.split("\n"))
    assert "Traceback" in text


@pytest.mark.parametrize("library", [False, True])
def test_tracebacks_carry_no_local_variables(lines: io.StringIO, *, library: bool) -> None:
    def fail() -> None:
        key = "ticket-" + "key"
        raise RuntimeError(len(key))

    try:
        fail()
    except RuntimeError:
        if library:
            logging.getLogger("some.library").exception("failed")
        else:
            structlog.get_logger("ours").exception("failed")
    entry = json.loads(lines.getvalue())
    assert entry["event"] == "failed"
    assert "RuntimeError" in json.dumps(entry)
    assert "ticket-key" not in lines.getvalue()


def test_lines_carry_the_request_id(lines: io.StringIO) -> None:
    with structlog.contextvars.bound_contextvars(request_id="r1"):
        structlog.get_logger("ours").info("done", size=1)
    entry = json.loads(lines.getvalue())
    assert (entry["event"], entry["request_id"], entry["size"], entry["level"]) == (
        "done", "r1", 1, "info",
    )  # fmt: skip


def test_another_level_holds_for_loggers_that_were_made_before(lines: io.StringIO) -> None:
    ours, library = structlog.get_logger("collective.x"), logging.getLogger("library")
    logs.set_level("error")
    ours.info("not told")
    library.warning("not told")
    logs.set_level("info")
    ours.info("told")
    library.warning("told too")
    assert [json.loads(line)["event"] for line in lines.getvalue().splitlines()] == [
        "told",
        "told too",
    ]
