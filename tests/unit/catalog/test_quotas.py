"""What an upload reserves of a quota, and who gives way, decided on values."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from collective.catalog.decisions.quotas import (
    UPLOADS_PER_CALLER_MAX,
    QuotaUse,
    Recorded,
    Reservation,
    beyond,
    grown,
    outgrows,
    require_place,
    require_room,
)
from collective.catalog.decisions.weights import EXTENT_BYTES, HOLE_BYTES, NAME_BYTES
from collective.core import limits
from collective.core.errors import BusyError, NoSpaceError, UsageError
from collective.core.ids import ChunkId, UploadKey
from collective.model.extents import Extent

MIB = 1 << 20
NOTHING = Recorded(0, 0, 0, 0, 0)
USE = QuotaUse("d", quota_bytes=100, used_bytes=70)


def piece(offset: int, length: int, stored: int | None = None) -> Extent:
    return Extent(offset, length, ChunkId(b"c" * 32), length + 16 if stored is None else stored)


def test_a_batch_reserves_its_bytes_and_its_rows_before_any_is_recorded() -> None:
    after = grown(Reservation(), NOTHING, end=2 * MIB, new=[piece(0, MIB), piece(MIB, MIB)])
    assert after == Reservation(2 * MIB, 2 * MIB, 2, 2 * MIB + NAME_BYTES + 2 * EXTENT_BYTES)


def test_what_is_repeated_reserves_nothing_more() -> None:
    first = grown(Reservation(), NOTHING, end=MIB, new=[piece(0, MIB)])
    assert grown(first, NOTHING, end=MIB, new=[]) == first


def test_what_is_reserved_never_shrinks() -> None:
    before = Reservation(reach=MIB, pinned_bytes=MIB, pins=1, reserved_bytes=9 * MIB)
    assert grown(before, NOTHING, end=0, new=[]).reserved_bytes == 9 * MIB


def test_many_chunks_named_at_one_offset_count_all() -> None:
    """Else one byte of reach pinned any number of chunks."""
    after = grown(Reservation(), NOTHING, end=MIB, new=[piece(0, MIB)] * 5)
    assert after.reach == 5 * MIB


def test_a_chunk_that_is_said_to_be_for_one_byte_counts_as_it_is_stored() -> None:
    after = grown(Reservation(), NOTHING, end=1, new=[piece(0, 1, stored=MIB)])
    assert after.pinned_bytes == MIB - limits.ENVELOPE_OVERHEAD_MAX_BYTES


def test_holes_before_the_end_count_for_their_rows_alone() -> None:
    recorded = Recorded(data_bytes=10, extents=1, holes=1, hole_bytes=MIB, attribute_bytes=0)
    after = grown(Reservation(), recorded, end=MIB + 10, new=[])
    assert after.reserved_bytes == 10 + NAME_BYTES + EXTENT_BYTES + HOLE_BYTES


@pytest.mark.parametrize("what", ["extents", "pins", "holes"])
def test_a_small_file_in_very_many_pieces_is_refused(what: str) -> None:
    many = limits.EXTENTS_FREE + 1
    recorded = Recorded(
        data_bytes=many if what == "extents" else 0,
        extents=many if what == "extents" else 0,
        holes=many if what == "holes" else 0,
        hole_bytes=many if what == "holes" else 0,
        attribute_bytes=0,
    )
    with pytest.raises(UsageError, match="cut it into larger pieces"):
        grown(Reservation(pins=many if what == "pins" else 0), recorded, end=0, new=[])


def nobody_asked() -> int:
    raise AssertionError("it was asked though it does not matter")


def room(more: int, *, reserved: int, idle: Sequence[tuple[str, int]] = ()) -> Sequence[UploadKey]:
    """Ask for ``more`` bytes where 70 of 100 are used."""
    waiting = [(UploadKey(name), freed) for name, freed in idle]
    return require_room(USE, more, reserved_by_others=lambda: reserved, idle=waiting)


def test_what_fits_beside_open_uploads_has_room_and_ends_none() -> None:
    assert room(20, reserved=10, idle=[("a", 5)]) == ()


def test_the_longest_idle_give_way_and_none_in_vain() -> None:
    idle = [("a", 5), ("b", 5), ("c", 5)]
    assert room(20, reserved=16, idle=idle) == [UploadKey("a"), UploadKey("b")]
    with pytest.raises(NoSpaceError, match="16 B more than it leaves"):
        room(20, reserved=26, idle=idle)


def test_what_files_take_is_freed_by_no_upload() -> None:
    with pytest.raises(NoSpaceError, match="quota of /d is 100 B, and this needs 1 B more"):
        require_room(USE, 31, reserved_by_others=nobody_asked, idle=[(UploadKey("a"), 50)])


def test_what_had_its_room_already_competes_with_no_upload() -> None:
    assert require_room(USE, 30, reserved_by_others=None, idle=[(UploadKey("a"), 50)]) == ()


def test_what_adds_nothing_needs_no_room() -> None:
    full = QuotaUse("d", 100, 200)
    for more in (0, -5):
        assert require_room(full, more, reserved_by_others=nobody_asked, idle=[]) == ()


def test_a_caller_with_all_their_places_has_to_give_one_up() -> None:
    asked: list[int] = []

    def idle(most: int) -> list[UploadKey]:
        asked.append(most)
        return [UploadKey("a")]

    assert require_place(UPLOADS_PER_CALLER_MAX - 1, idle) == ()
    assert not asked
    assert require_place(UPLOADS_PER_CALLER_MAX, idle) == [UploadKey("a")]
    with pytest.raises(BusyError, match="files open for writing"):
        require_place(UPLOADS_PER_CALLER_MAX + 1, idle)
    assert asked == [1, 2]


def test_a_file_competes_with_open_uploads_only_by_what_it_had_not_reserved() -> None:
    assert not outgrows(60, reserved_bytes=100, credit_bytes=40)
    assert outgrows(61, reserved_bytes=100, credit_bytes=40)
    assert outgrows(1, reserved_bytes=10, credit_bytes=40)
    assert not outgrows(0, reserved_bytes=10, credit_bytes=40)


def test_of_what_was_replaced_the_newest_is_kept_for_readers_up_to_the_quota() -> None:
    assert list(beyond([(3, 60), (2, 40), (1, 1)], 100)) == [1]
    assert list(beyond([(3, 101), (2, 1)], 100)) == [3, 2]
    assert list(beyond([], 100)) == []
