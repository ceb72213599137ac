"""Processes that change their version on the same data, beside the newer version and the last release."""

from __future__ import annotations

import random
from typing import Any, Final

import pytest

from tests.skew.houses import MEMBERS, SkewHouses, of_version

pytestmark = pytest.mark.slow

CONTENT: Final = random.Random(6).randbytes(5 * 1024 * 1024 + 3)


@pytest.fixture(params=["houses", "released_houses"])
def any_houses(request: Any) -> SkewHouses:
    """Beside the version that says more, and beside the last release."""
    found: SkewHouses = request.getfixturevalue(request.param)
    return found


def test_processes_that_change_their_version_go_on(any_houses: SkewHouses) -> None:
    """Each coordinator and node starts again as the other version, on the same data, and back."""
    this, other = any_houses.versions["this"], any_houses.versions["other"]
    for member in MEMBERS:
        any_houses.people[member].cli("write", "/shared/kept", stdin=CONTENT)
    for _ in range(2):
        for member in MEMBERS:
            cluster = any_houses[member]
            for service in cluster.services.values():
                service.terminate()
                of_version(service, other if service.host is this else this)
            cluster.start()
        for member, peer in (MEMBERS, MEMBERS[::-1]):
            any_houses.houses.wait_peer(
                any_houses[member], f"home.{peer}", lambda one: one["is_healthy"]
            )
            assert any_houses.people[member].cli("read", "/shared/kept").out == CONTENT
            there = f"/@home.{peer}/shared/kept"
            assert any_houses.people[member].cli("read", there).out == CONTENT
