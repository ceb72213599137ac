"""Slots: each process has one of its own, and whoever comes next takes up what was left."""

from __future__ import annotations

from pathlib import Path

import pytest

from collective.core.errors import SettingsError
from collective.roles.node import slots
from collective.roles.node.slots import take_slot
from tests.worlds import REAL


def test_each_gets_the_first_slot_that_is_free(tmp_path: Path) -> None:
    folder = str(tmp_path / "nodes")
    held = [take_slot(folder, REAL.disk) for _ in range(5)]
    assert [slot.path for slot in held] == [f"{folder}/0{n}" for n in (1, 2, 3, 4, 5)]
    held[1].lock.release()
    held[3].lock.release()
    assert take_slot(folder, REAL.disk).path == f"{folder}/02", "the first one first"
    assert take_slot(folder, REAL.disk).path == f"{folder}/04"
    assert take_slot(folder, REAL.disk).path == f"{folder}/06"


def test_what_lies_in_a_slot_stays(tmp_path: Path) -> None:
    first = take_slot(str(tmp_path), REAL.disk)
    Path(first.path, "data").mkdir()
    Path(first.path, "data", "chunk").write_bytes(b"x")
    first.lock.release()
    again = take_slot(str(tmp_path), REAL.disk)
    assert again.path == first.path
    assert Path(again.path, "data", "chunk").read_bytes() == b"x"


def test_there_is_an_end_to_slots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slots, "SLOTS_MAX", 2)
    for _ in range(2):
        take_slot(str(tmp_path), REAL.disk)
    with pytest.raises(SettingsError, match="All 2 slots"):
        take_slot(str(tmp_path), REAL.disk)
