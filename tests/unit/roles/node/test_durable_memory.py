from __future__ import annotations

import errno
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collective.core.errors import CollectiveError, ConflictError, DataDirError, UsageError
from collective.model.nodes import Position, Replacement, StatedPosition
from collective.pki.revocation import RevocationSet
from collective.roles.node.durable_memory import (
    DurableMemory,
    Remembered,
    decode,
    encode,
    is_behind,
    with_adoption,
    with_position,
    with_revocations,
)
from tests.faults.disk import FaultDisk
from tests.worlds import REAL, world_of


def at(
    epoch: int, sequence: int, catalog: str = "c1", *, life: str = "", mac: bytes = b""
) -> StatedPosition:
    return StatedPosition(Position(catalog, epoch, sequence, life), mac)


@pytest.fixture
async def memory(tmp_path: Path) -> AsyncIterator[DurableMemory]:
    made = DurableMemory(str(tmp_path / "memory.json"), REAL)
    await made.load()
    yield made
    await made.close()


counts = st.integers(0, 2**63 - 1)


entries = st.one_of(
    st.integers(1, 2**64).map(lambda n: f"serial:{n:x}"),
    st.binary(min_size=32, max_size=32).map(lambda digest: f"key:{digest.hex()}"),
)


@given(counts, counts, counts, st.sets(entries))
def test_memory_round_trip(epoch: int, sequence: int, revoked: int, entries: set[str]) -> None:
    kept = Remembered("c1", epoch, sequence, RevocationSet.of(revoked, entries))
    assert decode(encode(kept)) == kept


def test_a_memory_from_before_keys_were_revoked_is_read_and_takes_them() -> None:
    old = (
        b'{"format": 1, "catalog_id": "c1", "epoch": 1, "sequence": 7, "revocation_epoch": 3,'
        b' "revoked": ["serial:ab", "spiffe://home.alice/user/home.alice/eve"]}'
    )
    kept = decode(old)
    assert len(kept.revocations.entries) == 2
    key = "key:" + "a1" * 32
    told = with_revocations(kept, 4, ["serial:ab", key])
    assert decode(encode(told)).revocations.entries == {"serial:ab", key}


def test_a_memory_from_before_there_were_lives_is_shown_as_it_was_and_takes_one() -> None:
    old = (
        b'{"format": 1, "catalog_id": "c1", "epoch": 1, "sequence": 7, "revocation_epoch": 0,'
        b' "revoked": [], "besides": [], "seal": "aabb", "revocation_seal": ""}'
    )
    kept = decode(old)
    shown = at(1, 7, mac=b"\xaa\xbb")
    assert kept.position == shown
    told = at(1, 7, life="e5", mac=b"mark")
    assert decode(encode(with_position(kept, told))).position == told


def test_an_adoption_is_of_the_life_that_is_kept() -> None:
    kept = Remembered("c1", 1, 7, life="e5")
    new = at(1, 2, "c2", life="f6", mac=b"mark")
    for life, is_taken in (("e5", True), ("d4", False), ("", False)):
        replaced = at(1, 7, life=life)
        after = with_adoption(kept, Replacement(replaced.position, new))
        assert after.position == (new if is_taken else kept.position)


def test_what_is_shown_again_is_what_the_mac_is_on() -> None:
    kept = with_revocations(Remembered(), 5, ["serial:b", "serial:a"], b"five")
    kept = with_revocations(kept, 3, ["serial:c"], b"three")
    assert kept.revocations == RevocationSet.of(5, ["serial:a", "serial:b", "serial:c"])
    assert (kept.authenticated_entries, kept.revocation_mac) == (["serial:a", "serial:b"], b"five")
    assert decode(encode(kept)) == kept
    kept = with_revocations(kept, 6, ["serial:a", "serial:b", "serial:c"], b"six")
    assert (len(kept.authenticated_entries), kept.revocation_mac) == (3, b"six")
    sealed = at(1, 1, life="e5", mac=b"mark")
    assert decode(encode(with_position(kept, sealed))).position == sealed


@given(st.tuples(counts, counts), st.tuples(counts, counts))
def test_the_highest_position_is_kept(one: tuple[int, int], two: tuple[int, int]) -> None:
    kept = with_position(with_position(Remembered(), at(*one)), at(*two))
    assert (kept.epoch, kept.sequence) == max(one, two)


@pytest.mark.parametrize("raw", [b"", b"{}", b"[]", b"null", b'{"format": 1}', b"\xff", b"1"])
def test_a_damaged_memory_is_refused(raw: bytes) -> None:
    with pytest.raises(DataDirError):
        decode(raw)


def test_a_memory_of_a_newer_version_is_refused() -> None:
    raw = encode(Remembered("c1", 1, 1)).replace(b'"format": 1', b'"format": 2')
    with pytest.raises(DataDirError, match="newer"):
        decode(raw)


async def test_delete_from_an_older_sequence_is_refused(memory: DurableMemory) -> None:
    await memory.heard(at(3, 100), 0, ())
    with pytest.raises(ConflictError):
        await memory.admit(at(3, 99))


async def test_delete_from_an_older_epoch_is_refused(memory: DurableMemory) -> None:
    await memory.heard(at(3, 100), 0, ())
    with pytest.raises(ConflictError):
        await memory.admit(at(2, 5000))


async def test_delete_from_another_catalogue_is_refused(memory: DurableMemory) -> None:
    await memory.heard(at(3, 100), 0, ())
    with pytest.raises(ConflictError):
        await memory.admit(at(9, 900, "c2"))


async def test_delete_without_a_position_is_refused(memory: DurableMemory) -> None:
    with pytest.raises(ConflictError):
        await memory.admit(None)


async def test_a_heartbeat_of_an_older_catalogue_lowers_nothing(memory: DurableMemory) -> None:
    await memory.heard(at(3, 100), 0, ())
    await memory.heard(at(3, 7), 0, ())
    assert memory.kept.position == at(3, 100)


async def test_an_admitted_delete_is_remembered_across_a_restart(
    memory: DurableMemory, tmp_path: Path
) -> None:
    await memory.admit(at(4, 17))
    again = DurableMemory(str(tmp_path / "memory.json"), REAL)
    await again.load()
    assert again.kept.position == at(4, 17)
    with pytest.raises(ConflictError):
        await again.admit(at(4, 16))
    await again.admit(at(4, 17))
    await again.close()


async def test_revocations_survive_a_restart_and_an_older_epoch_only_adds(
    memory: DurableMemory, tmp_path: Path
) -> None:
    assert await memory.heard(at(1, 1), 5, ["serial:aa"])
    assert not await memory.heard(at(1, 2), 5, ["serial:aa"])
    assert await memory.heard(at(1, 3), 2, ["serial:bb"])
    again = DurableMemory(str(tmp_path / "memory.json"), REAL)
    await again.load()
    assert again.kept.revocations == RevocationSet.of(5, ["serial:aa", "serial:bb"])
    await again.close()


def test_a_newer_epoch_replaces_revocations() -> None:
    kept = with_revocations(Remembered(), 5, ["serial:aa"])
    assert with_revocations(kept, 6, ["serial:bb"]).revocations == RevocationSet.of(
        6, ["serial:bb"]
    )


def test_a_revocation_that_names_nothing_is_refused() -> None:
    with pytest.raises(UsageError):
        with_revocations(Remembered(), 1, ["serial:xyz"])


def test_nothing_is_behind_before_the_first_position() -> None:
    assert not is_behind(Remembered(), at(0, 0).position)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EROFS])
async def test_what_the_disk_does_not_take_revokes_at_once_and_admits_no_delete(
    number: int,
) -> None:
    disk = FaultDisk()
    disk.make_dir("/node")
    told: list[CollectiveError] = []
    memory = DurableMemory("/node/memory.json", world_of(disk=disk), not_kept=told.append)
    await memory.heard(at(3, 100), 1, ())
    disk.faults.write_errno = number
    assert await memory.heard(at(3, 101), 2, ["serial:aa"])
    assert memory.revocations == RevocationSet.of(2, ["serial:aa"])
    assert memory.kept.position == at(3, 100), "what is not flushed is not shown"
    assert memory.kept.revocations.epoch == 1
    with pytest.raises(ConflictError):
        await memory.admit(at(3, 100))  # older than what was heard, if not kept
    with pytest.raises(CollectiveError) as refused:
        await memory.admit(at(3, 101))
    assert not isinstance(refused.value, ConflictError)
    assert len(told) == 2
    assert not await memory.heard(at(3, 101), 2, ["serial:aa"]), "nothing new"
    disk.faults.write_errno = 0
    assert not await memory.heard(at(3, 101), 2, None)
    await memory.admit(at(3, 101))
    await memory.close()
    again = DurableMemory("/node/memory.json", world_of(disk=disk))
    await again.load()
    assert again.kept.position == at(3, 101)
    assert again.revocations == RevocationSet.of(2, ["serial:aa"])
    await again.close()
