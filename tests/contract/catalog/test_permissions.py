"""The permission matrix: the real catalogue against a model that is independent of it.

Callers are the operator and four users; grants, rights, expiries, sharing chains, invites, moves,
removals, revocations and the policies of datastores come in any order.  Nothing here rests on what
chance brings up: the outcomes that matter are derived step by step, and the long version goes on
until it has seen them all.  ``make test-hostile`` runs the long version.
"""

import sys

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.contract.catalog.engines import Engines
from tests.contract.catalog.permission_model import OPERATOR
from tests.contract.catalog.permissions import Permissions

LONG = 10_000
OUTCOMES = ("move ok", "move denied", "stat denied", "read denied", "grant denied")
RARE = ("take away may not", "rename by an owner")
READ, ALL = frozenset("r"), frozenset("rws")


def run_machine(kind: type[Engines], examples: int) -> None:
    class PermissionsOfKind(Permissions):
        def __init__(self) -> None:
            super().__init__(kind)

    run_state_machine_as_test(
        PermissionsOfKind,
        settings=settings(
            max_examples=examples,
            stateful_step_count=50,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.smoke
def test_permission_matrix(kind: type[Engines]) -> None:
    """No call does, shows or gives away more than the grants say, or less."""
    run_machine(kind, 8)


def test_each_outcome_that_the_matrix_is_for_is_compared(kind: type[Engines]) -> None:
    """A derived sequence: the machine compares each of these, so the random one can meet them."""
    Permissions.steps.clear()
    Permissions.checks.clear()
    machine = Permissions(kind)
    try:
        machine.begin(
            [("ann", ("a", "a"), READ), ("bob", ("a",), ALL), ("bob", ("b",), ALL)], "bob", 1 << 30
        )
        machine.grant("ann", "cat", ("a",), READ, None)
        machine.look("dan", ("a", "a", "b"))
        machine.move("ann", ("a", "a", "b"), ("b", "c"))
        machine.move("bob", ("a", "a", "b"), ("a", "b"))
        machine.set_policy(OPERATOR, ("a",), "member", 1 << 30, None)
        machine.remove_a_datastore(0, recursive=True)
        machine.rename_by_an_owner("bob", ("b",), ALL, None)
        machine.decisions_agree()
    finally:
        machine.teardown()
    for outcome in (*OUTCOMES, *RARE):
        assert Permissions.checks[outcome], outcome


def test_an_owner_whose_grant_was_ended_gets_it_again(kind: type[Engines]) -> None:
    """A derived sequence: the machine at length met it, and the model did not know it."""
    machine = Permissions(kind)
    try:
        machine.begin([], "bob", 0)
        machine.end_grant(OPERATOR, len(machine.model.grants) - 1)
        for path, owner in ((("b",), "bob"), (("a",), "ann")):
            machine.set_policy(OPERATOR, path, owner, None, None)
        machine.decisions_agree()
    finally:
        machine.teardown()


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_permission_matrix_hostile_at_length(kind: type[Engines]) -> None:
    """The same, until it took so many steps and met each outcome by itself."""
    Permissions.steps.clear()
    Permissions.checks.clear()
    seen = Permissions.checks
    while Permissions.steps.total() < LONG or not all(seen[one] for one in (*OUTCOMES, *RARE)):
        run_machine(kind, 50)
    sys.stdout.write(f"{Permissions.steps.total()} steps, {dict(sorted(seen.items()))}\n")
