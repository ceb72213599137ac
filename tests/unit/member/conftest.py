"""What the tests of a coordinator share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.member.joiners import World


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(str(tmp_path))
