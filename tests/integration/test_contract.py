"""The contract as a stranger reads it: streams, pipes, signals, settings, edges of values.

Everything here runs the real command line in processes of its own against one member.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import psutil
import pytest

from tests.integration.cluster import Cluster
from tests.integration.ports import free_port
from tests.integration.processes import wait_for

COMMAND = (sys.executable, "-m", "collective")
CONTENT = bytes(range(256)) * 40_000  # three chunks


@pytest.fixture(scope="module")
def member(cluster: Cluster) -> Cluster:
    cluster.cli("mkdir", "/x")
    cluster.write("/x/file", CONTENT)
    return cluster


def shell(cluster: Cluster, script: str) -> tuple[int, bytes, str]:
    """Run ``script`` in a shell where ``collective`` is the command and $OP the operator."""
    prelude = f'collective() {{ "{sys.executable}" -m collective "$@"; }}\n'
    done = subprocess.run(
        ["bash", "-c", prelude + script],
        env=cluster.client_environment | {"OP": " ".join(cluster.operator)},
        capture_output=True,
        stdin=subprocess.DEVNULL,
        check=False,
        timeout=120,
    )
    error = done.stderr.decode()
    assert "Traceback" not in error
    assert "unexpected" not in error
    return done.returncode, done.stdout, error


@pytest.mark.parametrize(
    ("script", "code"),
    [
        ("collective read /x/file $OP >&-", 1),
        ("collective ls / $OP >&-", 1),
        ("collective read /x/file $OP >/dev/full", 1),
        ("collective ls / $OP >/dev/full", 1),
        ("collective write /x/nothing $OP <&-", 1),
        ("collective stat /x/absent $OP 2>&-", 3),
        ("collective read /x/file $OP | head -c1 >/dev/null; exit ${PIPESTATUS[0]}", 1),
    ],
)
def test_streams_that_are_closed_or_full_end_a_command_in_one_sentence(
    member: Cluster, script: str, code: int
) -> None:
    got, out, error = shell(member, script)
    assert (got, out) == (code, b""), error
    assert len(error.splitlines()) <= 1, error


@pytest.mark.parametrize("command", ["ls /", "read /x/file", "write /x/few"])
def test_too_few_open_files_are_told_in_one_sentence(member: Cluster, command: str) -> None:
    for allowed in (8, 12, 16, 20, 24, 28, 256):
        code, _, error = shell(member, f"ulimit -n {allowed}; collective {command} $OP </dev/null")
        assert code == 0 if allowed == 256 else code in {0, 1}, (allowed, error)
        assert len(error.splitlines()) == (code != 0), (allowed, error)
        assert code == 0 or "ulimit -n 1024" in error, (allowed, error)


def test_a_low_soft_limit_of_open_files_is_raised(member: Cluster, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    for number in range(40):
        (tree / f"{number}").write_bytes(b"%d" % number)
    code, _, error = shell(member, f"ulimit -Sn 12; collective put {tree} /x/many $OP")
    assert (code, error) == (0, "")


def test_what_goes_to_a_directory_goes_into_it(member: Cluster) -> None:
    def listed() -> list[str]:
        return [one["path"] for one in member.cli("ls", "-R", "/into", "--json").json()]

    for folder in ("/into", "/into/there", "/into/tree", "/into/tree/sub"):
        member.cli("mkdir", folder)
    for name in ("a", "b", "there/b"):
        member.write(f"/into/{name}", name.encode())
    member.cli("mv", "/into/a", "/into/there/")
    member.cli("mv", "/into/b", "/into/there")
    member.cli("mv", "/into/tree", "/into/there")
    assert listed() == [
        "/into/there", "/into/there/a", "/into/there/b", "/into/there/tree", "/into/there/tree/sub",
    ]  # fmt: skip
    assert member.cli("read", "/into/there/b").out == b"b", "what had the name there is replaced"
    for old, new, code in (
        ("/into/there/a", "/into/absent/", 3),
        ("/into/there", "/into/there/tree", 8),
        ("/into/absent", "/into/there/", 3),
    ):
        assert member.cli("mv", old, new, check=False).code == code, (old, new)
    member.cli("mv", "/into/there/a", "/into/there/b")
    assert member.cli("read", "/into/there/b").out == b"a"


def test_a_closed_stdin_writes_no_file(member: Cluster) -> None:
    shell(member, "collective write /x/unwritten $OP <&-")
    assert member.cli("stat", "/x/unwritten", check=False).code == 3


def test_names_come_out_of_a_pipe_as_they_went_in(member: Cluster) -> None:
    names = ("a\u200bb", "\u202etrick", "👩\u200d👩\u200d👧", "e\u0301", "é", "back\\slash")
    member.cli("mkdir", "/exact")
    for name in names:
        member.write(f"/exact/{name}", b"")
    code, out, _ = shell(member, "PYTHONIOENCODING=ascii collective ls /exact $OP")
    assert code == 0
    assert sorted(out.decode().removesuffix("\n").split("\n")) == sorted(names)


def is_importing(pid: int, _: Cluster) -> bool:
    return "_ssl." in Path(f"/proc/{pid}/maps").read_text()


def is_connected(pid: int, member: Cluster) -> bool:
    found = psutil.Process(pid).net_connections("tcp")
    return any(one.raddr and one.raddr.port == member.coordinator_port for one in found)


@pytest.mark.parametrize(("fed", "is_there"), [(b"", is_importing), (CONTENT, is_connected)])
def test_an_interrupt_at_any_moment_is_silent_and_exits_130(
    member: Cluster, fed: bytes, is_there: Callable[[int, Cluster], bool]
) -> None:
    """From when the program itself runs: before, the word is Python's."""
    with subprocess.Popen(
        [*COMMAND, "write", "/x/interrupted", *member.operator],
        env=member.client_environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdin is not None
        process.stdin.write(fed)
        process.stdin.flush()
        wait_for(lambda: is_there(process.pid, member), "moment", every_s=0.001)
        process.send_signal(signal.SIGINT)
        code = process.wait(180)
        _, error = process.communicate()
    assert code == 130
    assert error == b""
    assert member.cli("stat", "/x/interrupted", check=False).code == 3


@pytest.mark.parametrize(
    ("offset", "length", "wanted"),
    [
        (len(CONTENT), 1, b""),
        (len(CONTENT) - 1, 10, CONTENT[-1:]),
        (4 * 1024 * 1024 - 1, 2, CONTENT[4 * 1024 * 1024 - 1 :][:2]),
        (1 << 63, 1, b""),
        (1 << 64, 1, b""),
        (len(CONTENT) - 2, 1 << 63, CONTENT[-2:]),
        (5, 0, b""),
    ],
)
def test_ranges_at_and_beyond_the_edges(
    member: Cluster, offset: int, length: int, wanted: bytes
) -> None:
    done = member.cli("read", "/x/file", "--offset", str(offset), "--length", str(length))
    assert (done.out, done.err) == (wanted, "")


@pytest.mark.parametrize(
    "arguments",
    [
        ("invite", "generate", "--grant", "/x:read", "--validity", "0h"),
        ("invite", "generate", "--grant", "/x:read", "--validity", "99999999d"),
        ("invite", "generate", "--grant", "/x:read", "--max-uses", "0"),
        ("invite", "generate", "--grant", "/x:fly"),
        ("grant", "add", "/x:read", "eve@home.alice", "--validity", "0h"),
        ("grant", "add", "/x:read", "nobody"),
    ],
)
def test_what_could_never_be_used_is_refused_not_made(
    member: Cluster, arguments: Sequence[str]
) -> None:
    done = member.cli(*arguments, check=False)
    assert (done.code, done.out) == (2, b"")
    assert len(done.err.splitlines()) == 1


def test_an_invite_that_nobody_made_is_not_found(member: Cluster) -> None:
    for name in ("nope", "0123456789abcdef"):
        done = member.cli("invite", "revoke", name, check=False)
        assert done.code == 3
        assert "collective invite list" in done.err


def test_every_invite_command_takes_the_operators_credentials(
    member: Cluster, tmp_path: Path
) -> None:
    made = member.cli("invite", "generate", "--grant", "/x:read", "--json").json()
    done = subprocess.run(
        [*COMMAND, "invite", "redeem", made["code"], *member.operator],
        env=member.client_environment | {"COLLECTIVE_CONFIG_DIR": str(tmp_path)},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    listed = member.cli("invite", "list", "--all", "--json").json()
    state = {one["id"]: one["state"] for one in listed}[made["id"]]
    assert state == "used up"
    assert member.cli("invite", "revoke", made["id"], check=False).code in {0, 8}


def test_a_coordinator_that_does_not_listen_is_named_with_the_reason(member: Cluster) -> None:
    where = f"127.0.0.1:{free_port()}"
    options = ["--coordinator", where, *member.operator[2:]]
    done = member.cli("ls", "/", check=False, credentials=options)
    assert (done.code, done.out) == (5, b"")
    assert (
        done.err
        == f"Error: No connection to {where}: connection refused; check that it runs there.\n"
    )


def serve(
    folder: Path, roles: Sequence[str], settings: Mapping[str, str], *, timeout_s: float = 20
) -> tuple[int, str]:
    """Run ``serve`` to its end, which must come by itself; return exit code and stderr."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("COLLECTIVE_")}
    own = {
        "MEMBER_ID": "zed",
        "COORDINATOR_ADDRESS": f"127.0.0.1:{free_port()}",
        "DATA_DIR": str(folder / "data"),
        "CERT_DIR": str(folder / "certs"),
        **settings,
    }
    arguments = [part for role in roles for part in ("--role", role)]
    done = subprocess.run(
        [*COMMAND, "serve", *arguments],
        env=kept | {f"COLLECTIVE_{name}": value for name, value in own.items()},
        capture_output=True,
        check=False,
        timeout=timeout_s,
    )
    return done.returncode, done.stderr.decode()


def test_another_member_or_domain_on_the_same_cert_dir_refuses_to_start(
    member: Cluster, tmp_path: Path
) -> None:
    certs = {"CERT_DIR": str(member.cert_dir("coordinator")), "DATA_DIR": str(tmp_path)}
    for settings in ({"MEMBER_ID": "alice", "DOMAIN": "else.where"}, {"MEMBER_ID": "zed"}):
        code, error = serve(tmp_path, ["coordinator"], certs | settings)
        assert code == 2, error
        assert "The CA belongs to alice" in error
        assert "Traceback" not in error


def test_a_data_dir_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    code, error = serve(tmp_path, ["coordinator"], {"DATA_DIR": str(tmp_path / "file" / "data")})
    assert code == 1
    assert "cannot be used: not a directory" in error
    assert "exception" not in error


def test_one_process_with_every_role_needs_no_join_code(tmp_path: Path) -> None:
    alone = Cluster(tmp_path / "member", node_count=0, member="zed", domain="zed.home")
    process = alone.coordinator
    process.roles = ("coordinator", "node", "bootstrap")
    process.environment |= {
        "COLLECTIVE_COPIES": "1",
        "COLLECTIVE_NODE_ADDRESS": f"127.0.0.1:{free_port()}",
        "COLLECTIVE_STORAGE_CAPACITY": "64MiB",
    }
    try:
        alone.start()
        alone.wait_healthy(1)
        alone.cli("mkdir", "/s")
        alone.write("/s/file", b"alone")
        assert alone.read("/s/file") == b"alone"
        assert process.terminate(180) == 0
    finally:
        alone.kill_all()


def test_an_address_of_another_role_or_member_is_told_in_a_sentence(member: Cluster) -> None:
    node = f"127.0.0.1:{next(iter(member.node_ports.values()))}"
    options = [node if "127.0.0.1" in one else one for one in member.operator]
    done = member.cli("ls", "/", credentials=options, check=False)
    assert done.code == 7
    assert done.err.strip() == (
        f"Error: {node} is a node, not a coordinator; give the coordinator's address."
    )


def test_an_expired_certificate_is_told_in_a_sentence(member: Cluster, tmp_path: Path) -> None:
    certs = member.cert_dir("coordinator")
    ca = certs / "ca" / f"{member.member}-ca"
    who = f"late@{member.domain}"
    member.cli(
        "pki", "issue", "--user", who, "--validity", "1s", "--out", str(tmp_path),
        "--ca-key", f"{ca}.key",
        credentials=(),
    )  # fmt: skip
    time.sleep(2)
    own = tmp_path / "users" / who
    options = [
        *member.operator[:2],
        "--ca",
        f"{ca}.crt",
        "--cert",
        f"{own}.crt",
        "--key",
        f"{own}.key",
    ]
    done = member.cli("ls", "/", credentials=options, check=False)
    assert done.code == 8, done.err
    assert done.err.startswith("Error: Your certificate ran out on 20")
    assert "compare it with another" in done.err
