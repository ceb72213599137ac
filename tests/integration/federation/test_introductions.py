"""Members that share a folder of signed bundles peer by themselves."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from collective.pki.bundle import SignedBundle, open_bundle
from tests.integration.cluster import PATIENCE_S, Cluster
from tests.integration.federation.houses import Houses, running_houses

NAMES = ("alice", "bob", "carol")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("introductions")


@pytest.fixture(scope="module")
def houses(tmp_path_factory: pytest.TempPathFactory, shared: Path) -> Iterator[Houses]:
    """Three members; carol comes when the other two are peered."""
    folder = tmp_path_factory.mktemp("houses")
    extra = {"COLLECTIVE_INTRODUCTIONS_DIR": str(shared), "COLLECTIVE_COPIES": "1"}
    early, late = NAMES[:2], NAMES[2:]
    with running_houses(folder, *early, nodes=1, extra=extra) as made:
        wait_peered(made)
        with running_houses(folder, *late, nodes=1, extra=extra) as more:
            made.members.update(more.members)
            wait_peered(made)
            yield made


def wait_peered(houses: Houses) -> None:
    for one, other in itertools.permutations(houses.members.values(), 2):
        houses.wait_peer(one, other.domain, lambda peer: peer["is_healthy"])


def wait_log(cluster: Cluster, text: str, after: int) -> None:
    until_s = time.monotonic() + PATIENCE_S
    while text not in cluster.coordinator.log_text()[after:]:
        assert time.monotonic() < until_s, cluster.logs()
        time.sleep(0.1)


def test_the_folder_holds_one_signed_bundle_a_member_and_nothing_else(
    houses: Houses, shared: Path
) -> None:
    files = sorted(str(one.relative_to(shared)) for one in shared.rglob("*") if one.is_file())
    assert files == [f"home.{name}/bundle.json" for name in NAMES]
    for name in NAMES:
        text = (shared / f"home.{name}" / "bundle.json").read_bytes()
        assert open_bundle(SignedBundle.from_file(text)).domain == houses[name].domain
        assert json.loads(text).keys() == {"bundle", "signature"}
        assert b"PRIVATE" not in text


def test_who_came_is_told_until_an_admin_has_seen_it(houses: Houses) -> None:
    alice = houses["alice"]
    told = [text for text in alice.status()["warnings"] if "introductions folder" in text]
    assert [text.split()[0] for text in told] == ["home.bob", "home.carol"], told
    assert "home.carol" in alice.cli("peer", "list").text
    assert not [text for text in alice.status()["warnings"] if "introductions folder" in text]


def test_a_person_of_one_member_reads_a_file_of_another(houses: Houses) -> None:
    bob = houses["bob"]
    bob.cli("mkdir", "/media")
    bob.cli("write", "/media/film", stdin=b"the film")
    houses["alice"].cli("mkdir", "/shared")
    houses["carol"].cli("mkdir", "/shared")
    una = houses.person("alice", "una", "/shared:read")
    vic = houses.person("carol", "vic", "/shared:read")
    bob.cli("grant", "add", "/media:read", "una@home.alice")
    assert una.cli("read", "/@home.bob/media/film").out == b"the film"
    assert vic.cli("read", "/@home.bob/media/film", check=False).code == 4


def test_a_member_that_is_removed_stays_removed(houses: Houses) -> None:
    alice = houses["alice"]
    alice.cli("peer", "remove", "home.carol", "--yes")
    for begins in ("as it runs", "after a restart"):
        after = 0
        if begins == "after a restart":
            after = len(alice.coordinator.log_text())
            alice.coordinator.restart()
        wait_log(alice, "home.carol was removed here and stays so", after)
        assert [one["domain"] for one in alice.status()["peers"]] == ["home.bob"], begins
        listed = alice.cli("peer", "list", "--json").json()
        assert [one["domain"] for one in listed if one["state"] == "active"] == ["home.bob"]
    houses.wait_peer(houses["bob"], "home.carol", lambda peer: peer["is_healthy"])
    houses["carol"].wait_status(
        lambda status: [one["domain"] for one in status["peers"]] == ["home.bob"],
        "end of the peering at the removed member",
    )


def test_a_coordinator_whose_folder_is_not_there_serves_and_says_so(tmp_path: Path) -> None:
    missing = tmp_path / "not mounted"
    extra = {"COLLECTIVE_INTRODUCTIONS_DIR": str(missing)}
    cluster = Cluster(tmp_path / "dora", "dora", "home.dora", node_count=0, extra=extra)
    try:
        cluster.start()
        told = cluster.wait_status(
            lambda status: any(str(missing) in text for text in status["warnings"]),
            "warning of the folder",
        )["warnings"]
        assert any("cannot be read (No such file or directory)" in text for text in told), told
        assert any("bundle cannot be written" in text for text in told), told
        cluster.cli("mkdir", "/works")
        assert not missing.exists()
    finally:
        cluster.kill_all()
