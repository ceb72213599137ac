"""Every command with ``--json``, as a process of its own, against the schema that the documentation has of it.

Other tests check the output of their commands as well, whichever they run (``cluster.command``); here each runs once.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from collective.cli.json_shapes import SHAPES
from tests.integration.cluster import Cluster, command, running_cluster
from tests.integration.federation.houses import Houses, running_houses
from tests.integration.ports import free_port
from tests.integration.processes import wait_for
from tests.json_output import SEEN

QUICK = {"COLLECTIVE_HEARTBEAT_INTERVAL": "0.5"}


@pytest.fixture(scope="module")
def houses(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Houses]:
    """Two members that have not peered yet."""
    with running_houses(
        tmp_path_factory.mktemp("json"), "alice", "bob", nodes=3, extra=QUICK
    ) as made:
        yield made


@pytest.fixture(scope="module")
def alice(houses: Houses) -> Cluster:
    houses["alice"].cli("mkdir", "/d")
    return houses["alice"]


def said(member: Cluster, *arguments: str, **more: Any) -> Any:
    """Return what the operator is told, which ``cli`` has checked."""
    return member.cli(*arguments, "--json", **more).json()


def run(member: Cluster, home: Path, *arguments: str) -> Any:
    """Return what a command says that needs no credentials, to somebody whose home is ``home``."""
    environment = member.client_environment | {"HOME": str(home)}
    done = command(*arguments, "--json", environment=environment)
    assert done.out, done.err
    return done.json()


def test_names_and_contents(alice: Cluster, tmp_path: Path) -> None:
    said(alice, "mkdir", "/d/folder")
    said(alice, "write", "/d/file", stdin=b"content")
    said(alice, "stat", "/d/file")
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "link").symlink_to("nowhere")
    (tmp_path / "tree" / "file").write_bytes(b"x")
    said(alice, "put", str(tmp_path / "tree"), "/d/tree")
    said(alice, "put", str(tmp_path / "tree" / "file"), "/d/one")
    said(alice, "get", "/d/tree", str(tmp_path / "back"))
    said(alice, "get", "/d/one", str(tmp_path / "one"))
    said(alice, "cp", "-r", "/d/tree", "/d/copy")
    said(alice, "cp", "/d/one", "/d/two")
    said(alice, "cp", "/d/tree/link", "/d/link")
    said(alice, "mv", "/d/two", "/d/three")
    said(alice, "ls", "-R", "/d")
    said(alice, "ls", "/")
    assert said(alice, "rm", "-r", "/d/copy") == {"removed": 3}


def test_what_is_left_out_of_a_tree(alice: Cluster, tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / ("x" * 255)).write_bytes(b"x")
    (tmp_path / "tree" / "control\x01").write_bytes(b"x")
    done = alice.cli("put", str(tmp_path / "tree"), "/d/partly", "--json", check=False)
    assert done.code == 9
    (left_out,) = done.json()["left_out"]
    assert left_out["code"]


def test_people(alice: Cluster, tmp_path: Path) -> None:
    made = said(alice, "invite", "generate", "--grant", "/d:read+share", "--max-uses", "3")
    said(alice, "invite", "generate", "--for", "node")

    def own(*arguments: str) -> Any:
        return run(alice, tmp_path / "home", *arguments)

    own("identity", "init", "--global-id", "pat@home.pat")
    own("identity", "show")
    name = own("invite", "redeem", made["code"])["name"]
    own("identity", "list-collectives")
    own("identity", "switch", name)
    own("identity", "add-device")
    own("grant", "list")
    own("status")
    added = said(alice, "grant", "add", "/d:write", "pat@home.pat", "--validity", "1d")
    said(alice, "grant", "list")
    said(alice, "grant", "remove", added["id"])
    said(alice, "invite", "list", "--all")
    said(alice, "invite", "revoke", made["id"])
    said(alice, "identity", "list")
    said(alice, "identity", "revoke", "pat@home.pat", "--yes")
    own("identity", "leave", name, "--yes")
    assert said(alice, "audit", "--since", "1h")


def test_a_person_joins_by_one_command(alice: Cluster, tmp_path: Path) -> None:
    code = alice.cli("invite", "generate", "--grant", "/d:read").text.splitlines()[-1]
    assert run(alice, tmp_path, "join", code, "--yes")["new"] is True


def test_nodes_datastores_and_the_status(alice: Cluster) -> None:
    said(alice, "datastore", "create", "/quota", "--quota", "1GB")
    said(alice, "datastore", "set", "/quota", "--copies", "2")
    said(alice, "datastore", "list")
    node = said(alice, "node", "list")[0]["id"]
    said(alice, "node", "approve", node)
    said(alice, "node", "drain", node)
    said(alice, "node", "drain", node, "--stop")
    alice.services[node].kill()
    assert said(alice, "node", "remove", node, "--force", "--yes") == {"removed": node}
    del alice.services[node]
    assert said(alice, "status")["workers"]


def test_peers(houses: Houses, alice: Cluster) -> None:
    bob = houses["bob"]
    code = said(alice, "peer", "invite", "home.bob", "--confirm")["code"]
    assert said(bob, "peer", "accept", code, "--yes")["is_waiting"]
    said(alice, "peer", "confirm", "home.bob")
    houses.wait_peer(alice, "home.bob", lambda peer: peer["is_healthy"])
    alice.cli("grant", "add", "/d:read", "@home.bob")
    said(alice, "peer", "list")
    assert said(alice, "peer", "show", "home.bob")["granted_here"]
    said(alice, "status")
    assert {one["kind"] for one in said(alice, "ls", "/")} == {"datastore", "peer"}
    assert said(alice, "peer", "remove", "home.bob", "--yes")["state"] == "removed"
    said(alice, "peer", "list", "--all")


def test_certificates(alice: Cluster, tmp_path: Path) -> None:
    certs = alice.cert_dir("coordinator")
    for file in ("ca/alice-ca.crt", "coordinators/alice-coordinator.crt"):
        assert run(alice, tmp_path, "pki", "show", str(certs / file))["state"] == "valid"
    key, out = str(certs / "ca" / "alice-ca.key"), str(tmp_path)
    issued = run(
        alice, tmp_path, "pki", "issue", "--ca-key", key, "--user", "pam@home.alice", "--out", out
    )
    assert Path(issued["key"]).exists()
    assert said(alice, "pki", "rotate-ca", "--status")["phase"] == "none"
    assert said(alice, "pki", "rotate-ca", "--yes")["phase"] == "overlap"


def test_this_machine(alice: Cluster, tmp_path: Path) -> None:
    settings, other = str(tmp_path / "node.toml"), str(tmp_path / "other.toml")
    places = (
        *("--address", "127.0.0.1", "--node-address", f"127.0.0.1:{free_port()}"),
        *("--metrics-address", f"127.0.0.1:{free_port()}", "--storage-capacity", "1GB"),
        *("--data-dir", str(tmp_path / "data"), "--yes", "--no-start"),
    )
    towards = ("--coordinator-address", f"127.0.0.1:{alice.coordinator_port}")
    made = run(alice, tmp_path, "init", "--role", "node", "--output", settings, *towards, *places)
    assert made["written"], made
    unit = run(alice, tmp_path, "systemd", "install", "--config", settings, "--print")
    assert unit["installed"] is False
    code = alice.cli("invite", "generate", "--for", "node").text.splitlines()[-1]
    joined = run(alice, tmp_path, "join", code, "--output", other, "--force", *places)
    assert joined["roles"] == ["node"]
    assert run(alice, tmp_path, "doctor", "--config", settings)["parts"]
    where = f"127.0.0.1:{alice.coordinator.metrics_port}"
    well = run(alice, tmp_path, "healthcheck", "--alive", "--metrics-address", where)
    assert well["is_well"] is True
    assert run(alice, tmp_path, "completion", "bash")["script"]
    assert run(alice, tmp_path, "man", "node", "list")["name"] == "collective-node-list"
    assert run(alice, tmp_path, "man", "--output-dir", str(tmp_path))["pages"]


def test_a_lost_catalogue(tmp_path: Path) -> None:
    with running_cluster(tmp_path / "member", node_count=1, extra=QUICK) as member:
        member.coordinator.kill()
        shutil.rmtree(member.data_dir("coordinator"))
        (member.cert_dir("coordinator") / "coordinators" / "alice-coordinator.json").unlink()
        member.coordinator.start()
        member.coordinator.wait_ready()
        wait_for(
            lambda: any(one["state"] == "waiting" for one in member.status()["local_nodes"]),
            "a node that waits for its adoption",
        )
        adopted = said(member, "node", "adopt", "alice-node-01", "--yes")
        assert adopted["enrolled"] == ["alice-node-01"]


def test_no_command_was_forgotten(request: pytest.FixtureRequest) -> None:
    """The last of this module, which one process runs; skips where others of it were left out."""
    ran = {item.name for item in request.session.items if item.path == request.path}
    if ran != {name for name in globals() if name.startswith("test_")}:
        pytest.skip("only a part of this module runs")
    assert sorted(set(SHAPES) - SEEN) == []
