"""The machine can fail: each planted bug is found within EXAMPLES_MOST examples."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from tests.model.faults import FAULTS, hunt


@pytest.mark.parametrize("name", FAULTS)
def test_the_fault_can_be_planted(name: str) -> None:
    """What it takes the place of is still there."""
    with ExitStack() as stack:
        FAULTS[name](stack)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", FAULTS)
def test_the_fault_is_found(name: str) -> None:
    examples, _ = hunt(name)
    assert examples


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_same_examples_are_well_without_a_fault() -> None:
    assert hunt("") == (0, "")
