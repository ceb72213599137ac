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
