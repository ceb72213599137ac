"""Two members that do not know each other yet."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.unit.federation.houses import House, Wires, house
from tests.unit.pki.bundles import ALICES, BOBS


@pytest.fixture
def wires() -> Wires:
    return Wires()


@pytest.fixture
async def alice(tmp_path: Path, wires: Wires) -> AsyncIterator[House]:
    async with house(tmp_path, ALICES, wires) as here:
        yield here


@pytest.fixture
async def bob(tmp_path: Path, wires: Wires) -> AsyncIterator[House]:
    async with house(tmp_path, BOBS, wires) as here:
        yield here
