"""Each target on a few thousand inputs, the same ones every time; and by Hypothesis."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.engine import run_hypothesis
from tests.fuzz.targets import TARGETS, seeds

pytestmark = pytest.mark.smoke
INPUTS = 3000
GROWTH_MAX_BYTES = 16 * 1024 * 1024


@pytest.mark.parametrize("name", TARGETS)
def test_mutated_inputs_meet_typed_errors_only(name: str) -> None:
    done = run_hypothesis(TARGETS[name], 30.0, seeds()[name], seed=1, inputs_max=INPUTS)
    assert not done.failure, done.failure
    assert done.grown_bytes < GROWTH_MAX_BYTES


@pytest.mark.parametrize("name", TARGETS)
def test_any_bytes_meet_typed_errors_only(name: str) -> None:
    @settings(max_examples=300, database=None)
    @given(st.binary(max_size=600))
    def check(raw: bytes) -> None:
        TARGETS[name](raw)

    check()


def test_a_failing_target_is_noticed() -> None:
    def broken(raw: bytes) -> None:
        if raw[:1] == b"\xff":
            raise KeyError(raw)

    assert "KeyError" in run_hypothesis(broken, 30.0, [b"\xff" * 9]).failure
