"""A member under systemd: set up by init and join, reloaded, restarted, hung, on full and foreign disks."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from typing import Any, Final

import pytest

from tests.systemd.machine import Machine, booted

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

CERTS: Final = "/var/lib/collective/coordinator/certs"
NODES: Final = ("node1", "node2", "node3")
UNITS: Final = tuple(f"collective-{name}.service" for name in NODES)
COORDINATOR: Final = "collective-coordinator.service"
QUICK_WATCHDOG: Final = "[Service]\nWatchdogSec=4s\nTimeoutAbortSec=3s\n"
LOOP: Final = """
i=0
while [ ! -e /run/loop-ends ]; do
  i=$((i+1))
  echo "content $i" | collective write /files/f$i >>/run/loop.out 2>&1 || echo "FAILED write $i"
  collective read /files/f$i 2>>/run/loop.out | grep -qx "content $i" || echo "FAILED read $i"
done
echo "done $i"
"""


def join_node(machine: Machine, number: int, *more: str) -> None:
    """Set a node up by the one command, as its operator would."""
    code = machine.run("cat", f"{CERTS}/join/node.code")
    machine.run(
        *("collective", "join", "-", "--as", "node", "--name", f"node{number}", "--yes"),
        *("--address", "127.0.0.1", "--node-address", f"0.0.0.0:{8100 + number}"),
        *("--metrics-address", f"127.0.0.1:{9090 + number}", *more),
        stdin=code,
    )


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A member of a coordinator and three nodes, each a unit; the third has a small disk of its own."""
    with booted(tmp_path_factory.mktemp("machine")) as made:
        made.run(
            *("collective", "init", "--role", "coordinator", "--yes", "--start"),
            *("--member-id", "alice", "--domain", "home.alice", "--address", "127.0.0.1"),
        )
        assert made.property(COORDINATOR, "ActiveState") == "active", "init waits for it"
        made.shell("mkdir -p /srv/disk && mount -t tmpfs -o size=200m tmpfs /srv/disk")
        join_node(made, 1, "--storage-capacity", "1GB")
        join_node(made, 2, "--storage-capacity", "1GB")
        join_node(made, 3, "--data-dir", "/srv/disk/collective", "--force")
        for unit in UNITS:
            made.wait_active(unit)
        wait_healthy(made, 3)
        made.run("collective", "mkdir", "/files")
        yield made


def status(machine: Machine) -> Any:
    return json.loads(machine.run("collective", "status", "--json"))


def healthy(machine: Machine) -> set[str]:
    found = status(machine)["local_nodes"]
    return {one["id"] for one in found if one["is_healthy"]}


def wait_healthy(machine: Machine, count: int) -> None:
    machine.wait(lambda: len(healthy(machine)) >= count or None, f"{count} healthy nodes")


def test_the_units_run_hardened_and_each_as_a_user_of_its_own(machine: Machine) -> None:
    users = set()
    for unit in (COORDINATOR, *UNITS):
        process = f"/proc/{machine.property(unit, 'MainPID')}"
        users.add(machine.run("stat", "-c", "%u", process).strip())
        assert machine.property(unit, "StatusText").startswith("serving")
        machine.run("systemd-analyze", "security", "--threshold=30", "--no-pager", unit)
    assert len(users) == 4
    assert "0" not in users
    assert machine.run("stat", "-c", "%a", "/var/lib/private/collective/node1").strip() == "700"
    state = machine.shell("ls -ld /srv/disk/collective")
    assert state.startswith("drwx------"), state


def test_settings_are_read_again_without_a_restart(machine: Machine) -> None:
    before = machine.property(UNITS[0], "MainPID")
    machine.shell(
        'sed -i \'s/^storage_capacity = .*/storage_capacity = "900MB"/;'
        ' s/^# log_level = .*/log_level = "debug"/; s/^# scrub_cycle = .*/scrub_cycle = "7d"/\''
        " /etc/collective/node1.toml"
    )
    machine.run("systemctl", "reload", UNITS[0])

    def is_smaller() -> bool | None:
        found = [one["total_capacity"] for one in status(machine)["local_nodes"]]
        return True if 900_000_000 in found else None

    machine.wait(is_smaller, "capacity of 900 MB")
    assert machine.property(UNITS[0], "MainPID") == before
    assert machine.property(UNITS[0], "ActiveState") == "active"
    log = machine.journal(UNITS[0])
    assert '"changed": ["log_level", "storage_capacity_bytes"]' in log
    assert '"changed": ["scrub_cycle_s"]' in log, "what needs a restart is named"
    machine.shell("echo 'no toml' >> /etc/collective/node1.toml")
    machine.run("systemctl", "reload", UNITS[0])
    machine.wait(
        lambda: "settings not reloaded" in machine.journal(UNITS[0]) or None, "refused settings"
    )
    assert machine.property(UNITS[0], "MainPID") == before
    machine.shell("sed -i '$d' /etc/collective/node1.toml")


def test_nodes_restart_one_after_the_other_without_a_failed_call(machine: Machine) -> None:
    machine.shell("rm -f /run/loop-ends /run/loop.out")
    loop = subprocess.Popen(
        machine.command("/bin/sh", "-c", LOOP), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        env={"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": "/root"}, text=True,
    )  # fmt: skip
    try:
        for unit in UNITS:
            before = machine.property(unit, "MainPID")
            machine.run("systemctl", "restart", unit)
            assert machine.property(unit, "MainPID") != before
            wait_healthy(machine, 3)
    finally:
        machine.shell("touch /run/loop-ends")
        said, _ = loop.communicate(timeout=180)
    assert "FAILED" not in said, said + machine.shell("tail -20 /run/loop.out")
    assert int(said.split()[-1]) >= 3, "the client worked meanwhile"


def test_a_coordinator_that_restarts_loses_nothing(machine: Machine) -> None:
    machine.run("collective", "write", "/files/kept", stdin="kept\n")
    machine.run("systemctl", "restart", COORDINATOR)
    wait_healthy(machine, 3)
    assert machine.run("collective", "read", "/files/kept") == "kept\n"


def with_quick_watchdog(machine: Machine, unit: str, more: str = "") -> None:
    folder = f"/etc/systemd/system/{unit}.d"
    machine.shell(f"mkdir -p {folder} && printf '%s' '{QUICK_WATCHDOG}{more}' > {folder}/test.conf")
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "restart", unit)


def test_a_hung_process_is_ended_by_the_watchdog_and_started_again(machine: Machine) -> None:
    unit = UNITS[1]
    with_quick_watchdog(machine, unit)
    pid = machine.property(unit, "MainPID")
    machine.run("systemctl", "kill", "--kill-whom=main", "--signal=STOP", unit)
    machine.wait(
        lambda: machine.property(unit, "NRestarts") != "0" or None, "restart by the watchdog"
    )
    machine.wait_active(unit)
    assert machine.property(unit, "MainPID") != pid
    assert "Watchdog timeout" in machine.journal(unit)
    wait_healthy(machine, 3)


def test_a_hung_event_loop_leaves_its_stacks_in_the_journal(machine: Machine) -> None:
    unit = UNITS[1]
    stuck = (
        "Environment=PYTHONPATH=/opt/collective/src:/opt/collective/site\nExecStart=\n"
        "ExecStart=/usr/bin/python3 -B -m tests.systemd.hung_loop serve --config"
        " /etc/collective/node2.toml\n"
    )
    try:
        with_quick_watchdog(machine, unit, stuck)
        machine.wait(lambda: "in hang_for_ever" in machine.journal(unit) or None, "stacks")
        assert "Fatal Python error: Aborted" in machine.journal(unit)
    finally:
        with_quick_watchdog(machine, unit)
    machine.wait_active(unit)
    wait_healthy(machine, 3)


def test_a_full_disk_ends_no_unit_and_is_well_again_by_itself(machine: Machine) -> None:
    unit = UNITS[2]
    before = machine.property(unit, "MainPID")
    machine.shell("dd if=/dev/zero of=/srv/disk/filler bs=1M 2>/dev/null || true")

    def disks() -> list[str]:
        return [one["disk"] for one in status(machine)["local_nodes"]]

    machine.wait(lambda: "full" in disks() or None, "full disk in status")
    told = machine.run(
        "collective", "doctor", "--config", "/etc/collective/node3.toml", check=False
    )
    assert told.startswith("6\n"), told
    assert "PROBLEM   disk" in told
    machine.run("systemctl", "restart", unit)
    machine.wait_active(unit)
    machine.run("collective", "write", "/files/meanwhile", stdin="two nodes suffice\n")
    machine.shell("rm /srv/disk/filler")
    machine.wait(lambda: "full" not in disks() or None, "disk that is well again")
    assert machine.property(unit, "MainPID") != before
    assert machine.property(unit, "NRestarts") == "0"


def test_a_state_directory_of_the_wrong_owner_is_given_back(machine: Machine) -> None:
    unit, state = UNITS[0], "/var/lib/private/collective/node1"
    machine.run("systemctl", "stop", unit)
    machine.run("chown", "-R", "root:root", state)
    machine.run("systemctl", "start", unit)
    wait_healthy(machine, 3)
    assert machine.run("stat", "-c", "%U", f"{state}/data/node").strip() != "root"


def test_single_files_of_the_wrong_owner_are_named_by_the_doctor(machine: Machine) -> None:
    unit, data = UNITS[0], "/var/lib/private/collective/node1/data"
    machine.run("systemctl", "stop", unit)
    machine.shell(f"chown -R root:root {data} && chmod -R go= {data}")
    machine.run("systemctl", "--no-block", "start", unit)
    machine.wait(lambda: "cannot go on" in machine.journal(unit) or None, "refusal")
    told = machine.run(
        "collective", "doctor", "--config", "/etc/collective/node1.toml", check=False
    )
    assert "PROBLEM   owner: data_dir" in told, told
    advice = next(one for one in told.splitlines() if "chown -R --reference=" in one)
    machine.run("systemctl", "stop", unit)
    machine.shell(advice.partition("files back: ")[2])
    machine.run("systemctl", "start", unit)
    wait_healthy(machine, 3)


def test_a_node_without_a_code_says_so_and_joins_when_one_is_there(machine: Machine) -> None:
    unit = "collective-node4.service"
    machine.run(
        *("collective", "init", "--role", "node", "--name", "node4", "--yes", "--start"),
        *("--address", "127.0.0.1", "--node-address", "0.0.0.0:8104"),
        *("--metrics-address", "127.0.0.1:9094", "--storage-capacity", "1GB"),
    )
    machine.wait(lambda: "handed over no code" in machine.journal(unit) or None, "sentence")
    machine.shell(f"install -m 0600 {CERTS}/join/node.code /etc/collective/node4.code")
    machine.wait_active(unit)
    wait_healthy(machine, 4)


def test_a_port_that_is_taken_is_waited_for(machine: Machine) -> None:
    unit = UNITS[0]
    machine.run("systemctl", "stop", unit)
    machine.run("systemd-run", "--unit=holder", "--socket-property=ListenStream=8101", "/bin/true")
    machine.run("systemctl", "--no-block", "start", unit)
    machine.wait(lambda: "Cannot listen on" in machine.journal(unit) or None, "refusal")
    machine.run("systemctl", "stop", "holder.socket")
    machine.wait_active(unit)
    wait_healthy(machine, 3)


def test_a_bootstrap_alone_gets_its_key_from_the_service_manager(machine: Machine) -> None:
    machine.shell(
        f"collective pki issue --ca-key {CERTS}/ca/alice-ca.key --bootstrap gate"
        " --out /etc/collective/bootstrap.certs && chmod -R go= /etc/collective/bootstrap.certs"
        ' && printf \'role = "bootstrap"\\nbootstrap_address = "0.0.0.0:9002"\\n'
        'coordinator_address = "127.0.0.1:8001"\\n\' > /etc/collective/bootstrap.toml'
    )
    machine.run("collective", "systemd", "install", "--role", "bootstrap")
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "start", "collective-bootstrap")
    assert machine.property("collective-bootstrap", "StatusText") == "serving bootstrap"
    machine.run("test", "-e", "/var/lib/private/collective/bootstrap/certs/bootstraps/gate.key")


def test_the_doctor_finds_nothing_wrong_in_the_end(machine: Machine) -> None:
    told = machine.run("collective", "doctor", check=False)
    assert told.startswith("0\n"), told
    assert "0 problems." in told
