"""The machine can fail: each planted bug is found within EXAMPLES_MOST examples."""

from __future__ import annotations

import pytest

from tests.model.faults import FAULTS, hunt


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
