"""What commands import, since that is most of what a short one takes.

A process of its own runs each command up to the coordinator, which is not there.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from collective.cli.app import COMMANDS, run
from collective.core.errors import ExitCode
from collective.core.ids import Domain, MemberId
from collective.core.units import Address
from collective.pki.cert_dir import CertDir
from collective.pki.coordinator_certificate import prepare_coordinator
from tests.worlds import REAL

RUN = """
import sys
from collective.cli.app import run
code = run(sys.argv[1:])
sys.stdout.write(f"\\n{code}\\n" + "\\n".join(sys.modules))
"""
COMPLETE = """
from collective.cli.app import run
run([])
"""
GEN = "collective.rpc.gen.collective.v1"
OF_NO_COMMAND = (
    *("collective.roles", "collective.member", "collective.catalog"),
    *("collective.placement", "collective.access"),
    "collective.rpc.server",
    *(
        "collective.cli.json_shapes",
        "collective.cli.unit_files",
        "collective.core.settings",
        "tomllib",
    ),
    *("collective.rpc.gen.grpc", f"{GEN}.node", f"{GEN}.bootstrap", f"{GEN}.streams"),
    *("apsw", "sqlite3", "prometheus_client", "structlog", "segno", "rich", "pygments", "google"),
)
OF_TRANSFERS = (
    *("collective.transfer", "collective.chunking", "collective.client.transfers"),
    *(
        "collective.client.transfer_session",
        "collective.client.options",
        "collective.client.single_file",
    ),
    *(f"{GEN}.transfer", f"{GEN}.uploads", f"{GEN}.reads", "uvloop", "blake3", "aiofiles"),
)
OF_THE_MEMBER = tuple(f"{GEN}.{one}" for one in ("status", "nodes", "trust", "datastores"))
OF_PEOPLE = (
    *("collective.rpc.remote.people", "collective.client.joining", "collective.pki.invite_code"),
    f"{GEN}.people",
)
OF_CONNECTIONS = (
    *("cryptography", "grpclib", "h2", "betterproto2", "collective.rpc"),
    *("collective.client", "collective.pki"),
)


@pytest.fixture
def operator(tmp_path: Path) -> list[str]:
    """Credentials, and an address where nobody listens."""
    place = CertDir(str(tmp_path / "certs"), MemberId("alice"))
    prepare_coordinator(place, Domain("home.alice"), (Address("127.0.0.1", 1),), REAL)
    return [
        *("--ca", place.ca_certificate, "--cert", place.coordinator_certificate),
        *("--key", place.coordinator_key),
    ]


def imported(*arguments: str, code: int, stdin: bytes = b"") -> set[str]:
    """Return the modules that a process has imported when the command is done."""
    done = subprocess.run(
        [sys.executable, "-c", RUN, *arguments], input=stdin, capture_output=True, check=True
    )
    told, *modules = done.stdout.decode().partition(f"\n{code}\n")[::2]
    assert modules[0], (told, done.stderr)
    return set(modules[0].split("\n"))


def among(modules: set[str], names: tuple[str, ...]) -> list[str]:
    return sorted(
        module
        for module in modules
        if any(module == name or module.startswith(f"{name}.") for name in names)
    )


@pytest.mark.parametrize("command", ["ls", "stat", "mkdir", "rm"])
def test_a_command_on_names_imports_nothing_that_moves_files(
    command: str, operator: list[str]
) -> None:
    modules = imported(command, "/a", *operator, code=ExitCode.NOT_REACHABLE)
    assert f"{GEN}.files" in modules
    assert among(modules, OF_NO_COMMAND + OF_TRANSFERS + OF_THE_MEMBER + OF_PEOPLE) == []


def test_a_transfer_imports_nothing_that_serves(operator: list[str]) -> None:
    modules = imported("write", "/a", *operator, code=ExitCode.NOT_REACHABLE, stdin=b"x")
    assert "collective.transfer.engine.upload" in modules
    assert among(modules, OF_NO_COMMAND + OF_THE_MEMBER + OF_PEOPLE) == []


def test_status_imports_nothing_that_moves_files(operator: list[str]) -> None:
    modules = imported("status", *operator, code=ExitCode.NOT_REACHABLE)
    assert f"{GEN}.status" in modules
    assert among(modules, OF_NO_COMMAND + OF_TRANSFERS + OF_PEOPLE) == []


@pytest.mark.parametrize("arguments", [["--version"], ["ls", "--help"], ["put", "--help"]])
def test_help_imports_nothing_that_connects(arguments: list[str]) -> None:
    modules = imported(*arguments, code=ExitCode.DONE)
    assert "collective.cli.app" in modules
    assert among(modules, OF_NO_COMMAND + OF_CONNECTIONS) == []


def test_a_user_gets_nothing_that_makes_every_command_slow() -> None:
    """betterproto2 imports pydantic where it is installed, which takes 30 ms."""
    lock = (Path(__file__).parents[3] / "requirements.lock").read_text()
    assert "\ntyper==" in lock
    assert "\npydantic" not in lock


def test_help_has_a_line_for_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == ExitCode.DONE
    lines = [one.split(maxsplit=1) for one in capsys.readouterr().out.splitlines()]
    told = {words[0] for words in lines if len(words) == 2}
    assert set(COMMANDS) <= told


@pytest.mark.parametrize(
    ("typed", "offered"),
    [("", set(COMMANDS)), ("node ", {"list", "drain"}), ("ls --lo", {"--long"})],
)
def test_a_shell_is_offered_every_command(typed: str, offered: set[str]) -> None:
    environment = os.environ | {
        "_COLLECTIVE_COMPLETE": "complete_bash", "COMP_WORDS": f"collective {typed}",
        "COMP_CWORD": str(len(f"collective {typed}".split(" ")) - 1),
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", COMPLETE], env=environment, capture_output=True, check=True
    )
    assert offered <= set(done.stdout.decode().split())
