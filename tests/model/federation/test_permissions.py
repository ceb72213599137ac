"""Who may do what among three members: no call does, shows or gives away more than the grants say, or less."""

from __future__ import annotations

import logging
import os
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
import structlog

from tests.model.federation.driver import Driver

SEEDS: Final = 16
STEPS: Final = 1300
_MEMORY: Final = "/dev/shm"


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """A divergence has a trace of its own."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.reset_defaults()


async def run_seed(seed: int, steps: int) -> Counter[tuple[str, str, int]]:
    """Return how often each act had each outcome; DivergenceError with seed and trace."""
    memory = _MEMORY if os.path.isdir(_MEMORY) else None
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        driver = Driver(seed)
        await driver.run(Path(folder), steps)
    return driver.outcomes


@pytest.mark.virtual_time
@pytest.mark.parametrize("seed", range(1, SEEDS + 1))
async def test_three_members_do_what_the_grants_say(seed: int) -> None:
    await run_seed(seed, STEPS)
