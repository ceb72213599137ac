from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from collective.core.clock import ManualClock
from collective.roles.node.coordinator_keys import KEYS_KEPT, CoordinatorKeys
from collective.roles.node.durable_memory import DurableMemory
from tests.worlds import REAL


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def keys(clock: ManualClock, tmp_path: Path) -> AsyncIterator[CoordinatorKeys]:
    memory = DurableMemory(str(tmp_path / "memory.json"), REAL)
    yield CoordinatorKeys(clock, memory)
    await memory.close()


def test_keys_of_a_wrong_size_are_not_taken(keys: CoordinatorKeys) -> None:
    assert keys.learn([(1, b"short"), (0, bytes(32)), (1 << 32, bytes(32))]) == 0
    assert keys.key_ids == []


def test_only_the_newest_keys_are_kept(keys: CoordinatorKeys) -> None:
    keys.learn((number, bytes([number]) * 32) for number in range(1, KEYS_KEPT + 4))
    assert keys.key_ids == list(range(4, KEYS_KEPT + 4))
    assert keys.key(1) is None
    assert keys.newest is not None
    assert keys.newest.key_id == KEYS_KEPT + 3


def test_a_key_of_a_known_id_is_replaced(keys: CoordinatorKeys) -> None:
    keys.learn([(7, b"a" * 32)])
    keys.learn([(7, b"b" * 32)])
    found = keys.key(7)
    assert found is not None
    assert found.secret == b"b" * 32


def test_time_is_the_coordinators_from_the_middle_of_the_call(
    keys: CoordinatorKeys, clock: ManualClock
) -> None:
    clock.advance(10)
    keys.synchronise(5_000_000, sent_s=9.0, received_s=10.0)
    assert keys.coordinator_now_ms() == 5_000_500
    clock.advance(2)
    assert keys.coordinator_now_ms() == 5_002_500


def test_a_jump_of_the_nodes_clock_does_not_move_coordinator_time(
    keys: CoordinatorKeys, clock: ManualClock
) -> None:
    keys.synchronise(5_000_000, sent_s=0.0, received_s=0.0)
    clock.jump_wall(-86_400)
    assert keys.coordinator_now_ms() == 5_000_000
