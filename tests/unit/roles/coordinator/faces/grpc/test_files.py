"""One call removes what a second allows, and says whether more is there."""

from __future__ import annotations

from typing import Any, cast

import pytest

from collective.core.errors import (
    BusyError,
    CollectiveError,
    NotFoundError,
    UnreachableError,
)
from collective.core.paths import FilePath
from collective.member.files.name_directory import NameDirectory
from collective.model.calls import Call
from collective.model.writing import Removed
from collective.roles.coordinator.faces.grpc.admission import Admission
from collective.roles.coordinator.faces.grpc.files import FilesService
from collective.rpc.gen.collective.v1.files import RemoveRequest
from tests.unit.roles.coordinator.faces.grpc.test_streams import Everybody


class Tree:
    """A tree that goes so, call by call; the last for good."""

    def __init__(self, *parts: Removed | CollectiveError) -> None:
        self._parts = list(parts)
        self.budgets_s: list[float | None] = []

    async def remove(self, _call: Call, _path: FilePath, **given: Any) -> Removed:
        self.budgets_s.append(given["budget_s"])
        part = self._parts.pop(0) if len(self._parts) > 1 else self._parts[0]
        if isinstance(part, CollectiveError):
            raise part
        return part


async def removed(tree: Tree, *, takes_parts: bool) -> tuple[int, bool]:
    service = FilesService(cast("NameDirectory", tree), cast("Admission", Everybody()))
    request = RemoveRequest(path="/d/t", recursive=True, takes_parts=takes_parts)
    answer = await service.remove(request)
    return answer.removed_count, answer.is_unfinished


PART = Removed(5000, is_all=False)
REST = Removed(7, is_all=True)


@pytest.mark.parametrize("part", [PART, REST])
async def test_a_removal_is_bounded_and_says_whether_it_is_whole(part: Removed) -> None:
    tree = Tree(part)
    assert await removed(tree, takes_parts=True) == (part.names, not part.is_all)
    assert tree.budgets_s == [1.0], "well below the deadline of a call"


async def test_a_caller_that_knows_no_parts_is_answered_when_all_is_removed() -> None:
    tree = Tree(PART, PART, REST)
    assert await removed(tree, takes_parts=False) == (10_007, False)
    assert tree.budgets_s == [1.0] * 3, "others have their turn in between"


async def test_it_is_answered_too_where_somebody_else_removes_the_rest() -> None:
    assert await removed(Tree(PART, NotFoundError("Gone.")), takes_parts=False) == (5000, False)


@pytest.mark.parametrize(
    "tree", [Tree(NotFoundError("Gone.")), Tree(PART, UnreachableError("Away.")), Tree(PART)]
)
async def test_it_never_takes_a_part_for_all(tree: Tree) -> None:
    with pytest.raises((NotFoundError, UnreachableError, BusyError)):
        await removed(tree, takes_parts=False)
    assert len(tree.budgets_s) <= 60
