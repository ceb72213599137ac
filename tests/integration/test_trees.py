"""Trees by the real executable: what comes back, what is named, which exit code."""

from __future__ import annotations

import os
import random
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from collective.core.limits import HOLE_LEAST_BYTES
from tests.integration.cluster import Cluster
from tests.trees.machine import NOBODY, Names, Seen, snapshot

MIB = 1 << 20
NOTHING = {"files": 0, "links": 0, "directories": 0, "attributes": 0, "bytes": 0, "left_out": []}


def seen(root: Path) -> dict[Names, Seen]:
    return snapshot(root, HOLE_LEAST_BYTES)


def mixed(root: Path) -> None:
    """A tree with everything that the issue's tree had lost."""
    (root / "mail" / "empty").mkdir(parents=True)
    (root / "mail" / "letter").write_bytes(b"dear")
    (root / "big").write_bytes(random.Random(1).randbytes(9 * MIB))
    for name, target in (
        ("relative", "mail/letter"), ("absolute", "/etc/hostname"), ("dangling", "nowhere"),
        ("to-a-directory", "mail"), ("out", "../../.."), ("itself", "itself"),
    ):  # fmt: skip
        (root / name).symlink_to(target)
        os.utime(root / name, ns=(0, -5), follow_symlinks=False)
    with (root / "image").open("wb") as image:
        image.write(b"boot")
        os.pwrite(image.fileno(), b"data", 200 * MIB)
        image.truncate(400 * MIB)
    for number, moment_ns in enumerate((0, -1, 1, -86_400 * 10**9, 1_234_567_890_123_456_789)):
        (root / f"dated-{number}").write_bytes(b"x")
        os.utime(root / f"dated-{number}", ns=(0, moment_ns))
    (root / "private").write_bytes(b"s")
    (root / "private").chmod(0o400)
    (root / "mail").chmod(0o700)
    os.utime(root / "mail", ns=(0, -(10**15)))
    root.chmod(0o750)


def put(cluster: Cluster, source: Path, path: str, *options: str, code: int = 0) -> Any:
    done = cluster.cli("put", str(source), path, "--json", *options, check=False)
    assert done.code == code, done.err
    return done.json()


def test_a_tree_comes_back_as_it_went_and_a_second_run_carries_what_changed(
    cluster: Cluster, tmp_path: Path
) -> None:
    source, back = tmp_path / "source", tmp_path / "back"
    mixed(source)
    first = put(cluster, source, "/first/tree")
    assert (first["left_out"], first["links"], first["files"]) == ([], 6, 9)
    came = cluster.cli("get", "/first/tree", str(back), "--json").json()
    assert came["left_out"] == []
    assert seen(back) == seen(source)
    assert (back / "image").stat().st_blocks * 512 < MIB
    for options in ((), ("--checksum",)):
        again = put(cluster, source, "/first/tree", *options)
        assert {name: again[name] for name in NOTHING} == NOTHING
    (source / "mail" / "letter").chmod(0o600)
    like = source / "big.new"
    like.write_bytes(random.Random(2).randbytes(9 * MIB))
    shutil.copystat(source / "big", like)
    like.rename(source / "big")
    os.utime(source, ns=(0, 7))
    second = put(cluster, source, "/first/tree")
    assert (second["files"], second["bytes"], second["attributes"]) == (1, 9 * MIB, 2)
    came = cluster.cli("get", "/first/tree", str(back), "--json").json()
    assert (came["files"], came["attributes"]) == (1, 2)
    assert seen(back) == seen(source)


def test_what_is_left_out_is_named_twice_and_the_exit_code_is_9(
    cluster: Cluster, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    source.joinpath(*["d"] * 129).mkdir(parents=True)
    os.mkfifo(source / "pipe")
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(source / "socket"))
    (source / "kept").write_bytes(b"kept")
    (source / "here-a-directory").mkdir()
    cluster.cli("mkdir", "-p", "/second/tree")
    cluster.write("/second/tree/here-a-directory", b"there a file")
    done = cluster.cli("put", str(source), "/second/tree", "--json", check=False)
    assert done.code == 9
    told = {Path(one["name"]).name: one["reason"] for one in done.json()["left_out"]}
    assert set(told) == {"d", "pipe", "socket", "here-a-directory"}
    assert all(str(source / name) in done.err for name in ("pipe", "socket", "here-a-directory"))
    assert "128 names" in told["d"]
    assert "each named above" in done.err.splitlines()[-1]
    assert cluster.read("/second/tree/kept") == b"kept"
    assert cluster.read("/second/tree/here-a-directory") == b"there a file"
    back = tmp_path / "back"
    (back / "kept").mkdir(parents=True)
    got = cluster.cli("get", "/second/tree", str(back), "--json", check=False)
    assert got.code == 9
    assert [one["name"] for one in got.json()["left_out"]] == ["/second/tree/kept"]
    assert "/second/tree/kept" in got.err
    assert (back / "here-a-directory").read_bytes() == b"there a file"


def test_a_link_at_the_member_is_shown_and_never_followed(cluster: Cluster, tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "d").mkdir(parents=True)
    (source / "d" / "file").write_bytes(b"1")
    (source / "l").symlink_to("d")
    put(cluster, source, "/third/tree")
    stated = cluster.cli("stat", "/third/tree/l", "--json").json()
    assert (stated["kind"], stated["target"]) == ("link", "d")
    assert "target        d" in cluster.cli("stat", "/third/tree/l").text
    assert "l -> d" in cluster.cli("ls", "-l", "/third/tree").text
    assert cluster.cli("ls", "/third/tree").text.splitlines() == ["d/", "l"]
    read = cluster.cli("read", "/third/tree/l", check=False)
    assert read.code == 8
    assert "symbolic link, which is not followed" in read.err
    assert cluster.cli("read", "/third/tree/l/file", check=False).code == 3
    assert cluster.cli("write", "/third/tree/l/new", stdin=b"x", check=False).code == 8
    cluster.cli("get", "/third/tree/l", str(tmp_path / "link"))
    assert os.readlink(tmp_path / "link") == "d"
    cluster.cli("mv", "/third/tree/l", "/third/tree/m")
    assert cluster.cli("stat", "/third/tree/m", "--json").json()["target"] == "d"
    cluster.cli("rm", "/third/tree/m")
    assert cluster.read("/third/tree/d/file") == b"1"


def test_ranges_of_a_hole_read_as_zeros(cluster: Cluster, tmp_path: Path) -> None:
    image = tmp_path / "image"
    with image.open("wb") as file:
        file.write(b"head")
        file.truncate(40 * MIB)
        os.pwrite(file.fileno(), b"tail", 40 * MIB)
    cluster.cli("mkdir", "/fourth")
    cluster.cli("put", str(image), "/fourth/image")
    stated = cluster.cli("stat", "/fourth/image", "--json").json()
    assert (stated["size"], stated["chunk_count"]) == (40 * MIB + 4, 2)
    for offset, length in ((0, 10), (MIB, 3 * MIB), (40 * MIB - 5, 9)):
        options = ("--offset", str(offset), "--length", str(length))
        part = cluster.cli("read", "/fourth/image", *options).out
        assert part == image.read_bytes()[offset : offset + length]


@pytest.fixture
def person(cluster: Cluster) -> Iterator[Callable[..., subprocess.CompletedProcess[bytes]]]:
    """Give a way to run commands as somebody whom file modes hold, with the operator's credentials."""
    home = Path(tempfile.mkdtemp(prefix="collective-person-"))
    ca, certificate, key = (shutil.copy(cluster.operator[index], str(home)) for index in (3, 5, 7))
    for path in (home, *home.iterdir()):
        NOBODY.own(path)
    environment = cluster.client_environment | {
        "HOME": str(home),
        "COLLECTIVE_COORDINATOR": cluster.operator[1],
        "COLLECTIVE_CA": str(ca),
        "COLLECTIVE_CERT": str(certificate),
        "COLLECTIVE_KEY": str(key),
    }

    def run(*arguments: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [sys.executable, "-m", "tests.integration.as_somebody", str(NOBODY.uid), *arguments],
            capture_output=True,
            check=False,
            cwd=Path(__file__).parents[2],
            env=environment,
        )

    yield run
    shutil.rmtree(home)


def test_a_directory_that_may_not_be_read_is_named_also_as_the_root(
    cluster: Cluster, person: Callable[..., subprocess.CompletedProcess[bytes]]
) -> None:
    source = Path(tempfile.mkdtemp(prefix="collective-source-"))
    closed = source / "closed"
    closed.mkdir()
    (source / "open").write_bytes(b"1")
    (source / "secret").write_bytes(b"2")
    for path in (source, *source.iterdir()):
        NOBODY.own(path)
    closed.chmod(0)
    (source / "secret").chmod(0)
    try:
        done = person("put", str(source), "/fifth/tree", "--json")
        assert done.returncode == 9, done.stderr
        assert str(closed).encode() in done.stdout
        assert str(closed).encode() in done.stderr
        assert str(source / "secret").encode() in done.stderr
        names = cluster.cli("ls", "/fifth/tree").text.splitlines()
        assert names == ["open"]
        done = person("put", str(closed), "/fifth/closed", "--json")
        assert done.returncode == 9, done.stderr
        assert str(closed).encode() in done.stdout
        assert cluster.cli("stat", "/fifth/closed", check=False).code == 3
    finally:
        closed.chmod(stat.S_IRWXU)
        shutil.rmtree(source)


def test_a_full_disk_keeps_no_hidden_part(
    cluster: Cluster, tmp_path: Path, small_disk: Callable[[Path, int], None]
) -> None:
    target = tmp_path / "small"
    small_disk(target, 8)
    cluster.cli("mkdir", "-p", "/sixth/tree")
    cluster.write("/sixth/tree/large", random.Random(3).randbytes(12 * MIB))
    cluster.write("/sixth/tree/small", b"fits")
    done = cluster.cli("get", "/sixth/tree", str(target / "back"), "--json", check=False)
    assert done.code == 9, done.err
    assert [one["name"] for one in done.json()["left_out"]] == ["/sixth/tree/large"]
    assert os.listdir(target / "back") == ["small"]
    done = cluster.cli("get", "/sixth/tree/large", str(target / "large"), check=False)
    assert done.code == 1
    assert "No space left" in done.err
    assert os.listdir(target) == ["back"]
