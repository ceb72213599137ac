"""One member for all tests of trees: each uses a datastore of its own."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.trees.home import Home, founded
from tests.trees.machine import NOBODY, open_up


@pytest.fixture(scope="package")
def home() -> Iterator[Home]:
    with founded() as found:
        yield found


@pytest.fixture
def desk() -> Iterator[Path]:
    """A folder of an ordinary user, outside of folders that are root's alone."""
    folder = Path(tempfile.mkdtemp(prefix="collective-trees-"))
    NOBODY.own(folder)
    try:
        yield folder
    finally:
        open_up(folder)
        shutil.rmtree(folder)
