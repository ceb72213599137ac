"""Three members 40 ms and 1 % of loss apart: peering, grants, files, copies, routes, status."""

from __future__ import annotations

import random
import re
from pathlib import Path
from typing import Any

import pytest

from tests.integration.cluster import Cluster
from tests.lab.houses import ONE_WAY_S, PEOPLE, Lab

pytestmark = pytest.mark.slow

CONTENT = random.Random(9).randbytes(9 * 1024 * 1024 + 5)
PAIRS = [("alice", "bob"), ("bob", "carol"), ("carol", "alice")]
pairs = pytest.mark.parametrize(("here", "there"), PAIRS)


@pairs
def test_both_ends_of_a_peering_see_each_other(lab: Lab, here: str, there: str) -> None:
    for one, other in ((here, there), (there, here)):
        seen = lab.houses[one].cli("peer", "show", f"home.{other}", "--json").json()
        port = lab.houses[other].coordinator_port
        assert (seen["member_id"], seen["state"]) == (other, "active")
        assert seen["addresses"] == [f"{lab.host(other).address}:{port}"]
        assert seen["fingerprint"] == own_fingerprint(lab.houses[other])
        assert seen["is_healthy"]
        assert seen["latency_ms"] >= 2 * ONE_WAY_S * 1000, "the way is as long as it should be"


def own_fingerprint(member: Cluster) -> str:
    found = re.search(r"(?:\d{5} ){5}\d{5}", member.cli("peer", "list").err)
    assert found is not None
    return found[0]


@pairs
def test_status_shows_peers_and_their_nodes(lab: Lab, here: str, there: str) -> None:
    for one, other in ((here, there), (there, here)):

        def told(status: Any, other: str = other) -> bool:
            return f"{other}-node-01" in {node["id"] for node in status["remote_nodes"]}

        status = lab.houses[one].wait_status(told, "node of the peer")
        assert f"home.{other}" in {peer["domain"] for peer in status["peers"]}
        assert lab.people[one].cli("status", "--json").json()["member_id"] == one


@pairs
def test_files_of_a_peer_are_listed_read_written_and_told_of(
    lab: Lab, here: str, there: str
) -> None:
    person, folder = lab.people[here], f"/@home.{there}/shared"
    assert f"@home.{there}/" in person.cli("ls", "/").text.split()
    person.cli("write", f"{folder}/film-{here}", stdin=CONTENT)
    assert lab.houses[there].read(f"/shared/film-{here}") == CONTENT
    assert f"film-{here}" in person.cli("ls", folder).text.split()
    assert person.cli("read", f"{folder}/film-{here}").out == CONTENT
    facts = person.cli("stat", f"{folder}/film-{here}", "--json").json()
    assert (facts["path"], facts["size"]) == (f"{folder}/film-{here}", len(CONTENT))


@pairs
def test_the_owner_decides_by_its_grants(lab: Lab, here: str, there: str) -> None:
    owner, person = lab.houses[there], lab.people[here]
    owner.cli("mkdir", "-p", f"/{here}-private")
    owner.cli("write", f"/{here}-private/diary", stdin=b"secret")
    path = f"/@home.{there}/{here}-private/diary"
    assert person.cli("read", path, check=False).code == 4
    assert person.cli("read", f"/@home.{there}/shared/absent", check=False).code == 3
    given = owner.cli(
        "grant", "add", f"/{here}-private:read", f"{PEOPLE[here]}@home.{here}", "--json"
    ).json()
    assert person.cli("read", path).out == b"secret"
    assert person.cli("write", path, stdin=b"x", check=False).code == 4
    third = next(name for name in lab.others(here) if name != there)
    assert lab.people[third].cli("read", path, check=False).code == 4
    owner.cli("grant", "remove", given["id"])
    assert person.cli("read", path, check=False).code == 4


@pairs
def test_files_and_trees_are_copied_between_members(
    lab: Lab, tmp_path: Path, here: str, there: str
) -> None:
    person, folder = lab.people[here], f"/@home.{there}/shared"
    person.cli("write", "/shared/original", stdin=CONTENT)
    person.cli("cp", "/shared/original", f"{folder}/copy-of-{here}")
    assert lab.houses[there].read(f"/shared/copy-of-{here}") == CONTENT
    person.cli("cp", f"{folder}/copy-of-{here}", "/shared/back")
    assert lab.houses[here].read("/shared/back") == CONTENT
    wanted = plant(tmp_path / "tree")
    person.cli("put", str(tmp_path / "tree"), "/shared/tree")
    done = person.cli("cp", "-r", "/shared/tree", f"{folder}/tree-of-{here}", "--json").json()
    assert (done["files"], done["left_out"]) == (len(wanted), [])
    person.cli("cp", "-r", f"{folder}/tree-of-{here}", "/shared/tree-back")
    person.cli("get", "/shared/tree-back", str(tmp_path / "back"))
    assert planted(tmp_path / "back") == wanted
    again = person.cli("cp", "-r", "/shared/tree", f"{folder}/tree-of-{here}", "--json").json()
    assert (again["files"], again["unchanged"]) == (0, len(wanted))


def plant(folder: Path) -> dict[str, bytes]:
    """Make a tree; return its files."""
    chance = random.Random(folder.name)
    for name in ("one", "two", "deep/three", "deep/er/four", "empty"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"" if name == "empty" else chance.randbytes(chance.randrange(1, 200_000)))
    return planted(folder)


def planted(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pairs
def test_bytes_go_straight_or_through_the_coordinators(lab: Lab, here: str, there: str) -> None:
    """A firewall before the owner's node is all that is between the two ways."""
    person, path = lab.people[here], f"/@home.{there}/shared/film-{here}-routed"
    before = relayed(lab, here, there)
    person.cli("write", path, stdin=CONTENT)
    assert person.cli("read", path).out == CONTENT
    assert relayed(lab, here, there) == before, "straight"
    ports = lab.houses[there].node_ports.values()
    lab.network.close_ports(lab.host(here), lab.host(there), *ports)
    try:
        assert person.cli("read", path).out == CONTENT
        person.cli("write", f"{path}-again", stdin=CONTENT)
    finally:
        lab.network.heal()
    assert lab.houses[there].read(f"/shared/film-{here}-routed-again") == CONTENT
    after = relayed(lab, here, there)
    assert all(now > then for now, then in zip(after, before, strict=True)), "through both"


def relayed(lab: Lab, *members: str) -> list[int]:
    """Return how many chunks each coordinator passed on."""
    return [lab.houses[name].coordinator.log_text().count('"transfer served"') for name in members]
