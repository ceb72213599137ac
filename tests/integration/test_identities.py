"""People with real processes: two members, invites from both, devices, renewals and crashes."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from collective.pki import invite_code
from tests.bench.federation.slow_proxy import SlowProxy
from tests.integration.cluster import PATIENCE_S, Cluster, Result, command, running_cluster
from tests.integration.ports import free_port

ME = "yourname@homelab.collective.local"
NO_VARIABLES: Mapping[str, str] = {}


@dataclass(slots=True)
class Machine:
    """A person's machine: the command line over a configuration folder of its own."""

    folder: Path

    @property
    def config(self) -> Path:
        return self.folder / "config"

    def environment(self, more: Mapping[str, str]) -> dict[str, str]:
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith("COLLECTIVE_")
        }
        own = {"HOME": str(self.folder), "COLLECTIVE_CONFIG_DIR": str(self.config)}
        return kept | own | dict(more)

    def run(
        self,
        *arguments: str,
        code: int = 0,
        stdin: bytes = b"",
        module: str = "collective",
        env: Mapping[str, str] = NO_VARIABLES,
    ) -> Result:
        if module == "collective":
            result = command(*arguments, environment=self.environment(env), stdin=stdin)
        else:
            done = subprocess.run(
                [sys.executable, "-m", module, *arguments],
                input=stdin,
                capture_output=True,
                env=self.environment(env),
                timeout=PATIENCE_S,
                check=False,
            )
            result = Result(done.returncode, done.stdout, done.stderr.decode(errors="replace"))
        assert "Traceback" not in result.err, result.err
        assert result.code == code, f"{arguments}: {result.code}: {result.err}"
        return result

    def json(self, *arguments: str) -> Any:
        return self.run(*arguments, "--json").json()

    def names(self) -> dict[str, bool]:
        """Return the joined collectives, and whether each is current."""
        return {one["name"]: one["current"] for one in self.json("identity", "list-collectives")}


@dataclass(slots=True)
class Federation:
    alice: Cluster
    bob: Cluster


def invite(member: Cluster, *grants: str, uses: int = 1) -> dict[str, Any]:
    wanted = [word for grant in grants for word in ("--grant", grant)]
    made: dict[str, Any] = member.cli(
        "invite", "generate", *wanted, "--max-uses", str(uses), "--validity", "24h", "--json"
    ).json()
    return made


def uses_left(member: Cluster, made: dict[str, Any]) -> int:
    listed = member.cli("invite", "list", "--all", "--json").json()
    found: int = next(one["uses_left"] for one in listed if one["id"] == made["id"])
    return found


@pytest.fixture(scope="module")
def federation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Federation]:
    """Alice with one node (and copies to suit), bob with none."""
    folder = tmp_path_factory.mktemp("federation")
    with ExitStack() as stack:
        alice = stack.enter_context(
            running_cluster(folder / "a", node_count=1, extra={"COLLECTIVE_COPIES": "1"})
        )
        bob = stack.enter_context(
            running_cluster(folder / "b", member="bob", domain="garage.bob", node_count=0)
        )
        yield Federation(alice, bob)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path / "laptop")


def test_from_nothing_to_files_with_one_code(federation: Federation, machine: Machine) -> None:
    before = machine.run("status", code=5)
    assert "invite redeem CODE" in before.err
    machine.run("identity", "init", "--global-id", ME)
    made = invite(federation.alice, "/shared:read+write", "/media:read")
    told = machine.run("invite", "redeem", made["code"]).text
    for part in ("alice-homelab", ME, "/shared", "read+write", "/media", "home.alice"):
        assert part in told

    status = machine.json("status")
    assert status["you"]["global_id"] == ME
    assert {one["path"] for one in status["you"]["grants"]} == {"/shared", "/media"}
    machine.run("mkdir", "/shared")
    machine.run("write", "/shared/README.txt", stdin=b"Welcome to the collective!\n")
    assert machine.run("read", "/shared/README.txt").out == b"Welcome to the collective!\n"
    assert machine.run("ls", "/shared").text.split() == ["README.txt"]
    machine.run("mkdir", "/garage", code=4)
    machine.run("mkdir", "/media", code=4)


def test_an_address_by_which_the_member_was_reached_is_kept(
    federation: Federation, machine: Machine
) -> None:
    """A port forwarded at home, a tunnel: the coordinator itself knows nothing of it."""
    made = invite(federation.alice, "/kept:read+write")
    machine.run("invite", "redeem", made["code"])
    port = free_port()
    forwarded = f"127.0.0.1:{port}"
    with SlowProxy(port, federation.alice.coordinator_port):
        machine.run("stat", "/kept", "--coordinator", forwarded, code=3)
        [kept] = machine.json("identity", "list-collectives")
        assert forwarded in kept["coordinator_addresses"], "also where the command failed"
        facts = next(machine.config.glob("collectives/*/collective.json"))
        known = json.loads(facts.read_text())
        known["coordinator_addresses"] = [forwarded]  # the other way is gone
        facts.write_text(json.dumps(known))
        machine.run("mkdir", "/kept")
    with SlowProxy(port, federation.bob.coordinator_port):
        assert machine.run("ls", "/").text.split() == ["kept/"], (
            "another member there is passed over"
        )


def test_two_collectives_side_by_side(federation: Federation, machine: Machine) -> None:
    machine.run("identity", "init", "--global-id", "two@homelab.collective.local")
    machine.run("invite", "redeem", invite(federation.alice, "/two:read+write")["code"])
    machine.run("mkdir", "/two")
    second = machine.json("invite", "redeem", invite(federation.bob, "/two-b:read+write")["code"])
    assert (second["name"], second["current"], second["new"]) == ("bob-homelab", False, True)
    assert machine.names() == {"alice-homelab": True, "bob-homelab": False}

    machine.run("mkdir", "/two-b", "--collective", "bob-homelab")
    machine.run("mkdir", "/two-b", code=4)
    assert machine.run("ls", "/").text.split() == ["two/"]
    assert machine.run("ls", "/", "--collective", "garage.bob").text.split() == ["two-b/"]
    assert machine.run("ls", "/", env={"COLLECTIVE_CURRENT": "bob"}).text.split() == ["two-b/"]
    machine.run("ls", "/", "--collective", "carol", code=5)

    machine.run("identity", "switch", "bob-homelab")
    assert machine.names() == {"alice-homelab": False, "bob-homelab": True}
    assert machine.run("ls", "/").text.split() == ["two-b/"]
    machine.run("identity", "switch", "home.alice")
    assert machine.run("ls", "/").text.split() == ["two/"]

    machine.run("identity", "leave", "alice-homelab", "--yes")
    assert machine.names() == {"bob-homelab": True}
    assert machine.run("ls", "/").text.split() == ["two-b/"]
    machine.run("identity", "leave", "bob", "--yes")
    machine.run("ls", "/", code=5)


def test_explicit_credentials_and_coordinator_come_first(
    federation: Federation, machine: Machine
) -> None:
    machine.run("identity", "init", "--global-id", "three@homelab.collective.local")
    machine.run("invite", "redeem", invite(federation.alice, "/three:read")["code"])
    bob = federation.bob.operator
    files = bob[bob.index("--ca") :]
    assert machine.json("status", *bob)["member_id"] == "bob"
    assert machine.json("status", *files)["member_id"] == "bob"
    assert machine.run("status", *files, "--collective", "alice", code=2).out == b""
    exported = {
        f"COLLECTIVE_{flag.strip('-').upper()}": value
        for flag, value in zip(bob[::2], bob[1::2], strict=True)
    }
    assert b"bob" in machine.run("status", env=exported).out
    assert b"alice" in machine.run("status", "--collective", "alice", env=exported).out
    there = f"127.0.0.1:{federation.alice.coordinator_port}"
    assert machine.json("status", "--coordinator", there)["member_id"] == "alice"
    elsewhere = f"127.0.0.1:{federation.bob.coordinator_port}"
    assert machine.run("status", "--coordinator", elsewhere, code=7).out == b""


def test_redeeming_again_changes_nothing(federation: Federation, machine: Machine) -> None:
    machine.run("identity", "init", "--global-id", "again@homelab.collective.local")
    made = invite(federation.alice, "/again:read", uses=5)
    first = machine.json("invite", "redeem", made["code"])
    again = machine.json("invite", "redeem", made["join_url"])
    assert first | {"new": False} == again
    assert uses_left(federation.alice, made) == 4
    machine.run("identity", "leave", "alice-homelab", "--yes")
    back = machine.json("invite", "redeem", made["code"])
    assert back["certificate_expires"] == first["certificate_expires"]
    assert uses_left(federation.alice, made) == 4


def test_without_an_identity_the_coordinator_names_one(
    federation: Federation, machine: Machine
) -> None:
    joined = machine.json("invite", "redeem", invite(federation.alice, "/guests:read")["code"])
    assert joined["global_id"].endswith("@home.alice")
    assert machine.json("identity", "show")["global_id"] == joined["global_id"]
    assert machine.json("status")["you"]["global_id"] == joined["global_id"]


def test_a_code_for_a_node_is_not_spent_by_a_person(
    federation: Federation, machine: Machine
) -> None:
    text = (federation.alice.cert_dir("coordinator") / "join" / "node.code").read_text()
    code = invite_code.parse(text)
    unsaid = dataclasses.replace(code, kind=None)  # as earlier builds made them: the server knows
    before = federation.alice.cli("status", "--json").json()["local_nodes"]
    for given in (code, unsaid, unsaid):
        refused = machine.run("invite", "redeem", given.encode(), code=8)
        assert "node" in refused.err
        machine.run("identity", "init", "--global-id", ME, "--force")
    assert len(federation.alice.cli("status", "--json").json()["local_nodes"]) == len(before)


def test_a_second_machine_by_a_code_of_the_first(
    federation: Federation, machine: Machine, tmp_path: Path
) -> None:
    who = "devices@homelab.collective.local"
    machine.run("identity", "init", "--global-id", who)
    machine.run("invite", "redeem", invite(federation.alice, "/devices:read+write")["code"])
    machine.run("mkdir", "/devices")

    stranger = Machine(tmp_path / "stranger")
    stranger.run("identity", "init", "--global-id", who)
    other_invite = invite(federation.alice, "/devices:read+write")
    refused = stranger.run("invite", "redeem", other_invite["code"], code=8)
    assert "add-device" in refused.err
    assert uses_left(federation.alice, other_invite) == 1

    made = machine.run("identity", "add-device")
    code = made.text.split()[-1]
    assert "collective invite redeem -" in made.err
    assert code not in made.err
    phone = Machine(tmp_path / "phone")
    said = phone.run("invite", "redeem", "-", stdin=f"{code}\n".encode()).text
    assert f"This machine is now a further device of {who} and may do what {who} may." in said
    assert "nothing yet" not in said
    assert phone.json("invite", "redeem", code)["global_id"] == who
    assert phone.json("identity", "show")["global_id"] == who
    assert phone.run("ls", "/").text.split() == ["devices/"]
    phone.run("write", "/devices/a", stdin=b"from the phone")
    assert machine.run("read", "/devices/a").out == b"from the phone"
    keys = {one.json("identity", "show")["key_sha256"] for one in (machine, phone)}
    assert len(keys) == 2

    third = Machine(tmp_path / "third")
    third.run("invite", "redeem", code, code=8)
    other = Machine(tmp_path / "other")
    other.run("identity", "init", "--global-id", "other@homelab.collective.local")
    fresh = machine.json("identity", "add-device")["code"]
    assert who in other.run("invite", "redeem", fresh, code=8).err
    third.run("invite", "redeem", fresh)


def test_a_passphrase_is_needed_for_everything(federation: Federation, machine: Machine) -> None:
    secret = {"COLLECTIVE_PASSPHRASE": "correct horse"}
    machine.run("identity", "init", "--global-id", "secret@homelab.collective.local", env=secret)
    code = invite(federation.alice, "/secret:read")["code"]
    assert "COLLECTIVE_PASSPHRASE" in machine.run("invite", "redeem", code, code=2).err
    machine.run("invite", "redeem", code, env=secret)
    machine.run("status", code=2)
    machine.run("status", code=2, env={"COLLECTIVE_PASSPHRASE": "wrong"})
    machine.run("status", env=secret)
    assert b"ENCRYPTED" in (machine.config / "key.pem").read_bytes()


def test_a_key_that_others_can_read_is_warned_of(federation: Federation, machine: Machine) -> None:
    machine.run("invite", "redeem", invite(federation.alice, "/loud:read")["code"])
    (machine.config / "key.pem").chmod(0o644)
    assert "chmod 600" in machine.run("status").err


@pytest.mark.parametrize("moment", ["key.pem", "answer", "client.crt", "current"])
def test_kill_9_in_a_redemption_never_burns_a_use(
    federation: Federation, machine: Machine, moment: str
) -> None:
    made = invite(federation.alice, "/crash:read")
    dead = machine.run(
        moment,
        "invite",
        "redeem",
        made["code"],
        module="tests.integration.dying_client",
        code=-signal.SIGKILL,
    )
    assert dead.out == b""
    assert uses_left(federation.alice, made) == (1 if moment == "key.pem" else 0)
    assert machine.json("invite", "redeem", made["code"])["current"]
    assert uses_left(federation.alice, made) == 0
    assert machine.names() == {"alice-homelab": True}


def test_certificates_renew_on_use_and_after_they_ran_out(tmp_path: Path) -> None:
    life_s = 12.0
    extra = {"COLLECTIVE_CERTIFICATE_LIFETIME": f"{life_s:.0f}s"}
    machine = Machine(tmp_path / "laptop")
    with running_cluster(tmp_path / "m", node_count=0, extra=extra) as member:
        machine.run("invite", "redeem", invite(member, "/x:read")["code"])
        facts = machine.config / "collectives" / "alice-homelab"
        first = (facts / "client.crt").read_bytes()

        time.sleep(life_s * 0.7)
        machine.run("status")
        second = (facts / "client.crt").read_bytes()
        assert second != first, "due, and not renewed on use"

        time.sleep(life_s + 1)
        with ThreadPoolExecutor(4) as pool:
            results = list(pool.map(lambda _: machine.json("status"), range(4)))
        assert {one["member_id"] for one in results} == {"alice"}
        assert (facts / "client.crt").read_bytes() != second
        renewals = member.coordinator.log_text().count('"renewed"')
        assert renewals == 2, "one live and one at the bootstrap, whatever the number of processes"
        bootstrap = json.loads((facts / "collective.json").read_text())["bootstrap_addresses"]
        assert bootstrap == [f"127.0.0.1:{member.bootstrap_port}"]
