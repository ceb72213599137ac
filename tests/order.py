"""Files of tests, longest first: with two workers a long one that begins last keeps one core idle.

The list need not be complete or exact; what is not named comes after, in the usual order.  Measured with
``make test PYTEST_ARGS=--durations=0``.
"""

from __future__ import annotations

from typing import Final

import pytest

LONGEST_FIRST: Final = (
    "tests/integration/test_ca_rotation.py",
    "tests/integration/test_revocation.py",
    "tests/integration/test_invites.py",
    "tests/integration/test_identities.py",
    "tests/integration/hostile/test_heaps.py",
    "tests/integration/test_sizes.py",
    "tests/integration/test_cli_contract.py",
    "tests/integration/test_copies_policy.py",
    "tests/lab/test_smoke.py",
    "tests/integration/test_readme.py",
    "tests/integration/hostile/test_bootstrap_crowd.py",
    "tests/integration/test_renewal.py",
    "tests/integration/test_observability.py",
    "tests/integration/test_following_a_new_ca.py",
    "tests/integration/test_resume.py",
    "tests/integration/test_quick_start.py",
    "tests/integration/test_crash.py",
    "tests/integration/test_disaster_catalog.py",
    "tests/integration/test_disaster.py",
    "tests/integration/hostile/test_grants.py",
    "tests/integration/test_invite_terminal.py",
    "tests/integration/hostile/test_connections.py",
    "tests/integration/hostile/test_stolen_join_code.py",
    "tests/contract/catalog_sqlite/test_power_loss.py",
)
_RANK: Final = {path: rank for rank, path in enumerate(LONGEST_FIRST)}


def sort_longest_first(items: list[pytest.Item]) -> None:
    """Put the tests of long files first; within a file they stay as they are."""
    items.sort(key=lambda item: _RANK.get(item.nodeid.partition("::")[0], len(_RANK)))
