"""A change that must not be repeated is asked for once, whatever becomes of its answer."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import cast

import pytest

from collective.client.names import Names
from collective.core.errors import UnreachableError
from collective.core.paths import FilePath
from collective.rpc.gen.collective.v1.files import FilesStub, MoveRequest, RemoveRequest
from collective.rpc.remote.names import RemoteNames
from tests.unit.client.fakes import World

PATH = FilePath.parse("/x/f")


@pytest.fixture
async def world(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    """A coordinator whose answers are lost."""
    made = World()

    async def lose(message: RemoveRequest | MoveRequest, **_: object) -> None:
        made.coordinator.calls.append(type(message).__name__)
        raise UnreachableError("The connection broke.")

    for method in ("remove", "move"):
        monkeypatch.setattr(made.coordinator, method, lose, raising=False)
    yield made
    made.close()


@pytest.mark.parametrize("persists", [False, True])
async def test_a_remove_or_move_is_not_repeated(world: World, persists: bool) -> None:
    """The second time it would meet what was written to that path meanwhile."""
    files = cast("FilesStub", world.coordinator)
    names = Names(RemoteNames(world.control, files, persists=persists), world.session.call)
    with pytest.raises(UnreachableError):
        await names.remove(PATH, recursive=False, if_version=0)
    with pytest.raises(UnreachableError):
        await names.move(PATH, FilePath.parse("/x/g"), if_version=0)
    assert world.coordinator.calls == ["RemoveRequest", "MoveRequest"]
