"""The order in which files of tests are run."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from tests.order import LONGEST_FIRST, sort_longest_first

ROOT = Path(__file__).parents[2]


def test_every_file_that_is_named_exists() -> None:
    assert [path for path in LONGEST_FIRST if not (ROOT / path).is_file()] == []
    assert len(set(LONGEST_FIRST)) == len(LONGEST_FIRST)


def test_long_files_come_first_and_their_tests_stay_in_order() -> None:
    second, first = LONGEST_FIRST[1], LONGEST_FIRST[0]
    ids = ["tests/unit/a.py::x", f"{second}::b", f"{second}::a", f"{first}::z[1]", "tests/b.py::y"]
    items = cast("list[pytest.Item]", [SimpleNamespace(nodeid=one) for one in ids])
    sort_longest_first(items)
    assert [item.nodeid for item in items] == [
        f"{first}::z[1]", f"{second}::b", f"{second}::a", "tests/unit/a.py::x", "tests/b.py::y",
    ]  # fmt: skip
