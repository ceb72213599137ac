"""A large tree goes in several calls, and whoever asked for it hears of each."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest

from collective.core.errors import CollectiveError, NotFoundError, UnreachableError
from collective.rpc.gen.collective.v1.files import RemoveRequest, RemoveResponse
from tests.unit.client.fakes import World

Answers = Callable[..., list[RemoveRequest]]


@pytest.fixture
async def world() -> AsyncIterator[World]:
    made = World()
    yield made
    made.close()


@pytest.fixture
def answers(world: World, monkeypatch: pytest.MonkeyPatch) -> Answers:
    """Have the coordinator answer removals so, one after the other; return what it was asked."""

    def prepare(*given: RemoveResponse | CollectiveError) -> list[RemoveRequest]:
        asked: list[RemoveRequest] = []

        async def remove(message: RemoveRequest, **_: object) -> RemoveResponse:
            answer = given[len(asked)]
            asked.append(message)
            if isinstance(answer, CollectiveError):
                raise answer
            return answer

        monkeypatch.setattr(world.coordinator, "remove", remove, raising=False)
        return asked

    return prepare


def part(count: int) -> RemoveResponse:
    return RemoveResponse(removed_count=count, is_unfinished=True)


async def test_parts_of_a_tree_are_asked_for_until_all_is_gone(
    world: World, answers: Answers
) -> None:
    asked = answers(part(200), part(150), RemoveResponse(removed_count=3))
    told: list[int] = []
    assert await world.collective.remove("/x/t", recursive=True, progress=told.append) == 353
    assert told == [200, 150, 3]
    assert [(one.recursive, one.takes_parts) for one in asked] == [(True, True)] * 3


async def test_it_is_done_where_somebody_else_removes_the_rest(
    world: World, answers: Answers
) -> None:
    answers(part(200), NotFoundError("/x/t does not exist."))
    assert await world.collective.remove("/x/t", recursive=True) == 200


async def test_what_is_absent_from_the_beginning_is_an_error(
    world: World, answers: Answers
) -> None:
    asked = answers(NotFoundError("/x/t does not exist."))
    with pytest.raises(NotFoundError):
        await world.collective.remove("/x/t", recursive=True)
    assert len(asked) == 1


async def test_a_broken_connection_ends_it_and_what_went_was_told(
    world: World, answers: Answers
) -> None:
    answers(part(200), UnreachableError("The connection broke."))
    told: list[int] = []
    with pytest.raises(UnreachableError):
        await world.collective.remove("/x/t", recursive=True, progress=told.append)
    assert told == [200]
