"""A writer that takes a file piece by piece: what it refuses, and whose error is raised."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from collective.client.files.writing import writing
from collective.core.errors import UsageError
from collective.model.entries import Entry


async def swallow(pieces: AsyncIterator[bytes]) -> Entry:
    async for _ in pieces:
        pass
    raise UsageError("Nothing is stored here.")


async def test_a_writer_that_was_left_takes_nothing() -> None:
    with pytest.raises(UsageError, match="Nothing is stored"):
        async with writing(swallow) as writer:
            await writer.write(b"a")
    with pytest.raises(UsageError, match="left"):
        await writer.write(b"b")


async def test_the_error_of_the_body_keeps_its_cause() -> None:
    cause = KeyError("k")
    with pytest.raises(ValueError, match="own") as caught:
        async with writing(swallow):
            raise ValueError("own") from cause
    assert caught.value.__cause__ is cause
