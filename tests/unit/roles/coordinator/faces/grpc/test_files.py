"""One call removes what a second allows, and says whether more is there."""

from __future__ import annotations

from typing import Any, cast

import pytest

from collective.core.paths import FilePath
from collective.member.files.member_directory import MemberDirectory
from collective.model.calls import Call
from collective.model.changes import Removed
from collective.roles.coordinator.faces.grpc.admission import Admission
from collective.roles.coordinator.faces.grpc.files import FilesService
from collective.rpc.gen.collective.v1.files import RemoveRequest
from tests.unit.roles.coordinator.faces.grpc.test_streams import Everybody


class Tree:
    """A tree that is too large for one call, or not."""

    def __init__(self, removed: Removed) -> None:
        self._removed = removed
        self.budgets_s: list[float | None] = []

    @property
    def names(self) -> Tree:
        return self

    def of_path(self, _call: Call, _path: FilePath) -> Tree:
        return self

    async def remove(self, _call: Call, _path: FilePath, **given: Any) -> Removed:
        self.budgets_s.append(given["budget_s"])
        return self._removed


@pytest.mark.parametrize("removed", [Removed(5000, is_all=False), Removed(7, is_all=True)])
async def test_a_removal_is_bounded_and_says_whether_it_is_whole(removed: Removed) -> None:
    tree = Tree(removed)
    service = FilesService(cast("MemberDirectory", tree), cast("Admission", Everybody()))
    answer = await service.remove(RemoveRequest(path="/d/t", recursive=True))
    assert (answer.removed_count, answer.is_unfinished) == (removed.count, not removed.is_all)
    assert tree.budgets_s == [1.0], "well below the deadline of a call"
