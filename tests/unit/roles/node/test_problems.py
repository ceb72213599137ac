from __future__ import annotations

from collective.core.ids import ChunkId, Generation
from collective.roles.node.bad_copies import PROBLEMS_MAX, REPORT_MAX, Problems


def chunk(number: int) -> ChunkId:
    return ChunkId(number.to_bytes(32, "big"))


def test_a_copy_is_noted_once_until_it_was_told() -> None:
    problems = Problems()
    assert problems.add(chunk(1), Generation(1), corrupt=True)
    assert not problems.add(chunk(1), Generation(1), corrupt=True)
    problems.told(problems.batch())
    assert len(problems) == 0
    assert problems.add(chunk(1), Generation(1), corrupt=True)


def test_what_changed_while_it_was_told_is_told_again() -> None:
    problems = Problems()
    problems.add(chunk(1), Generation(1), corrupt=True)
    batch = problems.batch()
    problems.add(chunk(1), Generation(1), corrupt=False)
    problems.told(batch)
    assert problems.batch() == {(chunk(1), Generation(1)): False}


def test_a_flood_of_problems_does_not_grow_memory_or_messages() -> None:
    problems = Problems()
    for number in range(PROBLEMS_MAX + 5):
        problems.add(chunk(number), Generation(1), corrupt=True)
    assert len(problems) == PROBLEMS_MAX
    assert problems.dropped_count == 5
    assert len(problems.batch()) == REPORT_MAX
