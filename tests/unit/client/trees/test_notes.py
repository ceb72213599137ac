"""What the client remembers of trees and uploads, and what it does not believe."""

from __future__ import annotations

import json
import os
import stat
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from collective.client.disk.local_entries import FileState
from collective.client.single_file.upload_notes import UploadNote
from collective.client.trees.notes import RootNote, TreeNotes
from collective.core.ids import Domain, UploadId, UploadKey
from collective.core.paths import FilePath
from tests.worlds import REAL

DOMAIN = Domain("home.alice")
MINE = UploadId(UploadKey("a" * 32), DOMAIN)
PATH = FilePath.parse("/s/t")
STATE = FileState(size_bytes=1, modified_ns=2, changed_ns=3, inode=4)
NAMES = ("d", "x")


def notes(state_dir: Path | None, *, path: FilePath = PATH, local: str = "/t") -> TreeNotes:
    made = TreeNotes(None if state_dir is None else str(state_dir), DOMAIN, path, local)
    made.open()
    return made


def lines(state_dir: Path) -> list[str]:
    (file,) = (state_dir / "trees").glob("*.notes")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    return file.read_text().splitlines()[1:]


def test_what_was_sent_is_known_the_next_time(tmp_path: Path) -> None:
    first = notes(tmp_path)
    assert not first.is_sent(NAMES, STATE, 5)
    first.sent(NAMES, STATE, 5)
    first.close(is_whole=True)
    again = notes(tmp_path)
    assert again.is_sent(NAMES, STATE, 5)
    assert not again.is_sent(NAMES, STATE, 6)
    for field in asdict(STATE):
        assert not again.is_sent(NAMES, replace(STATE, **{field: 99}), 5), field
    again.close(is_whole=True)
    assert stat.S_IMODE((tmp_path / "trees").stat().st_mode) == 0o700


def test_notes_are_of_one_tree(tmp_path: Path) -> None:
    first = notes(tmp_path)
    first.sent(NAMES, STATE, 5)
    first.close(is_whole=True)
    for other in (notes(tmp_path, path=FilePath.parse("/s/u")), notes(tmp_path, local="/u")):
        assert not other.is_sent(NAMES, STATE, 5)
        other.close(is_whole=True)


def test_a_file_that_changed_after_the_beginning_is_not_noted(tmp_path: Path) -> None:
    made = notes(tmp_path)
    (tmp_path / "x").write_bytes(b"1")
    made.sent(NAMES, FileState.of((tmp_path / "x").stat()), 5)
    made.close(is_whole=True)
    assert lines(tmp_path) == []


def test_an_interrupted_run_leaves_what_it_noted_beside_what_was_there(tmp_path: Path) -> None:
    first = notes(tmp_path)
    first.sent(("a",), STATE, 1)
    first.sent(("b",), STATE, 1)
    first.close(is_whole=True)
    second = notes(tmp_path)
    second.sent(("b",), STATE, 2)
    second.close(is_whole=False)
    third = notes(tmp_path)
    assert third.is_sent(("a",), STATE, 1)
    assert third.is_sent(("b",), STATE, 2)
    third.close(is_whole=False)


def test_a_run_that_ends_forgets_what_it_did_not_see(tmp_path: Path) -> None:
    first = notes(tmp_path)
    for name in ("a", "b"):
        first.sent((name,), STATE, 1)
    first.close(is_whole=True)
    second = notes(tmp_path)
    assert second.is_sent(("a",), STATE, 1)
    second.close(is_whole=True)
    assert [json.loads(line)[0] for line in lines(tmp_path)] == ["a"]
    assert sorted(os.listdir(tmp_path / "trees")) == [
        name for name in sorted(os.listdir(tmp_path / "trees")) if name.endswith(".notes")
    ]


def test_a_line_that_was_cut_off_spoils_no_other(tmp_path: Path) -> None:
    first = notes(tmp_path)
    for name in ("a", "b"):
        first.sent((name,), STATE, 1)
    first.close(is_whole=True)
    (file,) = (tmp_path / "trees").iterdir()
    header, a, b = file.read_text().splitlines()
    file.write_text("\n".join((header, a[: len(a) // 2], "[1]", "{}", b, "")))
    again = notes(tmp_path)
    assert again.is_sent(("b",), STATE, 1)
    assert not again.is_sent(("a",), STATE, 1)
    again.close(is_whole=False)


@pytest.mark.parametrize("content", [b"", b"{}\n", b"\xff\xfe", b'{"format": 2}\n["a", 1]\n'])
def test_what_is_no_note_of_ours_is_begun_anew(tmp_path: Path, content: bytes) -> None:
    notes(tmp_path).close(is_whole=True)
    (file,) = (tmp_path / "trees").iterdir()
    file.write_bytes(content)
    made = notes(tmp_path)
    made.sent(("a",), STATE, 1)
    made.close(is_whole=True)
    again = notes(tmp_path)
    assert again.is_sent(("a",), STATE, 1)
    again.close(is_whole=True)


@pytest.mark.parametrize("mode", [0o777, 0o720])
def test_notes_where_others_can_write_are_not_believed(tmp_path: Path, mode: int) -> None:
    first = notes(tmp_path)
    first.sent(NAMES, STATE, 5)
    first.close(is_whole=True)
    root = RootNote(str(tmp_path), DOMAIN, PATH, "/t")
    root.remember((1, 2))
    assert root.is_ours((1, 2))
    assert not root.is_ours((1, 3))
    (tmp_path / "trees").chmod(mode)
    again = notes(tmp_path)
    assert not again.is_sent(NAMES, STATE, 5)
    again.close(is_whole=True)
    assert not root.is_ours((1, 2))


def test_notes_through_a_link_are_neither_read_nor_written(tmp_path: Path) -> None:
    notes(tmp_path).close(is_whole=True)
    (file,) = (tmp_path / "trees").iterdir()
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    file.unlink()
    file.symlink_to(victim)
    made = notes(tmp_path)
    made.sent(NAMES, STATE, 5)
    made.close(is_whole=True)
    assert victim.read_bytes() == b"precious"


def test_without_a_place_for_notes_nothing_is_known(tmp_path: Path) -> None:
    made = notes(None)
    made.sent(NAMES, STATE, 5)
    assert not made.is_sent(NAMES, STATE, 5)
    made.close(is_whole=True)
    root = RootNote(None, DOMAIN, PATH, "/t")
    root.remember((1, 2))
    assert not root.is_ours((1, 2))
    (tmp_path / "file").write_bytes(b"")
    blocked = notes(tmp_path / "file")
    blocked.sent(NAMES, STATE, 5)
    blocked.close(is_whole=True)


async def test_a_note_of_an_earlier_version_resumes_an_upload(tmp_path: Path) -> None:
    journal = UploadNote(str(tmp_path), DOMAIN, FilePath.parse("/s/A"), "A", REAL.randomness)
    await journal.save(STATE, MINE)
    (note,) = (tmp_path / "uploads").iterdir()
    kept = json.loads(note.read_text())
    del kept["local"]["changed_ns"]
    kept["upload_id"] = MINE.key  # before ids had their member's domain
    note.write_text(json.dumps(kept))
    assert await journal.load(STATE) == MINE
    assert await journal.load(replace(STATE, inode=99)) is None
    await journal.save(STATE, MINE)
    assert await journal.load(replace(STATE, changed_ns=99)) is None
