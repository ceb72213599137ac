"""The permission matrix: the real catalogue against a model that is independent of it.

Callers are the operator and four users; grants, rights, expiries, sharing chains, invites, moves,
removals, revocations and the policies of datastores come in any order.  ``make test-hostile`` runs the long version.
"""

import sys

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.contract.catalog.permissions import Permissions

LONG = 10_000


@pytest.mark.parametrize(
    ("examples", "at_least"),
    [
        pytest.param(8, 200, marks=[pytest.mark.smoke, pytest.mark.timeout(180)]),
        pytest.param(
            300, LONG, marks=[pytest.mark.slow, pytest.mark.timeout(3600)], id="hostile-at-length"
        ),
    ],
)
def test_permission_matrix(examples: int, at_least: int) -> None:
    """No call does, shows or gives away more than the grants say, or less."""
    Permissions.steps.clear()
    Permissions.checks.clear()
    run_state_machine_as_test(
        Permissions,
        settings=settings(
            max_examples=examples,
            stateful_step_count=50,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
    seen = Permissions.checks
    sys.stdout.write(f"{Permissions.steps.total()} steps, {dict(sorted(seen.items()))}\n")
    assert Permissions.steps.total() >= at_least
    outcomes = ["move ok", "move denied", "stat denied", "read denied", "grant denied"]
    if at_least >= LONG:
        outcomes += ["take away may not", "rename by an owner"]
    for outcome in outcomes:
        assert seen[outcome], outcome
