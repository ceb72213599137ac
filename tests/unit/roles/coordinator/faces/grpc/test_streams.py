"""A whole file that is given out ends with its call, however that ends."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest

from collective.model.calls import Call
from collective.roles.coordinator.faces.grpc.admission import Admission
from collective.roles.coordinator.faces.grpc.streams import StreamsService
from collective.rpc.gen.collective.v1.streams import ReadRequest
from tests.unit.member.farm import OPERATOR, scene
from tests.unit.member.files.test_whole_files import CHUNK, PATH, prepare, write


class Everybody:
    """An admission that lets the operator in."""

    @asynccontextmanager
    async def call(self, _operation: str, _target: str) -> AsyncIterator[Call]:
        yield OPERATOR

    def moved(self, _direction: str, _size_bytes: int) -> None:
        """Count nothing."""


class LeavingReader:
    """The stream of a caller that is gone after a few messages."""

    def __init__(self, messages: int) -> None:
        self.left = messages

    async def recv_message(self) -> ReadRequest:
        return ReadRequest(path=str(PATH))

    async def send_message(self, _message: Any) -> None:
        if not self.left:
            raise ConnectionResetError("gone")
        self.left -= 1


@pytest.mark.parametrize("messages", [0, 1, 2, 20])
async def test_a_reader_that_leaves_takes_its_buffers_with_it(
    tmp_path: Path, messages: int
) -> None:
    async with scene(tmp_path) as here:
        await prepare(here)
        await write(here, random.Random(9).randbytes(3 * CHUNK))
        service = StreamsService(here.whole, here.copying, cast("Admission", Everybody()))
        handler = service.__mapping__()["/collective.v1.streams.Streams/Read"]
        with pytest.raises(ConnectionResetError) as caught:
            await handler.func(cast("Any", LeavingReader(messages)))
        assert here.farm.pool.outstanding == 0, "though the error still holds on to the frames"
        assert caught.value
