"""Set-up without reading: init, join, doctor and SIGHUP with real processes on loopback."""

from __future__ import annotations

import asyncio
import os
import pty
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final, cast

import pytest

from collective.cli.diagnosis.findings import Level, exit_code_of
from collective.cli.diagnosis.installation import Inspection, Installation
from collective.cli.diagnosis.member import direct_reach
from collective.core.errors import ExitCode
from collective.core.units import Address
from collective.pki.certificates import describe
from collective.pki.invite_code import InviteCode
from collective.pki.pem_files import load_certificate_file
from tests.integration.cluster import Cluster, Result, Service, command
from tests.integration.federation.houses import running_houses
from tests.integration.ports import free_port
from tests.integration.processes import wait_for
from tests.worlds import LINKS, REAL

if TYPE_CHECKING:
    from collective.model.status import Status

HOST: Final = "127.0.0.1"


def environment(folder: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("COLLECTIVE_")}
    return kept | {"HOME": str(folder / "home")}


def call(folder: Path, *arguments: str, stdin: bytes = b"") -> Result:
    result = command(*arguments, environment=environment(folder), stdin=stdin)
    assert "Traceback" not in result.err, result.err
    return result


def service_of(folder: Path, name: str, metrics_port: int) -> Service:
    """Return the process of a settings file that was written."""
    settings = environment(folder) | {"COLLECTIVE_CONFIG": str(folder / f"{name}.toml")}
    return Service(name, (), settings, folder / f"{name}.log", metrics_port)


class Home:
    """A member that was set up by the commands alone."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ports = {name: free_port() for name in ("c", "b", "m", "n1", "n2", "m1", "m2")}
        self.services: list[Service] = []

    def at(self, name: str) -> str:
        return f"{HOST}:{self.ports[name]}"

    def init(self, *more: str) -> Result:
        return call(
            self.folder, "init", "--role", "coordinator", "--member-id", "alice", "--yes",
            "--domain", "home.alice", "--address", HOST, "--copies", "2",
            "--coordinator-address", self.at("c"), "--bootstrap-address", self.at("b"),
            "--metrics-address", self.at("m"),
            "--output", str(self.folder / "coordinator.toml"), *more,
        )  # fmt: skip

    def start(self, name: str, metrics: str) -> Service:
        service = service_of(self.folder, name, self.ports[metrics])
        self.services.append(service)
        service.start()
        service.wait_ready()
        return service

    @property
    def code(self) -> bytes:
        return (self.folder / "coordinator/certs/join/node.code").read_bytes()

    def join(self, number: int) -> Result:
        return call(
            self.folder, "join", "-", "--as", "node", "--no-start", "--yes", "--json",
            "--address", HOST, "--node-address", self.at(f"n{number}"), "--storage-capacity", "1GB",
            "--metrics-address", self.at(f"m{number}"), "--name", f"node{number}",
            "--output", str(self.folder / f"node{number}.toml"), stdin=self.code,
        )  # fmt: skip

    @property
    def operator(self) -> Sequence[str]:
        certs = self.folder / "coordinator/certs"
        own = certs / "coordinators/alice-coordinator"
        return ["--ca", f"{certs}/ca/alice-ca.crt", "--cert", f"{own}.crt", "--key", f"{own}.key"]

    def cli(self, *arguments: str, stdin: bytes = b"") -> Result:
        return call(self.folder, *arguments, *self.operator, stdin=stdin)

    def doctor(self, *arguments: str) -> tuple[int, dict[str, list[dict[str, Any]]]]:
        """Return the exit code, and the findings by check."""
        done = call(self.folder, "doctor", "--json", *arguments)
        told = done.json()
        assert told["exit_code"] == done.code
        by_check: dict[str, list[dict[str, Any]]] = {}
        for part in told["parts"]:
            for one in part["findings"]:
                by_check.setdefault(one["check"], []).append(one)
        return done.code, by_check


@contextmanager
def home(folder: Path) -> Iterator[Home]:
    made = Home(folder)
    try:
        yield made
    finally:
        for service in made.services:
            if service.is_running:
                service.resume()
                service.kill()


@pytest.fixture(scope="module")
def alice(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """A coordinator and two nodes, set up by init and join, and a datastore."""
    with home(tmp_path_factory.mktemp("setup")) as made:
        assert made.init().code == 0
        made.start("coordinator", "m")
        for number in (1, 2):
            done = made.join(number)
            assert done.code == 0, done.out
            made.start(f"node{number}", f"m{number}")
        made.services[0].wait_writable()
        assert made.cli("mkdir", "/files").code == 0
        yield made


def test_a_member_that_was_set_up_stores_files_and_the_doctor_finds_nothing(alice: Home) -> None:
    assert alice.cli("write", "/files/a", stdin=b"content").code == 0
    assert alice.cli("read", "/files/a").out == b"content"
    files = [f"{alice.folder}/{name}.toml" for name in ("coordinator", "node1", "node2")]
    code, found = alice.doctor(*(word for file in files for word in ("--config", file)))
    assert code == 0, found
    checks = {"clock", "clock-skew", "disk", "owner", "certificate", "listening", "health"}
    assert checks | {"version", "node", "node-code", "snapshot", "backup"} <= set(found)
    assert (alice.folder / "node1.code").stat().st_mode & 0o777 == 0o600
    assert alice.join(1).code == 8, "a second join of that name is refused"


def test_init_says_what_comes_next(tmp_path: Path) -> None:
    with home(tmp_path) as made:
        told = made.init("--no-start", "--copies", "1").text
        assert f"Look         collective doctor --config {tmp_path}/coordinator.toml\n" in told
        assert f" with {tmp_path}/coordinator/certs/join/node.code\n" in told
        assert "nothing survives a disk" in told


def test_one_machine_for_all_keeps_one_copy_by_default(tmp_path: Path) -> None:
    roles = (
        "--role",
        "coordinator",
        "--role",
        "node",
        "--yes",
        "--output",
        str(tmp_path / "o.toml"),
    )
    ports = [f"{HOST}:{free_port()}" for _ in range(4)]
    names = ("--coordinator-address", "--bootstrap-address", "--node-address", "--metrics-address")
    addresses = (word for pair in zip(names, ports, strict=True) for word in pair)
    assert call(tmp_path, "init", *roles, *addresses).code == 0
    assert 'copies = "1"' in (tmp_path / "o.toml").read_text()


def test_what_is_there_is_not_replaced_and_a_taken_port_is_named(alice: Home) -> None:
    again = alice.init()
    assert again.code == 8
    assert "is there already; give --replace" in again.err
    other = str(alice.folder / "other.toml")
    taken = alice.init("--output", other)
    assert taken.code == 2
    assert "PROBLEM   port: coordinator_address: Cannot listen on" in taken.text
    assert not Path(other).exists(), "nothing is written where a check fails"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["init", "--role", "king"], 2, "There is no role 'king'"),
        (["init", "--member-id", "A B", "--yes"], 2, "Member id 'A B'"),
        (
            ["init", "--copies", "99", "--yes", "--member-id", "a"],
            2,
            "--copies: it must be a whole number",
        ),
        (["init", "--json"], 2, "give --member-id"),
        (["init", "--address", "host:99", "--yes"], 2, "'host:99' is no name and no IP"),
        (["init", "--role", "node", "--address", "http://x", "--yes"], 2, "no name and no IP"),
        (["init", "--role", "node", "--storage-capacity", "lots", "--yes"], 2, "Size 'lots'"),
        (["init", "--name", "No Name", "--yes"], 2, "must be 1 to 20"),
        (["init", "--yes", "--metrics-address", "127.0.0.1:8001"], 2, "are one port, and only"),
        (
            ["init", "--output", "settings", "--yes"],
            2,
            "settings must be a name that ends in .toml",
        ),
        (["init", "--output", ".toml", "--yes"], 2, "--output .toml must be a name that"),
        (
            ["init", "--role", "coordinator", "--storage-capacity", "banana", "--yes"],
            2,
            "--storage-capacity means nothing to a coordinator",
        ),
        (
            ["init", "--role", "node", "--copies", "3", "--yes"],
            2,
            "--copies means nothing to a node",
        ),
        (["join", "abc"], 2, "Invalid invite code"),
        (["join", "-"], 2, "No code came on stdin"),
        (["doctor", "--config", "/nowhere.toml"], 3, "/nowhere.toml"),
        (["doctor", "--backup", "/srv/backups"], 2, "No coordinator was examined here"),
    ],
)
def test_bad_input_gets_one_sentence(
    arguments: list[str], code: int, said: str, tmp_path: Path
) -> None:
    if arguments[0] == "init" and not {"--output", "--name"} & set(arguments):
        arguments = [*arguments, "--output", str(tmp_path / "x.toml")]  # not where root has its own
    done = call(tmp_path, *arguments)
    assert (done.code, said in done.err + done.text) == (code, True), done.err + done.text


@pytest.mark.parametrize(
    ("output", "said"),
    [
        ("folder.toml", "folder.toml is a folder; give a file"),
        ("file/x.toml", "/file is a file, and"),
        ("file/deep/x.toml", "/file is a file, and"),
        (os.fsdecode(b"\xff/x.toml"), "is not UTF-8"),
    ],
)
def test_a_place_that_cannot_be_used_is_named_as_what_it_is(
    output: str, said: str, tmp_path: Path
) -> None:
    (tmp_path / "folder.toml").mkdir()
    (tmp_path / "file").write_text("")
    done = call(tmp_path, "init", "--yes", "--output", f"{tmp_path}/{output}")
    assert (done.code, said in done.err) == (2, True), done.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder.toml"]


def test_settings_are_replaced_beside_their_running_process_and_kept(tmp_path: Path) -> None:
    with home(tmp_path) as made:
        assert made.init().code == 0
        made.start("coordinator", "m")
        file = tmp_path / "coordinator.toml"
        first = file.read_text()
        assert made.init("--force").code == 8, "to go on is not to replace"
        done = made.init("--replace", "--storage-capacity", "1GB", "--role", "node",
            "--node-address", made.at("n1"), "--json")  # fmt: skip
        assert (done.code, done.json()["kept"]) == (0, f"{file}.old"), done.text
        assert Path(f"{file}.old").read_text() == first
        assert "node_address" in file.read_text()
        taken = [one["level"] for one in done.json()["findings"] if one["check"] == "port"]
        assert sorted(taken) == ["ok", "warning", "warning", "warning"]
        other = made.init("--replace", "--metrics-address", made.at("b"))
        assert other.code == 2, "one port twice"


def test_a_node_whose_member_does_not_answer_is_not_set_up(tmp_path: Path) -> None:
    with home(tmp_path) as made:
        assert made.init().code == 0
        made.start("coordinator", "m")
        done = made.join(1)
        checks = {one["check"]: one["says"] for one in done.json()["findings"]}
        assert done.code == 0, done.out
        assert f"{made.at('b')} answers" in checks["bootstrap"]
        assert "the member that gave the code agree" in checks["clock-skew"]
        told = call(
            tmp_path, "join", "-", "--as", "node", "--no-start", "--yes", "--address", HOST,
            "--node-address", made.at("n2"), "--metrics-address", made.at("m2"),
            "--output", f"{tmp_path}/a b/node.toml", stdin=made.code,
        )  # fmt: skip
        assert told.code == 0, told.err
        assert f"  collective serve --config '{tmp_path}/a b/node.toml'" in told.text
        assert "Join code" not in told.text, "it was given"
        person = call(tmp_path, "join", "-", "--global-id", "eve@home.alice", stdin=made.code)
        assert (person.code, "collective join CODE --as node" in person.err) == (8, True)
        made.services[0].kill()
        done = made.join(2)
        assert (done.code, done.json()["written"]) == (5, False)
        problem = next(one for one in done.json()["findings"] if one["level"] == "problem")
        assert f"none answers here ({made.at('b')}: refused)" in problem["says"]
        assert not (tmp_path / "node2.toml").exists()


def test_a_person_joins_by_one_command(alice: Home, tmp_path: Path) -> None:
    made = alice.cli("invite", "generate", "--grant", "/files:read+write", "--json")
    code = made.json()["code"]
    done = call(tmp_path, "join", code, "--global-id", "mia@home.alice")
    assert done.code == 0, done.err
    assert "Joined alice-homelab" in done.text
    assert call(tmp_path, "identity", "show", "--json").json()["global_id"] == "mia@home.alice"
    wrong = call(tmp_path, "join", code, "--global-id", "eve@home.alice")
    assert wrong.code == 2
    assert "identity is mia@home.alice" in wrong.err
    for flags in (
        ["--data-dir", "/x"],
        ["--no-start"],
        ["--name", "x"],
        ["--force"],
        ["--replace"],
    ):
        mixed = call(tmp_path, "join", code, "--as", "person", *flags)
        assert (mixed.code, "give --as node" in mixed.err) == (2, True), flags
    named = call(tmp_path, "join", code, "--as", "person", "--display-name", "Mia")
    assert (named.code, "join without --display-name" in named.err) == (2, True)


# --- Troubleshooting of the source text ----------------------------------------------------------


def findings(folder: Path, *arguments: str) -> tuple[int, dict[str, list[dict[str, Any]]]]:
    return Home(folder).doctor(*arguments)


@pytest.fixture
def mia(alice: Home, tmp_path: Path) -> Path:
    """The folder of a person who has joined."""
    made = alice.cli("invite", "generate", "--grant", "/files:read+write", "--json")
    done = call(tmp_path, "join", made.json()["code"], "--global-id", f"{tmp_path.name}@home.alice")
    assert done.code == 0, done.err
    return tmp_path


def test_connection_refused_or_eof_without_having_joined(tmp_path: Path) -> None:
    """'You need to join via invite first'; 'The system requires TLS certificates'."""
    code, found = findings(tmp_path)
    assert code == 5
    assert "every call needs a certificate" in found["joined"][0]["says"]
    assert "collective invite redeem CODE" in found["joined"][0]["advice"]


@pytest.mark.parametrize(
    ("port", "said", "exit_code"),
    [
        ("m", "is a metrics listener", 5),
        ("n1", "is a node of home.alice, and no coordinator", 7),
        ("c", "answers in", 0),
    ],
)
def test_the_wrong_port_is_recognised(
    alice: Home, mia: Path, port: str, said: str, exit_code: int
) -> None:
    """'Port Mapping': three listeners, of which one is the coordinator's."""
    code, found = findings(mia, "--coordinator", alice.at(port))
    assert code == exit_code, found
    assert said in found["reachable"][0]["says"]


def test_connection_refused_where_nothing_runs(mia: Path) -> None:
    code, found = findings(mia, "--coordinator", f"{HOST}:{free_port()}")
    assert code == 5
    assert "refuses connections" in found["reachable"][0]["says"]


def test_parent_directory_does_not_exist(mia: Path) -> None:
    """'Create parent directories first'."""
    code, found = findings(mia, "--path", "/files/new/deep/file")
    assert code == 3
    assert found["path"][0]["says"] == "Parent directory does not exist: /files/new/deep."
    assert "collective mkdir -p /files/new/deep" in found["path"][0]["advice"]
    assert findings(mia, "--path", "/files/new")[0] == 0
    denied, told = findings(mia, "--path", "/elsewhere/x")
    assert (denied, told["path"][0]["level"]) == (4, "problem")


def test_cannot_connect_to_bob_or_carol(mia: Path) -> None:
    """A member that is no peer: what the operators do."""
    code, found = findings(mia, "--path", "/@garage.bob/media")
    assert code == 3
    assert "garage.bob is no peer" in found["path"][0]["says"]
    assert "collective peer invite garage.bob" in found["path"][0]["advice"]


def test_invalid_invite_code(alice: Home, mia: Path) -> None:
    """'Single-use by default'; 'Check expiration with invite list'."""
    made = alice.cli("invite", "generate", "--grant", "/files:read", "--json").json()
    config = f"{alice.folder}/coordinator.toml"
    code, found = alice.doctor("--config", config, "--code", made["code"])
    assert (code, found["code"][-1]["says"]) == (0, "The code is open: 1 uses left.")
    assert call(mia, "invite", "redeem", made["code"]).code == 0
    code, found = alice.doctor("--config", config, "--code", made["code"])
    assert code == 8
    assert found["code"][-1]["says"] == "Invalid invite code: it is used up."
    assert findings(mia, "--code", made["code"][:-3])[1]["code"][0]["exit_code"] == 2


def test_health_checks_of_a_dead_process(tmp_path: Path) -> None:
    """'Check if all services are healthy': what does not run is named, and how to start it."""
    with home(tmp_path) as made:
        assert made.init().code == 0
        config = f"{tmp_path}/coordinator.toml"
        code, found = made.doctor("--config", config)
        assert code == 5
        assert "the process does not run" in found["process"][0]["says"]
        assert f"collective serve --config {config}" in found["process"][0]["advice"]
        made.start("coordinator", "m")
        code, found = made.doctor("--config", config)
        assert code == 1, "it runs, and takes no writes without nodes"
        assert "needs 2 nodes for a write" in found["health"][0]["says"]


def test_a_process_that_hangs_is_no_other_program(tmp_path: Path) -> None:
    with home(tmp_path) as made:
        assert made.init().code == 0
        made.start("coordinator", "m").pause()
        code, found = made.doctor("--config", f"{tmp_path}/coordinator.toml")
        assert code == 5
        assert "port" not in found
        assert "accepts connections and answers nothing" in found["process"][0]["says"]
        assert "start it again: collective serve" in found["process"][0]["advice"]


def test_reset_everything_makes_another_member(tmp_path: Path) -> None:
    """A member that began anew has another CA: who joined the old one leaves and joins again."""
    with home(tmp_path) as made:
        assert made.init().code == 0
        first = made.start("coordinator", "m")
        invite = made.cli("invite", "generate", "--grant", "/x:read", "--json").json()
        assert call(tmp_path, "join", invite["code"], "--global-id", "mia@home.alice").code == 0
        first.terminate()
        (tmp_path / "coordinator").rename(tmp_path / "gone")
        made.start("coordinator", "m")
        code, found = made.doctor("--coordinator", made.at("c"))
        assert code == 7
        assert "identity leave alice-homelab" in found["call"][0]["advice"]


async def test_a_node_that_is_not_reached_goes_by_the_coordinator() -> None:
    """'Network Connectivity': nodes in a network of their own, as Docker's."""
    node = SimpleNamespace(node="alice-node-01", address=f"{HOST}:{free_port()}", is_healthy=True)
    found = await direct_reach(cast("Status", SimpleNamespace(nodes=[node])))
    assert [one.level for one in found] == [Level.WARNING]
    assert f"alice-node-01 at {node.address}" in found[0].says
    assert "advertise mapped ports or a VPN's addresses" in found[0].advice


def test_a_member_that_its_peer_cannot_reach_is_told_so_by_it(tmp_path: Path) -> None:
    """'Cannot connect to Bob or Carol', from the other side: NAT, or an address that is wrong."""

    def hide(member: Cluster) -> None:
        if member.member == "alice":
            advertised = f"{HOST}:{free_port()}"
            member.coordinator.environment["COLLECTIVE_ADVERTISE_ADDRESS"] = advertised

    with running_houses(tmp_path, "alice", "bob", nodes=0, prepare=hide) as houses:
        alice, bob = houses["alice"], houses["bob"]
        code = bob.cli("peer", "invite", alice.domain).text.splitlines()[-1]
        alice.cli("peer", "accept", code, "--yes")

        def told() -> dict[str, Any] | None:
            done = alice.cli("doctor", "--json", check=False).json()
            found = [one for part in done["parts"] for one in part["findings"]]
            return next((one for one in found if one["check"] == "reachable-from"), None)

        def is_hidden() -> dict[str, Any] | None:
            found = told()
            return found if found is not None and found["level"] == "problem" else None

        found = wait_for(is_hidden, "word of bob's that he does not reach alice")
        assert found["says"].startswith("home.bob does not reach this member")
        assert "refused" not in found["says"], "what is at an address is not told to who names it"
        assert "forward the coordinator's port" in found["advice"]


# --- SIGHUP --------------------------------------------------------------------------------------


def test_a_coordinator_takes_addresses_and_a_node_its_capacity_by_sighup(
    tmp_path: Path,
) -> None:
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager, home(tmp_path) as made:
        manager.bind(path)
        manager.settimeout(60)
        assert made.init().code == 0
        service = service_of(tmp_path, "coordinator", made.ports["m"])
        service.environment["NOTIFY_SOCKET"] = path
        made.services.append(service)
        service.start()
        service.wait_ready()
        file = tmp_path / "coordinator.toml"
        advertised = f'advertise_address = "{made.at("c")}"'
        assert advertised in file.read_text()
        file.write_text(
            file.read_text()
            .replace(
                advertised, f'advertise_address = "{made.at("c")},localhost:{made.ports["c"]}"'
            )
            .replace(
                f'bootstrap_advertise_address = "{made.at("b")}"',
                f'bootstrap_advertise_address = "localhost:{made.ports["b"]}"',
            )
        )
        old_code = made.code
        assert service.process is not None
        service.process.send_signal(signal.SIGHUP)
        said = ""
        while not said.startswith("RELOADING=1"):
            said = manager.recv(4096).decode()
        assert "MONOTONIC_USEC=" in said
        while not said.startswith("READY=1"):
            said = manager.recv(4096).decode()
        wait_for(lambda: made.code != old_code or None, "a node code with the new address")
        shown = load_certificate_file(
            str(tmp_path / "coordinator/certs/coordinators/alice-coordinator.crt"), disk=REAL.disk
        )
        assert f"localhost:{made.ports['c']}" in map(str, describe(shown).addresses)
        code = made.cli("invite", "generate", "--grant", "/x:read", "--json").json()["code"]
        found = made.doctor("--code", code)[1]
        assert f"localhost:{made.ports['b']} answers" in found["bootstrap"][0]["says"]
        assert service.is_running


# --- questions -----------------------------------------------------------------------------------


def test_init_asks_at_a_terminal_and_asks_again_after_a_wrong_answer(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    output = tmp_path / "c.toml"
    ports = [free_port() for _ in range(3)]
    arguments = [
        *("init", "--output", str(output), "--no-start", "--address", HOST),
        *("--coordinator-address", f"{HOST}:{ports[0]}"),
        *("--bootstrap-address", f"{HOST}:{ports[1]}"),
        *("--metrics-address", f"{HOST}:{ports[2]}"),
    ]
    with subprocess.Popen(
        [sys.executable, "-m", "collective", *arguments],
        stdin=theirs, stdout=theirs, stderr=theirs, env=environment(tmp_path),
        start_new_session=True,
    ) as asking:  # fmt: skip
        os.close(theirs)
        seen = b""
        for question, answer in (
            (b"What this machine is to be", b"\n"),
            (b"Your member id", b"Not An Id\n"),
            (b"must be 1-63", b""),
            (b"Your member id", b"alice\n"),
            (b"Its domain", b"home.alice\n"),
            (b"Copies of each piece", b"2\n"),
        ):
            seen = read_until(ours, seen, question)
            os.write(ours, answer)
        with suppress(OSError):  # the other end is gone
            while os.read(ours, 4096):
                pass
        assert asking.wait(60) == 0
    os.close(ours)
    text = output.read_text()
    for line in ('member_id = "alice"', 'domain = "home.alice"', 'copies = "2"'):
        assert line in text


def read_until(terminal: int, seen: bytes, wanted: bytes) -> bytes:
    """Return what came after ``wanted``."""
    while wanted not in seen:
        seen += os.read(terminal, 4096)
    return seen.partition(wanted)[2]


@pytest.mark.parametrize("setting", ["node_address", "metrics_address"])
def test_an_address_that_cannot_be_listened_on_now_is_tried_again(
    tmp_path: Path, setting: str
) -> None:
    """A port that is taken, a VPN that is not up yet: 2 would keep the unit from another start."""
    with socket.create_server((HOST, 0)) as taken:
        for address in (f"{HOST}:{taken.getsockname()[1]}", "192.0.2.7:8101"):
            chosen = {"node_address": f"{HOST}:{free_port()}"} | {setting: address}
            flags = [f"--{name.replace('_', '-')}={told}" for name, told in chosen.items()]
            folders = [f"--data-dir={tmp_path}/data", f"--cert-dir={tmp_path}/certs"]
            code = InviteCode((Address(HOST, 9),), bytes(32), "0" * 16, bytes(16)).encode()
            done = call(tmp_path, "serve", "--role=node", *flags, *folders, f"--join-code={code}")
            assert done.code == ExitCode.FAILURE, done.err
            assert address in done.err


def test_a_node_that_was_set_up_without_a_code_joins_by_the_file_that_init_names(
    tmp_path: Path,
) -> None:
    config, code = tmp_path / "n1.toml", tmp_path / "n1.code"
    with home(tmp_path) as made:
        assert made.init().code == 0
        made.start("coordinator", "m")
        done = call(
            tmp_path, "init", "--role", "node", "--yes", "--address", HOST, "--name", "n1",
            "--node-address", made.at("n1"), "--metrics-address", made.at("m1"),
            "--storage-capacity", "1GB", "--output", str(config),
        )  # fmt: skip
        assert done.code == 0, done.err
        assert f"into {code} (0600)" in done.text
        _, found = made.doctor("--config", str(config))
        assert f"put the code into {code}" in found["enrolment"][0]["advice"]
        code.write_bytes(made.code)
        made.start("n1", "m1")


def test_a_doctor_without_rights_judges_nothing_that_it_cannot_see(tmp_path: Path) -> None:
    """Else a CA and its key that only root may see were 'missing'."""
    if os.geteuid() != 0:
        pytest.skip("only root can ask as somebody else")
    it = Installation.of(str(node_file(tmp_path)), REAL.disk)
    (tmp_path / "n1" / "certs").mkdir(parents=True)
    inspection = Inspection(it, LINKS, REAL.clock, REAL.disk)
    os.seteuid(65_534)
    try:
        found = asyncio.run(inspection.findings(None))
    finally:
        os.seteuid(0)
    assert [one.check for one in found] == ["clock", "rights"]
    assert exit_code_of(found) == ExitCode.PERMISSION_DENIED


def test_codes_and_keys_beside_the_settings_are_looked_at(tmp_path: Path) -> None:
    """Not only what lies in the cert dir."""
    it = Installation.of(str(node_file(tmp_path)), REAL.disk)
    code, key = tmp_path / "n1.code", tmp_path / "n1.certs" / "bootstraps" / "gate.key"
    key.parent.mkdir(parents=True)
    for path in (code, key):
        path.write_text("secret")
        path.chmod(0o644)
    inspection = Inspection(it, LINKS, REAL.clock, REAL.disk)
    says = [one.says for one in inspection._exposed()]
    assert says == [f"Others can read {key}.", f"Others can read {code}."]
    held = Installation.of(str(node_file(tmp_path, join_code="abc")), REAL.disk)
    says = [one.says for one in Inspection(held, LINKS, REAL.clock, REAL.disk)._exposed()]
    assert f"Others can read {held.place.settings}, which holds a join code." in says


def node_file(folder: Path, **more: str) -> Path:
    """Write the settings of a node, whose folders are beside them."""
    file = folder / "n1.toml"
    told = {
        "role": "node",
        "node_address": f"{HOST}:1",
        "data_dir": f"{folder}/n1/data",
        "cert_dir": f"{folder}/n1/certs",
        **(more or {"join_code_file": f"{folder}/n1.code"}),
    }
    file.write_text("".join(f'{name} = "{value}"\n' for name, value in told.items()))
    return file


def test_a_settings_file_that_is_not_there_is_not_found(tmp_path: Path) -> None:
    config = f"{tmp_path}/nothing.toml"
    done = call(tmp_path, "doctor", "--config", config)
    assert done.code == ExitCode.NOT_FOUND
    assert f"{config} does not exist" in done.text
    assert f"make it: collective init --output {config}" in done.text


def test_a_mistyped_path_is_refused_before_anything_is_looked_at(alice: Home) -> None:
    config = f"{alice.folder}/coordinator.toml"
    done = call(alice.folder, "doctor", "--config", config, "--path", "nonsense")
    assert (done.code, done.text) == (ExitCode.USAGE, "")
    assert "must begin with '/'" in done.err
