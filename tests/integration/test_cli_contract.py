"""The command line's contract: exit codes, JSON shapes, odd names, trees, long listings, pipes."""

from __future__ import annotations

import os
from pathlib import Path
from types import NoneType

import pytest

from tests.integration import processes
from tests.integration.cluster import Cluster
from tests.integration.ports import free_port

ODD_NAMES = (
    "é", "e\u0301", "ß", "ẞ", "日本語", "🦊👩‍👩‍👧", "a b", " lead", "trail ", "tab.txt.", "-rf", "--help",
    "$(x)", "'q'", '"d"', "back\\slash", "*?[", "%41", "\u202etrick", "\u200b", "\ufeffbom",
    "İı", "n" * 255, "ü" * 127, "CON", "#h", "~", "@at", "\U0010ffff",
)  # fmt: skip
STATUS_SHAPE = {
    "member_id": str,
    "domain": str,
    "coordinator": {"address": str, "version": str, "uptime_s": float},
    "local_nodes": [
        {
            "id": str, "address": str, "total_capacity": int, "used_capacity": int,
            "chunk_count": int, "is_healthy": bool, "state": str, "last_seen": str,
            "standing": str, "standing_reason": str, "is_new": bool,
            "quarantined_bytes": int, "disk": str,
        }
    ],
    "peers": [],
    "remote_nodes": [],
    "files": {"total": int, "bytes": int},
    "chunks": {"total": int, "under_replicated": int, "unavailable": int, "datastores": [str]},
    "storage": {"total_bytes": int, "used_bytes": int, "available_bytes": int},
    "you": {"global_id": str, "grants": []},
    "warnings": [str],
    "node_code": {"uses_left": int, "enrolled": int, "expires": str},
    "workers": [
        {"name": str, "state": str, "last_success": (str, NoneType), "queue": (int, NoneType),
         "error": str, "next_s": (float, NoneType)},
    ],
}  # fmt: skip
"""The spec's fields in its order, and some that it does not know."""


def matches(value: object, shape: object) -> bool:
    if isinstance(shape, dict):
        return (
            isinstance(value, dict)
            and list(value) == list(shape)
            and all(matches(value[key], shape[key]) for key in shape)
        )
    if isinstance(shape, tuple):
        return any(matches(value, one) for one in shape)
    if isinstance(shape, list):
        return isinstance(value, list) and all(matches(one, shape[0]) for one in value if shape)
    assert isinstance(shape, type)
    return type(value) is shape


@pytest.fixture(scope="module")
def prepared(cluster: Cluster) -> Cluster:
    cluster.cli("mkdir", "/c")
    return cluster


def test_status_json_has_every_field_of_the_spec_and_warnings_and_node_code(
    prepared: Cluster, tmp_path: Path
) -> None:
    status = prepared.cli("status", "--json").json()
    assert matches(status, STATUS_SHAPE), status
    assert len(status["local_nodes"]) == 3
    names = [worker["name"] for worker in status["workers"]]
    assert {"repair", "verification", "collection", "snapshot", "own certificate"} <= set(names)
    assert prepared.cli("status", "-v").out.count(b"collection ") == 1
    own = processes.user_options(
        prepared, processes.issue_user(prepared, "bob@home.alice", tmp_path)
    )
    theirs = prepared.cli("status", "--json", credentials=own).json()
    assert theirs["node_code"] is None, "the operator's alone"
    assert theirs["workers"] == [], "for admins alone"
    assert set(theirs["chunks"]) == set(status["chunks"])
    assert theirs["chunks"]["total"] is None, "for those who may read a whole datastore"
    assert theirs["chunks"]["datastores"] == []
    mended = {**theirs, "node_code": status["node_code"], "chunks": status["chunks"]}
    assert matches(mended, STATUS_SHAPE), theirs
    assert theirs["you"] == {"global_id": "bob@home.alice", "grants": []}


def test_exit_codes_of_every_family(prepared: Cluster, tmp_path: Path) -> None:
    cluster = prepared
    cluster.write("/c/file", b"x")
    user = processes.user_options(
        cluster, processes.issue_user(cluster, "eve@home.alice", tmp_path)
    )
    nobody = ["--coordinator", f"127.0.0.1:{free_port()}", *cluster.operator[2:]]
    assert cluster.cli("stat", "/c/file").code == 0
    for arguments, code in (
        (("stat", "relative"), 2),
        (("stat", "/c/../x"), 2),
        (("read", "/c/file", "--offset", "-1"), 2),
        (("no-such-command",), 2),
        (("stat", "/c/absent"), 3),
        (("write", "/c/none/file"), 3),
        (("put", str(tmp_path / "absent"), "/c/x"), 3),
        (("mkdir", "/c"), 8),
        (("rm", "/c"), 8),
    ):
        done = cluster.cli(*arguments, check=False)
        assert done.code == code, (arguments, done)
        assert len(done.err.strip().splitlines()) == 1, done.err
    assert cluster.cli("read", "/c/file", check=False, credentials=user).code == 4
    assert cluster.cli("read", "/c/absent", check=False, credentials=user).code == 4
    assert cluster.cli("stat", "/c/file", check=False, credentials=nobody).code == 5
    assert cluster.cli("stat", "/c/file", check=False, credentials=[]).code == 5


def test_a_tree_of_odd_names_goes_in_and_out_and_what_is_no_utf8_is_skipped(
    prepared: Cluster, tmp_path: Path
) -> None:
    source = tmp_path / "in"
    (source / "sub" / "empty").mkdir(parents=True)
    for number, name in enumerate(ODD_NAMES):
        (source / "sub" / name).write_bytes(name.encode() + bytes([number]))
    with open(os.path.join(os.fsencode(source), b"bad-\xff\xfe"), "wb") as bad:
        bad.write(b"unnamed")
    os.mkfifo(source / "fifo")
    done = prepared.cli("put", str(source), "/c/tree", "--json", check=False)
    assert done.code == 9
    assert done.json()["files"] == len(ODD_NAMES)
    assert len(done.json()["left_out"]) == 2
    assert "bad-" in done.err
    assert "fifo" in done.err
    assert "%" not in done.err, "no progress on a pipe"
    listed = {
        Path(entry["path"]).name for entry in prepared.cli("ls", "/c/tree/sub", "--json").json()
    }
    assert listed == {*ODD_NAMES, "empty"}
    target = tmp_path / "out"
    prepared.cli("get", "/c/tree", str(target))
    assert sorted(os.listdir(target / "sub")) == sorted([*ODD_NAMES, "empty"])
    for number, name in enumerate(ODD_NAMES):
        assert (target / "sub" / name).read_bytes() == name.encode() + bytes([number]), name
    again = prepared.cli("put", str(source), "/c/tree", "--json", check=False).json()
    assert (again["files"], again["unchanged"]) == (0, len(ODD_NAMES))


def test_nothing_but_the_file_on_a_pipe(prepared: Cluster) -> None:
    content = b"\x00\xff" * 3_000_000
    assert prepared.cli("write", "/c/piped", stdin=content).err == ""
    done = prepared.cli("read", "/c/piped")
    assert (done.out, done.err) == (content, "")


def test_ls_of_more_than_a_page(prepared: Cluster, tmp_path: Path) -> None:
    source = tmp_path / "many"
    for number in range(1100):
        (source / f"d{number:04}").mkdir(parents=True)
    prepared.cli("put", str(source), "/c/many", timeout_s=200)
    names = prepared.cli("ls", "/c/many").text.splitlines()
    assert names == [f"d{number:04}/" for number in range(1100)]
    assert len(prepared.cli("ls", "/c/many", "--json").json()) == 1100


def test_a_drain_with_nowhere_to_go_says_so_at_once(prepared: Cluster) -> None:
    prepared.write("/c/drained", b"three copies on three nodes")
    done = prepared.cli("node", "drain", "alice-node-01")
    try:
        assert "Warning: Node alice-node-01 cannot be emptied" in done.err
        rows = [line.split() for line in prepared.cli("node", "list").text.splitlines()]
        left = {row[0]: row[-1] for row in rows[1:]}
        assert int(left["alice-node-01"]) > 0
        assert left["alice-node-02"].endswith("Z"), "nothing is to move there"
    finally:
        prepared.cli("node", "drain", "alice-node-01", "--stop")


def test_adopting_what_is_obeyed_and_discarding_what_is_not_there_are_conflicts(
    prepared: Cluster,
) -> None:
    done = prepared.cli("node", "adopt", "--all", "--yes", check=False)
    assert (done.code, "nothing to adopt" in done.err) == (8, True)
    done = prepared.cli("node", "adopt", "--discard", "--yes", check=False)
    assert (done.code, "No copies are quarantined" in done.err) == (8, True)
    assert prepared.cli("node", "adopt", check=False).code == 2
    assert prepared.cli("node", "adopt", "nobody", "--yes", check=False).code == 3


def test_the_audit_is_told_in_names_a_line_each(prepared: Cluster) -> None:
    prepared.cli("grant", "add", "/c:read", "zoe@home.alice")
    told = prepared.cli("audit").text
    assert "spiffe://" not in told
    assert "zoe@home.alice" in told
    heading, *rows = told.splitlines()
    assert heading.split() == ["AT", "WHO", "WHAT", "ON", "DETAIL"]
    assert all(row.startswith("20") for row in rows), "a row on a pipe goes on below"
