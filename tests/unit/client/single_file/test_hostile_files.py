"""What others put at a member must not reach into the machine of whoever downloads it."""

from __future__ import annotations

import fcntl
import os
import random
import stat
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from collective.client.disk import tree_target
from collective.client.disk.attributes import WantedAttributes
from collective.client.disk.local_entries import FileState
from collective.client.disk.nofollow_tree import LocalTree
from collective.client.disk.part_files import PartFile
from collective.client.single_file.upload_notes import UploadNote
from collective.core.errors import CollectiveError, RejectedError, UsageError
from collective.core.ids import Domain, UploadId, UploadKey
from collective.core.limits import CHUNK_SIZE_BYTES
from collective.core.moments import MOST_S, NS_PER_S
from collective.core.paths import FilePath
from collective.core.randomness import SeededRandomness
from collective.model.writing import Attributes
from collective.rpc.gen.collective.v1 import Entry as EntryMessage
from collective.rpc.gen.collective.v1 import EntryKind
from tests.unit.client.fakes import World, part_path
from tests.worlds import REAL

DOMAIN = Domain("home.alice")
MINE = UploadId(UploadKey("a" * 32), DOMAIN)
OTHER = UploadId(UploadKey("b" * 32), DOMAIN)
DATA = random.Random(1).randbytes(2 * CHUNK_SIZE_BYTES + 5)
EVIL = b"EVIL" * (CHUNK_SIZE_BYTES // 4)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    made = World(state_dir=str(tmp_path / "state"))
    yield made
    made.close()


def refuse(value: str) -> None:
    with pytest.raises(UsageError):
        FilePath.parse(value)


# --- parts ------------------------------------------------------------------------------------------


async def test_a_part_planted_by_someone_else_gives_no_byte_of_the_file(
    world: World, tmp_path: Path
) -> None:
    """Everything that names a part is known to whoever may read the file."""
    entry = await world.collective.write("/s/A", DATA)
    part = Path(part_path(str(tmp_path / "A"), DOMAIN, entry))
    for planted in (EVIL, DATA[:CHUNK_SIZE_BYTES] + EVIL, EVIL * 3, DATA[:-1] + b"!", EVIL[:9]):
        part.write_bytes(planted)
        await world.collective.get("/s/A", str(tmp_path / "A"))
        assert (tmp_path / "A").read_bytes() == DATA
        assert not part.exists()


async def test_what_a_part_has_of_the_version_is_kept_and_no_more(
    world: World, tmp_path: Path
) -> None:
    entry = await world.collective.write("/s/A", DATA)
    Path(part_path(str(tmp_path / "A"), DOMAIN, entry)).write_bytes(DATA[:CHUNK_SIZE_BYTES] + EVIL)
    got: list[int] = []
    await world.collective.get("/s/A", str(tmp_path / "A"), progress=got.append)
    assert (tmp_path / "A").read_bytes() == DATA
    assert sum(got) == len(DATA)
    assert len(world.nodes.gets) == 2


async def test_a_part_of_many_plans_is_checked_to_its_end(world: World, tmp_path: Path) -> None:
    world.coordinator.batch = 1
    entry = await world.collective.write("/s/A", DATA)
    part = Path(part_path(str(tmp_path / "A"), DOMAIN, entry))
    part.write_bytes(DATA)
    await world.collective.get("/s/A", str(tmp_path / "A"))
    assert not world.nodes.gets
    part.write_bytes(DATA[:-1] + b"!")
    await world.collective.get("/s/A", str(tmp_path / "A"))
    assert len(world.nodes.gets) == 1
    assert (tmp_path / "A").read_bytes() == DATA


async def test_no_name_at_a_member_is_the_name_of_a_part(world: World, tmp_path: Path) -> None:
    entry = await world.collective.write("/s/A", b"x")
    part = part_path(str(tmp_path / "A"), DOMAIN, entry)
    refuse(f"/m/{os.path.basename(part)}")
    (tmp_path / "tree").mkdir()
    Path(part_path(str(tmp_path / "tree" / "A"), DOMAIN, entry)).write_bytes(b"private")
    result = await world.collective.put_tree(str(tmp_path / "tree"), "/m")
    assert (result.files, len(result.left_out)) == (0, 1)


def as_link(part: Path, victim: Path) -> None:
    part.symlink_to(victim)


def as_hard_link(part: Path, victim: Path) -> None:
    os.link(victim, part)


def as_pipe(part: Path, _victim: Path) -> None:
    os.mkfifo(part)


def as_folder(part: Path, _victim: Path) -> None:
    part.mkdir()


@pytest.mark.parametrize("plant", [as_link, as_hard_link, as_pipe, as_folder])
async def test_a_part_that_is_no_plain_file_of_ours_is_gone_round(
    world: World, tmp_path: Path, plant: Callable[[Path, Path], None]
) -> None:
    entry = await world.collective.write("/s/A", DATA)
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    plant(Path(part_path(str(tmp_path / "A"), DOMAIN, entry)), victim)
    before = len(os.listdir(tmp_path))
    await world.collective.get("/s/A", str(tmp_path / "A"))
    assert (tmp_path / "A").read_bytes() == DATA
    assert victim.read_bytes() == b"precious"
    assert len(os.listdir(tmp_path)) == before + 1


async def test_a_part_that_another_get_writes_is_left_to_it(world: World, tmp_path: Path) -> None:
    entry = await world.collective.write("/s/A", DATA)
    part = part_path(str(tmp_path / "A"), DOMAIN, entry)
    with open(part, "wb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        other.write(b"theirs")
        other.flush()
        await world.collective.get("/s/A", str(tmp_path / "A"))
        assert Path(part).read_bytes() == b"theirs"
    assert (tmp_path / "A").read_bytes() == DATA


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[int]:
    fd = os.open(tmp_path, os.O_PATH)
    yield fd
    os.close(fd)


async def test_a_part_is_private_and_a_file_runs_as_nobody_else(
    world: World, tmp_path: Path, folder: int
) -> None:
    entry = await world.collective.write("/s/A", b"x", attributes=Attributes(mode=0o6755))
    local = str(tmp_path / "A")
    Path(part_path(local, DOMAIN, entry)).write_bytes(b"y")
    os.chmod(part_path(local, DOMAIN, entry), 0o666)
    part = PartFile.open(folder, "A", DOMAIN, entry, SeededRandomness(1))
    assert stat.S_IMODE(os.fstat(part.fd).st_mode) == 0o600
    part.close()
    await world.collective.get("/s/A", local)
    assert stat.S_IMODE(os.stat(local).st_mode) == 0o755
    await world.collective.get("/s/A", local, keeps_set_id=True)
    assert stat.S_IMODE(os.stat(local).st_mode) == 0o6755


async def test_a_file_that_nobody_gave_a_mode_keeps_to_the_umask(
    world: World, tmp_path: Path
) -> None:
    await world.collective.write("/s/A", b"x")
    mask = os.umask(0o027)
    try:
        await world.collective.get("/s/A", str(tmp_path / "A"))
    finally:
        os.umask(mask)
    assert stat.S_IMODE(os.stat(tmp_path / "A").st_mode) == 0o640


async def test_a_part_that_was_exchanged_is_not_published(
    world: World, tmp_path: Path, folder: int
) -> None:
    entry = await world.collective.write("/s/A", b"x")
    part = PartFile.open(folder, "A", DOMAIN, entry, SeededRandomness(1))
    os.unlink(tmp_path / part.name)
    (tmp_path / part.name).write_bytes(b"EVIL")
    with pytest.raises(OSError, match="someone else"):
        part.publish(WantedAttributes(None, None))
    part.close()
    assert not (tmp_path / "A").exists()


@pytest.mark.parametrize("seconds", [MOST_S, -MOST_S])
async def test_a_time_beyond_this_machines_clocks_stops_nothing_and_is_named(
    world: World, tmp_path: Path, seconds: int
) -> None:
    attributes = Attributes(modified_ns=seconds * NS_PER_S)
    await world.collective.mkdir("/m")
    await world.collective.mkdir("/m/d", attributes=attributes)
    await world.collective.write("/m/d/A", b"x", attributes=attributes)
    await world.collective.make_link("/m/d/l", b"x", attributes=attributes)
    await world.collective.write("/m/B", b"y")
    result = await world.collective.get_tree("/m", str(tmp_path / "back"))
    assert (result.files, result.links) == (2, 1)
    kept = os.stat(tmp_path / "back" / "d" / "A").st_mtime_ns == attributes.modified_ns
    named = [] if kept else ["/m/d", "/m/d/A", "/m/d/l"]  # most file systems end before
    assert sorted(one.name for one in result.left_out) == named


async def test_a_device_or_pipe_is_not_replaced(world: World, tmp_path: Path) -> None:
    await world.collective.write("/s/A", b"x")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(CollectiveError, match="collective read"):
        await world.collective.get("/s/A", str(tmp_path / "pipe"))
    assert stat.S_ISFIFO(os.lstat(tmp_path / "pipe").st_mode)
    assert os.listdir(tmp_path) == ["pipe"]


# --- trees ------------------------------------------------------------------------------------------


async def test_a_file_with_the_size_and_time_of_another_is_not_taken_for_it(
    world: World, tmp_path: Path
) -> None:
    """Both trees go into one directory; size and time are of the attacker's choosing."""
    times = Attributes(modified_ns=1_700_000_000_123_456_789)
    await world.collective.mkdir("/s")
    await world.collective.mkdir("/m")
    await world.collective.write("/s/A", DATA, attributes=times)
    await world.collective.write("/m/A", bytes(len(DATA)), attributes=times)
    back = str(tmp_path / "back")
    await world.collective.get_tree("/m", back)
    result = await world.collective.get_tree("/s", back)
    assert (result.files, result.unchanged) == (1, 0)
    assert (tmp_path / "back" / "A").read_bytes() == DATA
    fetched = len(world.nodes.gets)
    again = await world.collective.get_tree("/s", back)
    assert (again.files, again.unchanged, len(world.nodes.gets)) == (0, 1, fetched)


async def test_a_link_below_the_target_leads_nothing_out_of_it(
    world: World, tmp_path: Path
) -> None:
    await world.collective.mkdir("/m")
    await world.collective.mkdir("/m/d")
    await world.collective.write("/m/d/authorized_keys", b"EVIL")
    await world.collective.write("/m/e", b"fine")
    outside, back = tmp_path / "outside", tmp_path / "back"
    outside.mkdir()
    back.mkdir()
    (back / "d").symlink_to(outside)
    (outside / "e").write_bytes(b"kept")
    (back / "e").symlink_to(outside / "e")
    result = await world.collective.get_tree("/m", str(back))
    assert os.listdir(outside) == ["e"]
    assert (outside / "e").read_bytes() == b"kept"
    assert (back / "e").read_bytes() == b"fine"
    assert [one.name for one in result.left_out] == ["/m/d"]
    assert "symbolic link" in result.left_out[0].error.message


async def test_a_directory_where_a_file_is_and_the_reverse_fail_alone(
    world: World, tmp_path: Path
) -> None:
    await world.collective.mkdir("/m")
    await world.collective.mkdir("/m/a")
    await world.collective.write("/m/a/x", b"1")
    await world.collective.write("/m/b", b"2")
    await world.collective.write("/m/c", b"3")
    (tmp_path / "a").write_bytes(b"mine")
    (tmp_path / "b").mkdir()
    result = await world.collective.get_tree("/m", str(tmp_path))
    assert [one.name for one in result.left_out] == ["/m/a", "/m/b"]
    assert (tmp_path / "a").read_bytes() == b"mine"
    assert (tmp_path / "c").read_bytes() == b"3"


@pytest.mark.parametrize(
    ("first", "second"), [("README", "readme"), ("caf\u00e9", "cafe\u0301"), ("ß", "SS")]
)
async def test_names_that_the_file_system_holds_for_one_do_not_replace_each_other(
    world: World,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    first: str,
    second: str,
) -> None:
    monkeypatch.setattr(tree_target, "folds_names", lambda _folder, _randomness: True)
    await world.collective.mkdir("/m")
    for name, data in ((first, b"1"), (second, b"2")):
        await world.collective.write(f"/m/{name}", data)
        await world.collective.mkdir(f"/m/x{name}")
        await world.collective.write(f"/m/x{name}/y", data)
    result = await world.collective.get_tree("/m", str(tmp_path / "back"))
    kept, refused = sorted((first, second))
    failed = sorted(one.name for one in result.left_out)
    assert failed == sorted([f"/m/{refused}", f"/m/x{refused}"])
    assert all(kept in one.error.message for one in result.left_out)
    assert sorted(os.listdir(tmp_path / "back")) == sorted([kept, f"x{kept}"])


async def test_a_directory_that_folds_names_by_itself_is_noticed(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def casefolded(_: int, __: int, flags: bytearray) -> int:
        flags[:4] = (0x40000000).to_bytes(4, sys.byteorder)
        return 0

    await world.collective.mkdir("/m")
    for name in ("README", "readme"):
        await world.collective.write(f"/m/{name}", name.encode())
    monkeypatch.setattr(fcntl, "ioctl", casefolded)
    result = await world.collective.get_tree("/m", str(tmp_path / "back"))
    assert [one.name for one in result.left_out] == ["/m/readme"]


async def test_where_all_names_differ_all_are_kept(
    world: World, tmp_path: Path, folder: int
) -> None:
    if tree_target.folds_names(folder, REAL.randomness):
        pytest.skip("this file system folds names")
    await world.collective.mkdir("/m")
    for name in ("README", "readme", "caf\u00e9", "cafe\u0301"):
        await world.collective.write(f"/m/{name}", name.encode())
    result = await world.collective.get_tree("/m", str(tmp_path / "back"))
    assert (result.files, result.left_out) == (4, [])
    assert len(os.listdir(tmp_path / "back")) == 4


@pytest.mark.parametrize("name", ["..", ".", "a/../../b", "\x1b]0;x\x07", "\x7f"])
async def test_a_coordinator_that_lists_names_no_path_has_is_refused(
    world: World, tmp_path: Path, name: str
) -> None:
    await world.collective.mkdir("/m")
    path = f"/m/{name}"
    world.coordinator.files[path] = (EntryMessage(path=path, kind=EntryKind.FILE), [])
    with pytest.raises(RejectedError, match="cannot be read here"):
        await world.collective.get_tree("/m", str(tmp_path / "back"))
    assert os.listdir(tmp_path / "back") == []


@pytest.mark.parametrize("plant", [as_link, as_pipe, as_folder])
async def test_what_becomes_a_link_while_a_tree_is_uploaded_is_not_followed(
    world: World,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    plant: Callable[[Path, Path], None],
) -> None:
    secret, tree = tmp_path / "secret", tmp_path / "tree"
    secret.write_bytes(b"key")
    tree.mkdir()
    (tree / "x").write_bytes(b"1")
    real = LocalTree.open_file

    def exchanged(self: LocalTree, names: tuple[str, ...]) -> int:
        os.unlink(tree / "x")
        plant(tree / "x", secret)
        return real(self, names)

    monkeypatch.setattr(LocalTree, "open_file", exchanged)
    result = await world.collective.put_tree(str(tree), "/m")
    assert [os.path.basename(one.name) for one in result.left_out] == ["x"]
    assert "/m/x" not in world.coordinator.files


# --- notes of uploads -------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [0o777, 0o720])
async def test_a_note_where_others_can_write_is_not_believed(tmp_path: Path, mode: int) -> None:
    state = FileState(1, 2, 3, 4)
    journal = UploadNote(str(tmp_path), DOMAIN, FilePath.parse("/s/A"), "A", REAL.randomness)
    await journal.save(state, MINE)
    assert await journal.load(state) == MINE
    assert stat.S_IMODE((tmp_path / "uploads").stat().st_mode) == 0o700
    (note,) = (tmp_path / "uploads").iterdir()
    assert stat.S_IMODE(note.stat().st_mode) == 0o600
    (tmp_path / "uploads").chmod(mode)
    assert await journal.load(state) is None
    await journal.save(state, OTHER)
    (tmp_path / "uploads").chmod(0o700)
    assert await journal.load(state) == MINE


async def test_a_folder_of_notes_that_is_a_link_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    (tmp_path / "uploads").symlink_to(tmp_path / "elsewhere")
    journal = UploadNote(str(tmp_path), DOMAIN, FilePath.parse("/s/A"), "A", REAL.randomness)
    await journal.save(FileState(1, 2, 3, 4), MINE)
    assert not list((tmp_path / "elsewhere").iterdir())
