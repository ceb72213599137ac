"""What the doctor says of a clock, a disk, owners, certificates and codes; no network."""

from __future__ import annotations

import io
import os
import random
import tarfile
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast
from unittest.mock import ANY

import pytest

from collective.cli import connecting, doctor, unit_files
from collective.cli.diagnosis import certificates, client, machine, member, owners
from collective.cli.diagnosis.backups import Backup, newest_backup
from collective.cli.diagnosis.findings import (
    Finding,
    Level,
    exit_code_of,
    finding_lines,
    fine,
    problem,
    warning,
)
from collective.cli.diagnosis.installation import Inspection, Installation, _of_backup
from collective.core.errors import ExitCode, RejectedError
from collective.core.ids import Domain, SpiffeId
from collective.pki.certificates import Certified
from tests.trees.machine import NOBODY
from tests.worlds import REAL

if TYPE_CHECKING:
    from collective.cli.options import Invocation
    from collective.rpc.links import Links

DAY_S = 86_400.0
NOW_S = 1_800_000_000.0


def certified(begins_s: float, ends_s: float) -> Certified:
    return Certified(SpiffeId.coordinator(Domain("home.alice")), "1", begins_s, ends_s)


@pytest.mark.parametrize(
    ("offset_s", "level", "said"),
    [
        (0.5, Level.OK, "agree"),
        (-60.0, Level.WARNING, "1 min ahead of that of the member"),
        (7384.0, Level.PROBLEM, "2 h 3 min behind that of the member"),
        (-3 * DAY_S, Level.PROBLEM, "3 d ahead of"),
    ],
)
def test_a_skew_is_told_with_its_size_and_side(offset_s: float, level: Level, said: str) -> None:
    found = machine.skew_finding(offset_s, "the member")
    assert found.level is level
    assert said in found.says
    assert bool(found.advice) is (level is not Level.OK)
    assert exit_code_of([found]) == (ExitCode.CORRUPT if level is Level.PROBLEM else 0)


def test_a_clock_from_before_the_program_is_wrong() -> None:
    assert machine.clock(0.0).level is Level.PROBLEM
    assert machine.clock(NOW_S).level is Level.OK


@pytest.mark.parametrize(
    ("begins_s", "ends_s", "level", "said"),
    [
        (NOW_S - DAY_S, NOW_S + 29 * DAY_S, Level.OK, "counts until"),
        (NOW_S - 25 * DAY_S, NOW_S + 5 * DAY_S, Level.WARNING, "should have been renewed"),
        (NOW_S - 30 * DAY_S, NOW_S - 1, Level.PROBLEM, "ran out on"),
        (NOW_S + 60, NOW_S + DAY_S, Level.PROBLEM, "counts only from"),
    ],
)
def test_validity(begins_s: float, ends_s: float, level: Level, said: str) -> None:
    found = certificates.validity(
        "You", certified(begins_s, ends_s), now_s=NOW_S, renew="ask for another"
    )
    assert [one.level for one in found] == [level]
    assert said in found[0].says


def test_a_disk_that_is_too_small_or_absent(tmp_path: Path) -> None:
    small = machine.room("data_dir", str(tmp_path), REAL.disk, wanted_bytes=1 << 60)
    assert (small.level, small.exit_code) == (Level.PROBLEM, ExitCode.NOT_ENOUGH)
    absent = machine.room("data_dir", str(tmp_path / "not" / "there"), REAL.disk)
    assert str(tmp_path) in absent.says, "the disk that will hold it is looked at"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_files_of_another_user_are_named(tmp_path: Path) -> None:
    (tmp_path / "node").mkdir()
    (tmp_path / "node" / "chunk").write_text("x")
    assert owners.owners("data_dir", str(tmp_path)).level is Level.OK
    os.chown(tmp_path / "node" / "chunk", 65534, -1)
    found = owners.owners("data_dir", str(tmp_path))
    assert found.level is Level.PROBLEM
    assert "node/chunk belongs to nobody" in found.says
    assert f"chown -R --reference={tmp_path}" in found.advice


def test_keys_that_others_can_read(tmp_path: Path) -> None:
    for name, mode in (("good.key", 0o600), ("bad.key", 0o640), ("any.crt", 0o644)):
        (tmp_path / name).write_text("x")
        (tmp_path / name).chmod(mode)
    assert [one.advice for one in owners.exposed_keys(str(tmp_path))] == [
        f"chmod 600 {tmp_path}/bad.key"
    ]


def test_a_folder_is_as_old_as_its_newest_file(tmp_path: Path) -> None:
    for name, age in (("old.tar", 900), ("new.tar", 100)):
        (tmp_path / name).write_text("x")
        os.utime(tmp_path / name, (NOW_S - age, NOW_S - age))
    assert owners.age_s(str(tmp_path), NOW_S) == 100
    assert owners.age_s(str(tmp_path / "old.tar"), NOW_S) == 900
    assert owners.age_s(str(tmp_path / "none"), NOW_S) is None


def backup_of(folder: Path, name: str, *files: str, age_s: int) -> Path:
    """Make a tar with small ``files`` in it."""
    path = folder / name
    mode: Any = f"w:{path.suffix[1:]}"
    with tarfile.open(path, mode) as tar:
        for one in files:
            info = tarfile.TarInfo(one)
            info.size = 5000
            tar.addfile(info, io.BytesIO(random.Random(1).randbytes(5000)))
    os.utime(path, (NOW_S - age_s, NOW_S - age_s))
    return path


SNAPSHOT = "data/catalog/snapshots/catalog-00000001-0000000000000007.db"


def test_the_newest_tar_that_holds_a_snapshot_is_the_backup(tmp_path: Path) -> None:
    """That of the cert dir lies beside it and is newer, as docs/how-to/restore.md makes them."""
    old = backup_of(tmp_path, "old.tar.gz", SNAPSHOT, age_s=900)
    new = backup_of(tmp_path, "new.tar.gz", "certs/ca/ca.key", age_s=100)
    assert newest_backup(str(old), NOW_S) == Backup(str(old), 900, has_snapshot=True)
    assert newest_backup(str(new), NOW_S) == Backup(str(new), 100, has_snapshot=False)
    assert newest_backup(str(tmp_path), NOW_S) == Backup(str(old), 900, has_snapshot=True)
    old.unlink()
    assert newest_backup(str(tmp_path), NOW_S) == Backup(str(new), 100, has_snapshot=False)
    assert newest_backup(str(tmp_path / "none"), NOW_S) is None


@pytest.mark.parametrize("kind", ["gz", "bz2", "xz"])
def test_a_damaged_tar_is_no_backup(tmp_path: Path, kind: str) -> None:
    whole = backup_of(tmp_path, f"whole.tar.{kind}", SNAPSHOT, age_s=0)
    content, chance = whole.read_bytes(), random.Random(2)
    damaged = tmp_path / f"damaged.tar.{kind}"
    quarter = len(content) // 4
    for number in range(60):
        flipped = bytearray(content)
        flipped[chance.randrange(quarter, 3 * quarter)] ^= 1 << chance.randrange(8)
        damaged.write_bytes(flipped if number % 2 else content[: chance.randrange(3 * quarter)])
        assert newest_backup(str(damaged), NOW_S) == Backup(str(damaged), ANY, has_snapshot=False)
    for _ in range(60):  # also where it says how it is compressed
        flipped = bytearray(content)
        for _ in range(3):
            flipped[chance.randrange(len(flipped))] ^= 1 << chance.randrange(8)
        damaged.write_bytes(flipped)
        newest_backup(str(damaged), NOW_S)


@pytest.mark.parametrize("size", [b"\x80" + b"\xff" * 11, b"\x80" + b"\0" * 3 + b"\xff" * 8])
def test_a_header_with_an_impossible_size_is_no_backup(tmp_path: Path, size: bytes) -> None:
    whole = backup_of(tmp_path, "whole.tar", "data/state", SNAPSHOT, age_s=0)
    content = bytearray(whole.read_bytes())
    content[124:136] = size
    content[148:156] = b"%06o\0 " % (sum(content[:148]) + sum(content[156:512]) + 8 * ord(" "))
    whole.write_bytes(content)
    assert newest_backup(str(whole), NOW_S) == Backup(str(whole), ANY, has_snapshot=False)


@pytest.mark.parametrize("below", ["data", "2026-11-30/data", "2026-11-30", "."])
def test_a_copy_that_keeps_times_is_as_old_as_its_newest_snapshot(
    tmp_path: Path, below: str
) -> None:
    snapshots = tmp_path / below / "catalog" / "snapshots"
    snapshots.mkdir(parents=True)
    for age_s in (900, 100):
        snapshot = snapshots / f"catalog-00000001-000000000000{age_s:04x}.db"
        snapshot.write_bytes(b"a catalogue")
        os.utime(snapshot, (NOW_S - age_s, NOW_S - age_s))
    for folder in (snapshots, *snapshots.parents):
        if folder.is_relative_to(tmp_path):
            os.utime(folder, (NOW_S - 90 * DAY_S, NOW_S - 90 * DAY_S))
    found = newest_backup(str(tmp_path), NOW_S)
    assert found is not None
    assert (found.age_s, found.has_snapshot) == (100, True)


def test_a_link_that_leads_nowhere_hides_no_backup(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "gone").symlink_to("nowhere")
    assert newest_backup(str(tmp_path), NOW_S) is None
    whole = backup_of(tmp_path, "whole.tar", SNAPSHOT, age_s=100)
    assert newest_backup(str(tmp_path), NOW_S) == Backup(str(whole), 100, has_snapshot=True)


def test_a_snapshot_that_goes_while_it_is_looked_at_is_none(tmp_path: Path) -> None:
    snapshots = (tmp_path / "copy" / SNAPSHOT).parent
    snapshots.mkdir(parents=True)
    (snapshots / "catalog-1.db").symlink_to("gone")
    for path in (tmp_path, tmp_path / "copy"):
        found = newest_backup(str(path), NOW_S)
        assert found is not None
        assert not found.has_snapshot


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as somebody else")
def test_a_backup_that_one_may_not_look_at_is_not_judged() -> None:
    """Else one that only root may read held no snapshot, or was not there."""
    with tempfile.TemporaryDirectory() as made:  # pytest's own folder is shut to others
        os.chmod(made, 0o755)
        for name in ("tars", "shut", "copies", "names"):
            (Path(made) / name).mkdir()
        backup = backup_of(Path(made) / "tars", "a.tar.gz", SNAPSHOT, age_s=0)
        backup.chmod(0o600)
        copied = (Path(made) / "copies" / "today" / SNAPSHOT).parent
        copied.mkdir(parents=True)
        listed = Path(made) / "listed" / SNAPSHOT
        listed.parent.mkdir(parents=True)
        listed.write_bytes(b"a catalogue")
        listed.parent.chmod(0o744)
        backup_of(Path(made) / "names", "a.tar", SNAPSHOT, age_s=0)
        (Path(made) / "names").chmod(0o744)
        for folder in ("shut", "copies/today/data/catalog"):
            (Path(made) / folder).chmod(0o700)
        with NOBODY.acting():
            for path in (
                "tars",
                "tars/a.tar.gz",
                "shut",
                "shut/a.tar.gz",
                "copies",
                "listed",
                "names",
            ):
                with pytest.raises(PermissionError):
                    newest_backup(f"{made}/{path}", NOW_S)
            found = _of_backup(f"{made}/shut", NOW_S)
        assert f"{made}/shut cannot be read as nobody" in found.says
        assert found.exit_code is ExitCode.PERMISSION_DENIED
        readable = backup_of(Path(made) / "tars", "older.tar.gz", SNAPSHOT, age_s=100)
        with NOBODY.acting():  # beside others, such as a file system's lost+found
            assert newest_backup(f"{made}/tars", NOW_S) == Backup(
                str(readable), 100, has_snapshot=True
            )


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as somebody else")
async def test_a_backup_that_was_named_is_judged_though_the_data_dir_cannot_be() -> None:
    with tempfile.TemporaryDirectory() as made:
        os.chmod(made, 0o755)
        (Path(made) / "data").mkdir(0o700)
        settings = Path(made) / "coordinator.toml"
        folders = f'data_dir = "{made}/data"\ncert_dir = "{made}/certs"\n'
        settings.write_text(SETTINGS_OF["coordinator"] + folders)
        links = cast("Links", None)
        with NOBODY.acting():
            inspection = Inspection(
                Installation.of(str(settings), REAL.disk), links, REAL.clock, REAL.disk
            )
            found = await inspection.findings(f"{made}/backups")
    assert [one.check for one in found] == ["clock", "rights", "backup"]


def test_a_copied_data_dir_is_a_backup_and_what_cannot_be_read_is_not_judged(
    tmp_path: Path,
) -> None:
    empty, other = tmp_path / "empty.tgz", tmp_path / "one.tar.zst"
    repository, copy = tmp_path / "repository", tmp_path / "copy"
    empty.touch()
    other.write_bytes(b"of another program")
    (repository / "snapshots").mkdir(parents=True)
    (copy / SNAPSHOT).parent.mkdir(parents=True)
    (copy / SNAPSHOT).touch()

    def judged(path: Path) -> bool | None:
        found = newest_backup(str(path), NOW_S)
        assert found is not None
        return found.has_snapshot

    assert [judged(one) for one in (empty, other, repository, copy)] == [False, None, None, False]
    (copy / SNAPSHOT).write_bytes(b"a catalogue")
    assert judged(copy)


@pytest.mark.parametrize(
    ("state", "said"),
    [("used up", "is used up"), ("expired", "expired on 2027-01-15"), ("revoked", "was revoked")],
)
def test_an_invalid_invite_code(state: str, said: str) -> None:
    found = member.invite_finding(state, 0, round(NOW_S * 1000))
    assert found.says.startswith("Invalid invite code: it ")
    assert said in found.says
    assert "invite generate" in found.advice
    assert member.invite_finding("open", 1, 0).level is Level.OK


def test_a_mistyped_code_needs_nobody_to_be_found() -> None:
    found, code = client.mistyped("abc")
    assert code is None
    assert found.says.startswith("Invalid invite code: the join code is mistyped")
    assert found.exit_code is ExitCode.USAGE


def test_a_member_that_began_anew_is_left_and_joined_again() -> None:
    """ "Reset Everything" of the source text makes other CAs."""
    error = RejectedError("The certificate of x is of another CA than the one that you joined; …")
    assert "identity leave alice-homelab" in client.refused(error, "alice-homelab").advice


def test_the_first_problem_gives_the_exit_code_and_warnings_give_none() -> None:
    found = [
        warning("a", "…", "do"),
        problem("b", "…", "do", ExitCode.NOT_REACHABLE),
        problem("c", "…", "do", ExitCode.CORRUPT),
    ]
    assert exit_code_of(found) is ExitCode.NOT_REACHABLE
    assert exit_code_of(found[:1]) is ExitCode.DONE


def test_what_to_do_stands_below_what_is_wrong() -> None:
    lines = finding_lines([fine("a", "Well."), Finding("b", Level.PROBLEM, "Ill.", "mend it")])
    assert lines == ["ok        a: Well.", "PROBLEM   b: Ill.", "          -> mend it"]


@pytest.mark.parametrize(
    ("is_joined", "coordinator", "parts"),
    [
        (True, None, ["n.toml", "client"]),
        (False, None, ["n.toml"]),
        (True, "nas:8001", ["client"]),
    ],
)
async def test_a_machine_that_is_server_and_client_is_looked_at_as_both(
    is_joined: bool,
    coordinator: str | None,
    parts: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def nothing(_: object) -> list[Finding]:
        return []

    (tmp_path / "n.toml").write_text("no settings")
    monkeypatch.setattr(unit_files, "SETTINGS_DIR", str(tmp_path))
    monkeypatch.setattr(connecting, "open_store", lambda _: a_store(is_joined=is_joined))
    monkeypatch.setattr(doctor._Examination, "_client", nothing)
    monkeypatch.delenv("COLLECTIVE_CONFIG", raising=False)
    asked = SimpleNamespace(
        world=REAL, links=None, cert=None, coordinator=coordinator, collective=None
    )
    examination = doctor._Examination(cast("Invocation", asked), None, None, None)
    assert [part.rpartition("/")[2] for part, _ in await examination.all([])] == parts


SETTINGS_OF = {
    "node": 'role = "node"\nnode_address = "127.0.0.1:0"\nstorage_capacity = "1GiB"\n',
    "coordinator": 'role = "coordinator"\nmember_id = "alice"\n'
    'coordinator_address = "127.0.0.1:0"\n',
    "unreadable": "no settings",
}


@pytest.mark.parametrize(
    ("roles", "told"),
    [
        (
            ["node"],
            "No coordinator was examined here, so nothing is told of the backup at /backups.",
        ),
        (["coordinator"], None),
        (["node", "coordinator"], None),
        (["node", "unreadable"], None),
    ],
)
async def test_a_backup_of_which_nothing_is_told_is_not_passed_over(
    roles: list[str], told: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is wrong with settings stands there; they may be the coordinator's."""

    async def nothing(*_: object) -> list[Finding]:
        return []

    files = [tmp_path / f"{role}.toml" for role in roles]
    for file in files:
        file.write_text(SETTINGS_OF[file.stem])
    monkeypatch.setattr(connecting, "open_store", lambda _: a_store(is_joined=False))
    monkeypatch.setattr(Inspection, "findings", nothing)
    asked = SimpleNamespace(world=REAL, links=None, cert=None, coordinator=None, collective=None)
    examination = doctor._Examination(cast("Invocation", asked), None, None, "/backups")
    found = dict(await examination.all([str(file) for file in files]))
    assert [one.says for one in found.get("backup", ())] == ([told] if told else [])


def a_store(*, is_joined: bool) -> SimpleNamespace:
    return SimpleNamespace(collectives=lambda: ["home.alice"] if is_joined else [])
