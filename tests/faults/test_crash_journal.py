"""The judge of the crash runs: what a writer's journal allows, and what it calls a loss."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.faults.crash_journal import Manifest, Value
from tests.faults.crash_writer import Journal


@dataclass
class Told:
    """A journal as a writer leaves it, and the manifest that follows it."""

    path: Path
    manifest: Manifest = field(default_factory=Manifest)
    count: int = 0

    def begin(self, value: Value) -> int:
        self.add(begin=self.count, path="/crash/f", value=value)
        return self.count - 1

    def attempt(self, value: Value, code: str = "ok") -> None:
        number = self.begin(value)
        self.add(end=number, path="/crash/f", code=code, why="some reason")

    def add(self, **line: int | Value) -> None:
        with self.path.open("a") as file:
            file.write(json.dumps(line) + "\n")
        self.count += 1

    def may_be(self) -> frozenset[Value]:
        self.manifest.follow(self.path)
        return self.manifest.may_be("/crash/f")


@pytest.fixture
def told(tmp_path: Path) -> Told:
    return Told(tmp_path / "writer.journal")


def test_a_remove_that_was_cut_off_explains_that_the_next_one_finds_nothing(told: Told) -> None:
    told.attempt("a")
    told.begin(None)  # killed; the next process goes on with the same journal
    told.attempt(None, "not_found")
    assert told.may_be() == {None}
    assert told.manifest.wrong == []
    assert told.manifest.cut_off == 1


def test_what_an_acknowledged_write_replaced_is_not_allowed_again(told: Told) -> None:
    told.begin("a")  # killed
    told.attempt("b")
    assert told.may_be() == {"b"}


@pytest.mark.parametrize("cut_off", ["b", None])
def test_an_attempt_that_nothing_followed_leaves_both(told: Told, cut_off: Value) -> None:
    told.attempt("a")
    told.begin(cut_off)
    assert told.may_be() == {"a", cut_off}


def test_an_acknowledged_file_that_a_remove_does_not_find_is_lost(told: Told) -> None:
    told.begin(None)  # killed, and answered for by what is acknowledged after it
    told.attempt("a")
    told.attempt(None, "not_found")
    told.may_be()
    (wrong,) = told.manifest.wrong
    assert "/crash/f: acknowledged, and not found by a remove: some reason" in wrong
    assert '"code": "ok"' in wrong, "what led to it is told"


def test_a_remove_without_an_answer_explains_it_and_one_that_was_refused_does_not(
    told: Told,
) -> None:
    told.attempt("a")
    told.attempt(None, "unreachable")
    told.attempt(None, "not_found")
    assert told.may_be() == {None}
    assert told.manifest.wrong == []
    told.attempt("b")
    told.attempt("c", "not_enough_copies")
    assert told.may_be() == {"b"}
    told.attempt(None, "not_found")
    told.may_be()
    assert len(told.manifest.wrong) == 1


def test_a_write_is_never_told_that_something_is_missing(told: Told) -> None:
    told.attempt("a", "not_found")
    told.may_be()
    (wrong,) = told.manifest.wrong
    assert "a write was told: some reason" in wrong


def test_a_line_that_the_kill_cut_off_was_never_there(told: Told) -> None:
    told.attempt("a")
    with told.path.open("a") as file:
        file.write('{"begin": 2, "pa')
    assert told.may_be() == {"a"}
    journal = Journal(told.path)
    journal.add(begin=journal.count, path="/crash/f", value="b")
    journal.add(end=journal.count - 1, path="/crash/f", code="ok")
    journal.close()
    assert told.may_be() == {"b"}
