"""What a command says on a terminal where a person types, and what it says of work that ended half-way."""

from __future__ import annotations

import asyncio
import json
import os
import pty
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from collective.cli import app, connecting
from collective.core.errors import UnreachableError
from collective.core.paths import FilePath
from collective.model.entries import Entry, EntryKind
from collective.model.progress import Progress

NOT_REACHABLE = 5


class Member:
    """What a command is connected to."""

    def __init__(self) -> None:
        self.progress: Progress | None = None
        self.removed: tuple[int, ...] = ()

    async def write(self, path: str, _source: object, *, progress: Progress | None = None) -> Entry:
        self.progress = progress
        return Entry(FilePath.parse(path), EntryKind.FILE)

    async def remove(self, _path: str, *, recursive: bool, progress: Progress) -> int:
        assert recursive
        for count in self.removed:
            progress(count)
        raise UnreachableError("The connection broke.")


@pytest.fixture
def member(monkeypatch: pytest.MonkeyPatch) -> Member:
    made = Member()

    def run(_invocation: object, work: Callable[[Any], Awaitable[Any]], **_: object) -> Any:
        async def connected() -> Any:
            return await work(made)

        return asyncio.run(connected())

    monkeypatch.setattr(connecting, "run_connected", run)
    return made


@contextmanager
def stdin_of(fd: int) -> Iterator[None]:
    kept = os.dup(0)
    os.dup2(fd, 0)
    try:
        yield
    finally:
        os.dup2(kept, 0)
        os.close(kept)


def test_nothing_is_drawn_over_what_a_person_types(member: Member) -> None:
    ours, theirs = pty.openpty()
    with stdin_of(theirs):
        assert app.run(["write", "/s/a"]) == 0
    assert member.progress is None
    os.close(ours)
    os.close(theirs)


def test_progress_is_shown_of_what_comes_from_a_pipe(member: Member) -> None:
    out, into = os.pipe()
    with stdin_of(out):
        assert app.run(["write", "/s/a"]) == 0
    assert member.progress is not None
    os.close(out)
    os.close(into)


@pytest.mark.parametrize(("parts", "names"), [((200, 150), "350 names"), ((1,), "1 name")])
def test_a_removal_that_ends_half_way_says_how_many_names_went(
    member: Member, capsys: pytest.CaptureFixture[str], parts: tuple[int, ...], names: str
) -> None:
    member.removed = parts
    assert app.run(["rm", "-r", "/s/tree", "--json"]) == NOT_REACHABLE
    told = capsys.readouterr()
    assert json.loads(told.out) == {"removed": sum(parts)}
    assert f"{names} removed below /s/tree; the rest is still there." in told.err
    assert "The connection broke." in told.err


def test_a_removal_that_removed_nothing_says_so_by_its_error_alone(
    member: Member, capsys: pytest.CaptureFixture[str]
) -> None:
    assert member.removed == ()
    assert app.run(["rm", "-r", "/s/tree", "--json"]) == NOT_REACHABLE
    assert capsys.readouterr().out == ""
