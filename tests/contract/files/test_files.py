"""Files by one protocol, whichever way leads to them."""

from __future__ import annotations

import asyncio
import io
import random
from collections.abc import AsyncIterator
from typing import Final

import pytest

from collective.client.files.interface import Files
from collective.core.errors import (
    ConflictError,
    NotFoundError,
    PermissionDeniedError,
    UsageError,
)
from collective.core.limits import CHUNK_SIZE_BYTES
from collective.model.entries import EntryKind
from collective.model.rights import Right
from collective.model.writing import Attributes, Precondition
from tests.contract.files.ways import Way

CONTENT: Final = random.Random(4).randbytes(2 * CHUNK_SIZE_BYTES + 77)
ABSENT: Final = Precondition(if_absent=True)


async def in_pieces(data: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


# --- contents ------------------------------------------------------------------------------------


async def test_a_value_is_stored_whole_and_told_of(way: Way) -> None:
    path = way.path("a")
    attributes = Attributes(
        modified_ns=-5, mode=0o640, content_type="text/plain", metadata={"k": "v"}
    )
    stored = await way.ann.write(path, b"hello", attributes=attributes)
    assert stored == await way.ann.stat(path)
    assert (str(stored.path), stored.kind, stored.size_bytes) == (path, EntryKind.FILE, 5)
    assert (stored.modified_ns, stored.mode, stored.content_type) == (-5, 0o640, "text/plain")
    assert dict(stored.metadata) == {"k": "v"}
    assert await way.ann.read(path) == b"hello"


@pytest.mark.parametrize("kind", ["bytes", "iterator", "file"])
async def test_contents_of_several_chunks_come_back_from_each_kind_of_source(
    way: Way, kind: str
) -> None:
    sources = {
        "bytes": CONTENT,
        "iterator": in_pieces(CONTENT, 1_000_003),
        "file": io.BytesIO(CONTENT),
    }
    entry = await way.ann.write(way.path("large"), sources[kind])  # type: ignore[arg-type]
    assert entry.size_bytes == len(CONTENT)
    assert await way.ann.read(way.path("large")) == CONTENT


async def test_a_range_is_read_in_order(way: Way) -> None:
    await way.ann.write(way.path("f"), CONTENT)
    ranges = [(0, 10), (CHUNK_SIZE_BYTES - 3, 9), (len(CONTENT) - 4, 100), (len(CONTENT) + 9, 5)]
    for offset, length in ranges:
        async with way.ann.open_read(way.path("f"), offset=offset, length=length) as reader:
            assert str(reader.entry.path).endswith("/f")
            got = b"".join([bytes(block) async for block in reader])
        assert got == CONTENT[offset : offset + length]
    assert await way.ann.read(way.path("f"), offset=5_000_000) == CONTENT[5_000_000:]


async def test_an_open_file_is_read_anywhere_by_several_at_once(way: Way) -> None:
    await way.ann.write(way.path("f"), CONTENT)
    places = [(len(CONTENT) - 1, 5), (0, 3), (CHUNK_SIZE_BYTES - 1, 2), (len(CONTENT), 1), (9, 0)]
    async with way.ann.open(way.path("f")) as file:
        assert str(file.entry.path) == way.path("f")
        got = await asyncio.gather(*(file.read_at(*place) for place in places))
        with pytest.raises(UsageError):
            await file.read_at(-1, 2)
    assert got == [CONTENT[offset : offset + length] for offset, length in places]


async def test_an_open_file_stays_as_it_is_when_it_is_replaced_and_removed(way: Way) -> None:
    path = way.path("f")
    first = await way.ann.write(path, b"before")
    async with way.ann.open(path) as file:
        await way.ann.write(path, b"behind it")
        assert await file.read_at(0, 100) == b"before"
        await way.ann.remove(path)
        assert await file.read_at(2, 3) == b"for"
    await way.ann.write(path, b"anew")
    with pytest.raises(ConflictError):
        async with way.ann.open(path, if_version=first.version):
            pass


async def test_an_empty_file_is_one(way: Way) -> None:
    await way.ann.write(way.path("empty"), b"")
    assert await way.ann.read(way.path("empty")) == b""
    async with way.ann.open(way.path("empty")) as file:
        assert await file.read_at(0, 10) == b""
    async with way.ann.open_write(way.path("also")):
        pass
    assert (await way.ann.stat(way.path("also"))).size_bytes == 0


async def test_a_file_is_written_piece_by_piece_and_appears_at_the_end(way: Way) -> None:
    path = way.path("log")
    async with way.ann.open_write(path, attributes=Attributes(mode=0o600)) as writer:
        async for piece in in_pieces(CONTENT, 3_000_001):
            await writer.write(piece)
            with pytest.raises(NotFoundError):
                await way.ann.stat(path)
        await writer.write(bytearray(b"end"))
    assert writer.entry == await way.ann.stat(path)
    assert writer.entry.mode == 0o600
    assert await way.ann.read(path) == CONTENT + b"end"


async def test_a_writer_that_is_left_by_an_error_leaves_nothing(way: Way) -> None:
    async def leave_by_an_error() -> None:
        async with way.ann.open_write(way.path("f")) as writer:
            await writer.write(b"begun")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await leave_by_an_error()
    with pytest.raises(NotFoundError):
        await way.ann.stat(way.path("f"))


async def test_what_ends_a_write_ends_the_body_of_its_writer(way: Way) -> None:
    async def write_for_ever() -> None:
        async with way.ann.open_write(way.path("none", "f")) as writer:
            while True:
                await writer.write(CONTENT)

    with pytest.raises(NotFoundError):
        await write_for_ever()


async def test_a_write_that_is_cancelled_leaves_nothing(way: Way) -> None:
    begun = asyncio.Event()

    async def source() -> AsyncIterator[bytes]:
        yield CONTENT
        begun.set()
        await asyncio.Event().wait()

    writing = asyncio.ensure_future(way.ann.write(way.path("f"), source()))
    await begun.wait()
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    with pytest.raises(NotFoundError):
        await way.ann.stat(way.path("f"))


# --- conditions ----------------------------------------------------------------------------------


async def test_compare_and_set_by_the_version_that_stat_told(way: Way) -> None:
    path = way.path("counter")
    first = await way.ann.write(path, b"1", condition=ABSENT)
    with pytest.raises(ConflictError):
        await way.ann.write(path, b"one", condition=ABSENT)
    seen = await way.ann.stat(path)
    assert seen.version == first.version
    second = await way.ann.write(path, b"2", condition=Precondition(if_version=seen.version))
    assert second.version > first.version
    with pytest.raises(ConflictError):
        await way.ann.write(path, b"3", condition=Precondition(if_version=seen.version))
    with pytest.raises(ConflictError):
        await way.ann.remove(path, if_version=seen.version)
    with pytest.raises(ConflictError):
        await way.ann.move(path, way.path("away"), if_version=seen.version)
    assert await way.ann.read(path) == b"2"


async def test_of_many_who_compare_and_set_at_once_one_wins(way: Way) -> None:
    path = way.path("lock")
    seen = await way.ann.write(path, b"free")
    condition = Precondition(if_version=seen.version)

    async def take(name: str) -> str | None:
        try:
            await way.ann.write(path, name.encode(), condition=condition)
        except ConflictError:
            return None
        return name

    won = [name for name in await asyncio.gather(*map(take, "abcdefgh")) if name]
    assert len(won) == 1
    assert await way.ann.read(path) == won[0].encode()


# --- names ---------------------------------------------------------------------------------------


async def tree(files: Files, way: Way) -> list[str]:
    made = [way.path(name) for name in ("a", "b", "b/one", "b/two", "c")]
    for path in made:
        if path.endswith(("/one", "/two")):
            await files.write(path, b"x")
        else:
            await files.mkdir(path)
    return made


async def test_a_folder_is_listed_in_order_whole_and_in_pages(way: Way) -> None:
    made = await tree(way.ann, way)
    assert [str(one.path) async for one in way.ann.list(way.root)] == [
        path for path in made if path.count("/") == way.root.count("/") + 1
    ]
    assert [str(one.path) async for one in way.ann.list(way.root, recursive=True)] == made
    found, token = [], ""
    while True:
        page = await way.ann.list_page(way.root, recursive=True, page_size=2, token=token)
        assert 0 < len(page.entries) <= 2
        found += [str(one.path) for one in page.entries]
        token = page.next_token
        if not token:
            break
    assert found == made
    with pytest.raises(UsageError):
        await way.ann.list_page(way.root, page_size=0)


async def test_directories_links_and_attributes(way: Way) -> None:
    with pytest.raises(NotFoundError, match="Parent directory does not exist"):
        await way.ann.mkdir(way.path("x", "y"))
    made = await way.ann.mkdir(
        way.path("x", "y"), parents=True, attributes=Attributes(modified_ns=9, mode=0o700)
    )
    assert (made.kind, made.modified_ns, made.mode) == (EntryKind.DIRECTORY, 9, 0o700)
    with pytest.raises(ConflictError):
        await way.ann.mkdir(way.path("x", "y"))
    link = await way.ann.make_link(way.path("link"), b"x/y", condition=ABSENT)
    assert (link.kind, link.target) == (EntryKind.LINK, b"x/y")
    changed = await way.ann.set_attributes(way.path("x"), Attributes(modified_ns=11))
    assert changed.modified_ns == 11


async def test_names_are_moved_and_removed(way: Way) -> None:
    await tree(way.ann, way)
    moved = await way.ann.move(way.path("b"), way.path("a", "b"))
    assert str(moved.path) == way.path("a", "b")
    assert await way.ann.read(way.path("a", "b", "one")) == b"x"
    with pytest.raises(ConflictError):
        await way.ann.remove(way.path("a"))
    told: list[int] = []
    assert await way.ann.remove(way.path("a"), recursive=True, progress=told.append) == 4
    assert sum(told) in {0, 4}
    with pytest.raises(NotFoundError):
        await way.ann.remove(way.path("a"))


async def test_a_copy_is_a_file_of_its_own(way: Way) -> None:
    await way.ann.write(way.path("f"), CONTENT, attributes=Attributes(modified_ns=3, mode=0o600))
    copied = await way.ann.copy(way.path("f"), way.path("g"), condition=ABSENT)
    assert (str(copied.path), copied.modified_ns, copied.mode) == (way.path("g"), 3, 0o600)
    await way.ann.remove(way.path("f"))
    assert await way.ann.read(way.path("g")) == CONTENT
    with pytest.raises(NotFoundError):
        await way.ann.copy(way.path("f"), way.path("h"))


async def test_paths_that_cannot_be_are_refused(way: Way) -> None:
    for path in ("relative", way.path(".."), way.path("a\0b"), way.path("n" * 256)):
        with pytest.raises(UsageError):
            await way.ann.stat(path)
        with pytest.raises(UsageError):
            way.ann.list(path)
        with pytest.raises(UsageError):
            way.ann.open_write(path)


# --- rights --------------------------------------------------------------------------------------


async def test_rights_are_told_whether_anything_is_there_or_not(way: Way) -> None:
    assert await way.ann.rights(way.path("absent")) == Right.READ | Right.WRITE | Right.SHARE
    with pytest.raises(PermissionDeniedError):
        await way.eve.rights(way.path("absent"))
    await way.grant("eve", Right.WRITE, way.path("deep", "er"))
    assert await way.eve.rights(way.path("deep", "er", "and", "er")) == Right.WRITE
    assert await way.eve.rights(way.root) is Right.NONE


async def test_nobody_tells_absence_from_refusal_outside_of_their_grants(way: Way) -> None:
    await way.ann.write(way.path("f"), b"x")
    for path in (way.path("f"), way.path("absent")):
        for attempt in (
            way.eve.stat(path),
            way.eve.read(path),
            way.eve.write(path, b"y"),
            way.eve.remove(path),
            way.eve.move(path, way.path("g")),
            way.eve.copy(path, way.path("g")),
            way.eve.mkdir(path),
            way.eve.make_link(path, b"t"),
            way.eve.set_attributes(path, Attributes(mode=0)),
        ):
            with pytest.raises(PermissionDeniedError):
                await attempt
        with pytest.raises(PermissionDeniedError):
            async with way.eve.open(path):
                pass
    assert await way.ann.read(way.path("f")) == b"x"


async def test_a_right_that_ends_ends_reading_an_open_file(way: Way) -> None:
    await way.ann.write(way.path("f"), b"secret")
    given = await way.grant("eve", Right.READ, way.root)
    async with way.eve.open(way.path("f")) as file:
        assert await file.read_at(0, 6) == b"secret"
        await way.ungrant(given)
        with pytest.raises(PermissionDeniedError):
            await file.read_at(0, 6)


# --- many at once --------------------------------------------------------------------------------


async def test_each_item_of_a_batch_has_a_result_or_an_error_of_its_own(way: Way) -> None:
    contents = {way.path(f"f{number:02}"): b"%d" % number for number in range(40)}
    contents[way.path("none", "f")] = b"no folder"
    written = await way.ann.write_many(contents, condition=ABSENT)
    assert [one.path for one in written] == list(contents)
    *stored, failed = written
    assert all(one.result().size_bytes == len(contents[one.path]) for one in stored)
    assert isinstance(failed.error, NotFoundError)
    with pytest.raises(NotFoundError):
        failed.result()
    assert {type(one.error) for one in await way.ann.write_many(contents, condition=ABSENT)} == {
        ConflictError,
        NotFoundError,
    }
    read = await way.ann.read_many(contents)
    assert [one.value for one in read[:-1]] == list(contents.values())[:-1]
    told = await way.ann.stat_many(contents)
    assert [one.result().version for one in told[:-1]] == [one.result().version for one in stored]
    gone = await way.ann.remove_many(contents)
    assert [one.value for one in gone] == [1] * 40 + [None]
    assert {type(one.error) for one in await way.eve.stat_many(contents)} == {PermissionDeniedError}
