"""The catalogue does what the model of it does, whatever is done to both: by Hypothesis."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.model.machine import Beside


def run_machine(examples: int, steps: int, *, shrink: bool = True) -> None:
    run_state_machine_as_test(
        Beside,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            phases=[one for one in Phase if shrink or one not in {Phase.shrink, Phase.explain}],
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_the_catalogue_does_what_its_model_does() -> None:
    run_machine(40, 40)


@pytest.mark.slow
@pytest.mark.timeout(4 * 3600)
def test_the_catalogue_does_what_its_model_does_at_length() -> None:
    run_machine(2000, 100)
