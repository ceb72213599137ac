"""The local directory that a tree is taken out to."""

from __future__ import annotations

from pathlib import Path

import pytest

from collective.client.disk.tree_target import TreeTarget
from collective.core.errors import ConflictError
from tests.worlds import REAL


@pytest.mark.parametrize("place", ["file", "file/below"])
def test_a_file_that_is_in_the_way_is_a_conflict(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ConflictError, match="cannot be made"):
        TreeTarget(str(tmp_path / place), REAL.randomness)
    assert (tmp_path / "file").read_text() == "mine"
