"""What takes longer: nodes that are emptied, processes that change their version, the last release."""

from __future__ import annotations

import random
from typing import Any, Final

import pytest

from tests.integration.processes import wait_for
from tests.skew.houses import MEMBERS, SkewHouses, of_version
from tests.skew.newer import ASKED

pytestmark = pytest.mark.slow

CONTENT: Final = random.Random(6).randbytes(5 * 1024 * 1024 + 3)


@pytest.fixture(params=["houses", "released_houses"])
def any_houses(request: Any) -> SkewHouses:
    """Beside the version that says more, and beside the last release."""
    found: SkewHouses = request.getfixturevalue(request.param)
    return found


@pytest.mark.parametrize("member", MEMBERS)
def test_a_node_of_the_other_version_is_drained(any_houses: SkewHouses, member: str) -> None:
    """Copies go from it to a node of either version, proved on the way."""
    cluster, person = any_houses[member], any_houses.people[member]
    cluster.cli("datastore", "set", "/shared", "--copies", "1")
    for number in range(4):
        person.cli("write", f"/shared/drained-{number}", stdin=CONTENT[number:])
    node = cluster.nodes[1].name
    cluster.cli("node", "drain", node)

    def is_empty(status: Any) -> bool:
        (found,) = [one for one in status["local_nodes"] if one["id"] == node]
        return bool(found["chunk_count"] == 0)

    cluster.wait_status(is_empty, f"drained {node}")
    for number in range(4):
        assert person.cli("read", f"/shared/drained-{number}").out == CONTENT[number:]


def test_new_methods_of_a_coordinator_are_refused_by_nodes(houses: SkewHouses) -> None:
    """After the drain above, which calls nodes."""
    assert houses.other.code is not None
    log = houses.other.code / ASKED
    wanted = "collective.v1.node.Node RejectedError"
    wait_for(lambda: wanted in log.read_text().splitlines(), "refusal by a node")


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
