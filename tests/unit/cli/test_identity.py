"""``identity``, ``invite redeem`` and where credentials come from; no network."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path
from typing import Any

import pytest

from collective.cli import app
from collective.client.collective import Collective
from collective.client.identity import redemption
from collective.client.identity.config_dir import ConfigDir
from collective.client.identity.store import IdentityStore
from collective.client.logins import Login
from collective.core.clock import ManualClock, SystemClock
from collective.core.errors import ExitCode
from collective.core.ids import GlobalId
from collective.pki import certificates
from collective.pki.credentials import Credentials, save_credentials
from collective.rpc.tls_links import TlsLinks
from tests.unit.client.identity.bootstrap import Member
from tests.worlds import REAL, world_of

ME = "yourname@homelab.collective.local"
NOW = ManualClock(SystemClock().wall_s())


class Stopped(BaseException):
    """The command got as far as connecting."""


class Connections:
    """What commands would have connected with."""

    def __init__(self) -> None:
        self.credentials: Credentials | None = None
        self.addresses: list[str] = []

    def connect(self, login: Login, **_: Any) -> Any:
        self.credentials = login.credentials
        self.addresses = [str(one) for one in login.addresses]
        raise Stopped

    @property
    def domain(self) -> str:
        assert self.credentials is not None
        return self.credentials.domain


@pytest.fixture(autouse=True)
def config(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    for name in list(os.environ):
        if name.startswith("COLLECTIVE_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("COLLECTIVE_CONFIG_DIR", str(tmp_path / "config"))
    return tmp_path / "config"


@pytest.fixture
def members(config: Path) -> dict[str, Member]:
    """Alice and bob, both joined, alice first."""
    found = {
        "alice": Member("alice", "home.alice", NOW),
        "bob": Member("bob", "garage.bob", NOW),
    }
    store = IdentityStore(ConfigDir(str(config)), world_of(clock=NOW))
    store.create_identity(GlobalId.parse(ME))
    key = store.key_for_joining(lambda: b"")
    for member in found.values():
        store.record(member.joined(key, ME), ())
    return found


@pytest.fixture
def connections(monkeypatch: pytest.MonkeyPatch) -> Connections:
    made = Connections()
    monkeypatch.setattr(Collective, "connect", made.connect)
    return made


@pytest.fixture
def carol(tmp_path: Path) -> list[str]:
    """The flags for credentials of a third member, which is not joined."""
    member = Member("carol", "office.carol", NOW)
    key = certificates.new_private_key(REAL.randomness)
    paths = [str(tmp_path / name) for name in ("c.crt", "c.key", "ca.crt")]
    save_credentials(
        *paths,
        certificate=member.joined(key, ME).certificate,
        private_key=key,
        authority=member.authority.certificate,
        disk=REAL.disk,
    )
    return ["--cert", paths[0], "--key", paths[1], "--ca", paths[2]]


def export(monkeypatch: pytest.MonkeyPatch, flags: list[str]) -> None:
    for flag, value in zip(flags[::2], flags[1::2], strict=True):
        monkeypatch.setenv(f"COLLECTIVE_{flag.strip('-').upper()}", value)


def connect(*arguments: str) -> None:
    with pytest.raises(Stopped):
        app.run(["ls", "/", *arguments])


def facts(capsys: Any, *arguments: str) -> Any:
    assert app.run([*arguments, "--json"]) == ExitCode.DONE
    return json.loads(capsys.readouterr().out)


@pytest.mark.usefixtures("members")
class TestCredentials:
    def test_are_those_of_the_current_collective(self, connections: Connections) -> None:
        connect()
        assert connections.domain == "home.alice"
        assert connections.addresses == ["127.0.0.1:8001"]

    def test_are_those_of_the_collective_that_is_named(
        self, connections: Connections, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        connect("--collective", "bob-homelab")
        assert connections.domain == "garage.bob"
        monkeypatch.setenv("COLLECTIVE_CURRENT", "garage.bob")
        connect()
        assert connections.domain == "garage.bob"
        connect("--collective", "alice")
        assert connections.domain == "home.alice"

    def test_explicit_ones_come_first_and_have_no_addresses_of_a_collective(
        self, connections: Connections, carol: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("COLLECTIVE_CURRENT", "bob")
        connect(*carol)
        assert connections.domain == "office.carol"
        assert connections.addresses == []
        export(monkeypatch, carol)
        connect()
        assert connections.domain == "office.carol"
        connect(*carol[:2])
        assert connections.domain == "office.carol", "the rest of the flags' set is in variables"

    def test_a_collective_that_is_named_is_not_overridden_by_variables_of_another(
        self,
        connections: Connections,
        carol: list[str],
        monkeypatch: pytest.MonkeyPatch,
        capsys: Any,
    ) -> None:
        export(monkeypatch, carol)
        monkeypatch.setenv("COLLECTIVE_COORDINATOR", "office.carol:8001")
        connect("--collective", "bob")
        assert connections.domain == "garage.bob"
        assert connections.addresses == ["127.0.0.1:8001"], "the address is of those credentials"
        connect("--collective", "bob", "--coordinator", "10.0.0.1:8001")
        assert connections.addresses == ["10.0.0.1:8001"]
        assert app.run(["ls", "/", "--collective", "nonexistent"]) == ExitCode.NOT_REACHABLE
        assert "nonexistent" in capsys.readouterr().err

    @pytest.mark.parametrize("count", [2, 6])
    def test_a_collective_and_credentials_both_as_flags_are_refused(
        self, connections: Connections, carol: list[str], capsys: Any, count: int
    ) -> None:
        code = app.run(["ls", "/", "--collective", "bob", *carol[:count]])
        assert code == ExitCode.USAGE
        assert "--collective" in capsys.readouterr().err
        assert connections.credentials is None

    def test_the_address_that_is_given_comes_first(self, connections: Connections) -> None:
        connect("--coordinator", "10.0.0.1:8001,10.0.0.2:8001")
        assert connections.addresses == ["10.0.0.1:8001", "10.0.0.2:8001"]
        assert connections.domain == "home.alice"

    def test_a_key_that_others_can_read_is_warned_of(
        self, connections: Connections, config: Path, capsys: Any
    ) -> None:
        connect()
        assert capsys.readouterr().err == ""
        (config / "key.pem").chmod(0o644)
        connect()
        assert "chmod 600" in capsys.readouterr().err


class TestIdentity:
    def test_init_show_and_again(self, capsys: Any) -> None:
        assert app.run(["identity", "show"]) == ExitCode.NOT_REACHABLE
        made = facts(capsys, "identity", "init", "--global-id", ME, "--display-name", "You")
        assert made == facts(capsys, "identity", "show")
        assert (made["global_id"], made["display_name"]) == (ME, "You")
        assert app.run(["identity", "init", "--global-id", ME]) == ExitCode.CONFLICT
        again = facts(capsys, "identity", "init", "--global-id", "other@home.other", "--force")
        assert again["key_sha256"] != made["key_sha256"]

    @pytest.mark.parametrize("who", ["me", "me@nowhere", "Me@home.alice", "@home.alice", "a b@c.d"])
    def test_a_bad_global_id_is_usage(self, who: str, config: Path) -> None:
        assert app.run(["identity", "init", "--global-id", who]) == ExitCode.USAGE
        assert not config.exists()

    def test_a_passphrase_wanted_without_a_terminal_is_usage(
        self, config: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        arguments = ["identity", "init", "--global-id", ME, "--passphrase"]
        assert app.run(arguments) == ExitCode.USAGE
        assert not config.exists()
        monkeypatch.setenv("COLLECTIVE_PASSPHRASE", "x")
        assert app.run(arguments) == ExitCode.DONE

    def test_the_key_is_told_though_it_has_a_passphrase(
        self, capsys: Any, monkeypatch: pytest.MonkeyPatch, config: Path
    ) -> None:
        monkeypatch.setenv("COLLECTIVE_PASSPHRASE", "x")
        made = facts(capsys, "identity", "init", "--global-id", ME, "--passphrase")
        store = IdentityStore(ConfigDir(str(config)), REAL)
        key = store.key_for_joining(lambda: b"x")
        digest = certificates.key_digest(key.public_key()).hex()
        monkeypatch.delenv("COLLECTIVE_PASSPHRASE")
        assert made["key_sha256"] == facts(capsys, "identity", "show")["key_sha256"] == digest
        # of a machine that an older program set up, by a certificate of its key
        alice = Member("alice", "home.alice", NOW)
        store.record(alice.joined(key, ME), ())
        (config / "key.pub").unlink()
        assert facts(capsys, "identity", "show")["key_sha256"] == digest
        again = facts(capsys, "identity", "init", "--global-id", ME, "--force")
        assert again["key_sha256"] != digest

    @pytest.mark.usefixtures("members")
    def test_list_switch_and_leave(self, capsys: Any) -> None:
        listed = facts(capsys, "identity", "list-collectives")
        assert [(one["name"], one["current"]) for one in listed] == [
            ("alice-homelab", True),
            ("bob-homelab", False),
        ]
        assert facts(capsys, "identity", "switch", "bob")["name"] == "bob-homelab"
        assert app.run(["identity", "switch", "carol"]) == ExitCode.NOT_REACHABLE
        left = facts(capsys, "identity", "leave", "bob-homelab", "--yes")
        assert left == {"left": "bob-homelab", "current": "alice-homelab"}
        assert app.run(["identity", "leave", "alice", "--yes"]) == ExitCode.DONE
        said = capsys.readouterr().err
        assert "switch" not in said, "there is none to switch to"
        assert "invite redeem" in said
        assert facts(capsys, "identity", "list-collectives") == []

    @pytest.mark.usefixtures("members")
    def test_an_identity_that_is_replaced_is_said_to_be_kept(
        self, capsys: Any, config: Path
    ) -> None:
        assert app.run(["identity", "init", "--global-id", ME, "--force"]) == ExitCode.DONE
        (folder,) = config.glob("replaced-*")
        assert str(folder) in capsys.readouterr().err


class TestRedeem:
    def test_says_what_was_granted_until_when_and_by_whom(
        self, capsys: Any, monkeypatch: pytest.MonkeyPatch, config: Path
    ) -> None:
        alice = Member("alice", "home.alice", NOW)
        defaults = redemption.redeem_invite.__kwdefaults__
        assert defaults is not None
        monkeypatch.setitem(defaults, "redeem", alice.redeem)
        assert app.run(["invite", "redeem", alice.code()]) == ExitCode.DONE
        text = capsys.readouterr().out
        for part in ("alice-homelab", "/shared: read+write", "Until", "the operator of home.alice"):
            assert part in text

    def test_a_mistyped_code_is_found_offline(
        self, capsys: Any, monkeypatch: pytest.MonkeyPatch, config: Path
    ) -> None:
        def nobody(*_: Any, **__: Any) -> Any:
            raise AssertionError("a mistyped code was sent")

        monkeypatch.setattr(TlsLinks, "channel", nobody)
        code = Member("alice", "home.alice", NOW).code()
        assert app.run(["invite", "redeem", code[:-1]]) == ExitCode.USAGE
        assert "Invalid invite code" in capsys.readouterr().err
        assert not config.exists()

    @pytest.mark.parametrize("before", ["", "Invite   1, 1 uses\nRedeem   with this code:\n"])
    def test_a_code_from_stdin_is_seen_by_no_other_process(
        self, monkeypatch: pytest.MonkeyPatch, config: Path, before: str
    ) -> None:
        alice = Member("alice", "home.alice", NOW)
        defaults = redemption.redeem_invite.__kwdefaults__
        assert defaults is not None
        monkeypatch.setitem(defaults, "redeem", alice.redeem)
        given = io.BytesIO(f"{before}{alice.code()}\n\n".encode())
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(given))
        assert app.run(["invite", "redeem", "-"]) == ExitCode.DONE
        assert (config / "collectives" / "alice-homelab").is_dir()

    def test_a_code_is_taken_from_a_saved_message_or_as_several_words(
        self, capsys: Any, monkeypatch: pytest.MonkeyPatch, config: Path, tmp_path: Path
    ) -> None:
        alice = Member("alice", "home.alice", NOW)
        defaults = redemption.redeem_invite.__kwdefaults__
        assert defaults is not None
        monkeypatch.setitem(defaults, "redeem", alice.redeem)
        code, message = alice.code(), tmp_path / "message.txt"
        text = f"Hi,\n> {code[:70]}\n> {code[70:]}\n\n-- \nAl\n"
        for encoding in ("utf-8", "utf-16"):
            message.write_text(text, encoding=encoding)
            assert app.run(["invite", "redeem", "--file", str(message)]) == ExitCode.DONE
        assert app.run(["invite", "redeem", code[:50], code[50:]]) == ExitCode.DONE
        assert (config / "collectives" / "alice-homelab").is_dir()
        assert alice.uses == 1
        refused = {
            ("--file", str(tmp_path / "none")): "cannot be read",
            ("--file", str(tmp_path)): "cannot be read",
            (code, "--file", str(message)): "not both",
        }
        for arguments, why in refused.items():
            assert app.run(["invite", "redeem", *arguments]) == ExitCode.USAGE
            assert why in capsys.readouterr().err

    @pytest.mark.parametrize("given", [b"", b"\n \n", b"\xff\xfe", b"x" * 100_000])
    def test_what_is_no_code_on_stdin_is_said_in_a_sentence(
        self, capsys: Any, monkeypatch: pytest.MonkeyPatch, config: Path, given: bytes
    ) -> None:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(given)))
        assert app.run(["invite", "redeem", "-"]) == ExitCode.USAGE
        assert "code" in capsys.readouterr().err
        assert not config.exists()
