"""Copies within a member: judged as a read and a write, and no byte moved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from collective.core.errors import (
    ConflictError,
    NotFoundError,
    PermissionDeniedError,
    RejectedError,
)
from collective.core.paths import FilePath
from collective.member.files.copying import leased
from collective.model.calls import Call
from collective.model.rights import Right
from collective.model.writing import Attributes, Precondition
from tests.unit.member.cluster import USER
from tests.unit.member.farm import OPERATOR, Scene, scene
from tests.unit.member.files.test_file_copy import Source
from tests.unit.member.files.test_whole_files import stream

ONE, OTHER = FilePath.parse("/d/one"), FilePath.parse("/d/other")
ANN = Call(USER, is_operator=False)
ALWAYS = Precondition()


async def write(here: Scene, path: FilePath, data: bytes) -> None:
    attributes = Attributes(modified_ns=7, mode=0o640, content_type="text/plain")
    await here.whole.write(OPERATOR, path, attributes, ALWAYS, stream(data))


async def prepare(here: Scene) -> None:
    await here.catalog.names.make_directory(OPERATOR, ONE.parent, parents=False)
    await write(here, ONE, b"content")


async def test_a_copy_is_the_file_with_its_attributes_and_moves_no_byte(tmp_path: Path) -> None:
    async with scene(tmp_path) as here:
        await prepare(here)
        puts, reads = len(here.farm.puts), here.farm.reads
        entry = await here.copying.copy(OPERATOR, ONE, OTHER, ALWAYS)
        assert (entry.path, entry.size_bytes, entry.mode) == (OTHER, 7, 0o640)
        assert (entry.modified_ns, entry.content_type) == (7, "text/plain")
        assert (len(here.farm.puts), here.farm.reads) == (puts, reads)
        same = await here.copying.same(OPERATOR, ONE, OTHER)
        assert same is not None
        assert same.path == OTHER


async def test_a_copy_needs_what_reading_and_writing_need(tmp_path: Path) -> None:
    async with scene(tmp_path) as here:
        await prepare(here)
        for rights, path in ((Right.READ, ONE), (Right.WRITE, OTHER)):
            with pytest.raises(PermissionDeniedError):
                await here.copying.copy(ANN, ONE, OTHER, ALWAYS)
            await here.catalog.grants.add(OPERATOR, path, rights, USER, None)
        assert (await here.copying.copy(ANN, ONE, OTHER, ALWAYS)).size_bytes in {0, 7}
        assert await here.copying.same(ANN, ONE, OTHER) is None, "they may not read the target"


async def test_a_condition_that_does_not_hold_and_a_copy_to_itself_change_nothing(
    tmp_path: Path,
) -> None:
    async with scene(tmp_path) as here:
        await prepare(here)
        await write(here, OTHER, b"before")
        for path, condition in ((OTHER, Precondition(if_absent=True)), (ONE, ALWAYS)):
            with pytest.raises(ConflictError):
                await here.copying.copy(OPERATOR, ONE, path, condition)
        with pytest.raises(NotFoundError):
            await here.copying.copy(OPERATOR, ONE.parent.child("none"), OTHER, ALWAYS)
        assert (await here.catalog.names.stat(OPERATOR, OTHER)).size_bytes == 6


async def test_files_are_the_same_by_their_pieces_alone(tmp_path: Path) -> None:
    async with scene(tmp_path) as here:
        await prepare(here)
        for content, is_same in ((b"content", True), (b"contend", False), (b"conten", False)):
            await write(here, OTHER, content)
            assert (await here.copying.same(OPERATOR, ONE, OTHER) is not None) is is_same
        assert await here.copying.same(OPERATOR, ONE, ONE.parent) is None
        assert await here.copying.same(OPERATOR, ONE, ONE.parent.child("none")) is None
        with pytest.raises(NotFoundError):
            await here.copying.same(OPERATOR, ONE.parent.child("none"), ONE)


class Endless(Source):
    """A peer whose plans are always of the same piece."""

    async def open_read(self, *_: Any, **__: Any) -> Any:
        return await self.lease(None)  # type: ignore[arg-type]

    async def plan_read(self, *_: Any, **__: Any) -> Any:
        return self._plan(0)

    async def close_reads(self, *_: Any) -> None:
        self.given_back += 1


async def test_a_peer_whose_plans_lead_nowhere_is_given_up() -> None:
    source = Endless((1, 2, 3), page=1)
    reads: Any = source
    with pytest.raises(RejectedError, match="gap"):
        _ = [piece async for piece in leased(reads, OPERATOR, ONE).all()]
    assert source.given_back == 1
