from __future__ import annotations

import pytest

from collective.core import limits
from collective.core.errors import NotFoundError, UsageError
from collective.model.rights import Right
from collective.model.writing import Attributes
from collective.rpc.conversions.addresses import addresses_from
from collective.rpc.conversions.entries import attributes_from
from collective.rpc.conversions.extents import extents_from, holes_from
from collective.rpc.conversions.node_registry import position_from
from collective.rpc.conversions.node_status import node_from, node_message
from collective.rpc.conversions.paths import local_path
from collective.rpc.conversions.rights import rights_from
from collective.rpc.conversions.trust import rotation_from
from tests import protocol as pb
from tests.values import a_node


def extent(**fields: object) -> pb.Extent:
    values: dict[str, object] = {"chunk_id": b"x" * 32, "stored_length": 20, "length": 4}
    return pb.Extent(**{**values, **fields})  # type: ignore[arg-type]


def test_a_peers_path_is_not_found() -> None:
    with pytest.raises(NotFoundError, match=r"garage\.bob"):
        local_path("/@garage.bob/media")


def test_path_traversal_is_refused() -> None:
    with pytest.raises(UsageError):
        local_path("/a/../b")


@pytest.mark.parametrize(
    "bad",
    [
        extent(chunk_id=b"short"),
        extent(stored_length=0),
        extent(stored_length=limits.CHUNK_STORED_MAX_BYTES + 1),
        extent(length=0),
    ],
)
def test_malformed_extents_are_refused(bad: pb.Extent) -> None:
    with pytest.raises(UsageError):
        extents_from([bad])


def test_oversized_batches_are_refused() -> None:
    with pytest.raises(UsageError):
        extents_from([extent()] * (limits.BATCH_MAX_CHUNKS + 1))


def test_oversized_metadata_is_refused() -> None:
    with pytest.raises(UsageError):
        attributes_from(pb.FileAttributes(metadata={"k": "v" * limits.METADATA_MAX_BYTES}))


def test_rights_are_a_union_and_never_empty() -> None:
    assert rights_from([pb.Right.READ, pb.Right.SHARE]) == Right.READ | Right.SHARE
    with pytest.raises(UsageError):
        rights_from([])
    with pytest.raises(UsageError):
        rights_from([pb.Right.UNSPECIFIED])


def test_malformed_addresses_are_refused() -> None:
    with pytest.raises(UsageError):
        addresses_from([pb.Address(host="h", port=0)])
    with pytest.raises(UsageError):
        addresses_from([pb.Address(host="h", port=1)] * 17)


def test_no_position_is_none() -> None:
    assert position_from(None) is None
    assert position_from(pb.CatalogPosition()) is None


@pytest.mark.parametrize(
    "bad",
    [
        extent(offset=limits.FILE_MAX_BYTES),
        extent(format=256),
        extent(plain_id=b"x" * 31),
        extent(plain_id=b"x" * 1_000_000),
    ],
)
def test_content_that_no_file_can_have_is_refused(bad: pb.Extent) -> None:
    with pytest.raises(UsageError):
        extents_from([bad])


@pytest.mark.parametrize(
    "bad",
    [
        pb.FileAttributes(modified_s=1 << 60),
        pb.FileAttributes(modified_s=-(1 << 60)),
        pb.FileAttributes(modified_s=1, modified_ns=1_000_000_000),
        pb.FileAttributes(modified_ns=1),
        pb.FileAttributes(mode=0o10000),
    ],
)
def test_times_and_modes_that_no_file_has_are_refused(bad: pb.FileAttributes) -> None:
    with pytest.raises(UsageError):
        attributes_from(bad)


def test_a_time_or_mode_that_is_none_is_another_than_zero() -> None:
    assert attributes_from(pb.FileAttributes()) == Attributes()
    zero = attributes_from(pb.FileAttributes(modified_s=0, mode=0))
    assert (zero.modified_ns, zero.mode) == (0, 0)
    before = attributes_from(pb.FileAttributes(modified_s=-1, modified_ns=999_999_999))
    assert before.modified_ns == -1


@pytest.mark.parametrize(
    "bad",
    [[pb.Hole(offset=0, length=0)], [pb.Hole(offset=1 << 60, length=1)], [pb.Hole(length=1)] * 65],
)
def test_holes_that_no_file_has_are_refused(bad: list[pb.Hole]) -> None:
    with pytest.raises(UsageError):
        holes_from(bad)


@pytest.mark.parametrize("host", ["h" * 254, "a\nb", "a\0"])
def test_hosts_that_cannot_be_are_refused(host: str) -> None:
    with pytest.raises(UsageError):
        addresses_from([pb.Address(host=host, port=1)])


def test_an_extent_longer_than_its_chunk_is_refused() -> None:
    assert extents_from([extent(stored_length=20, length=4)])
    with pytest.raises(UsageError, match="cannot lie in a chunk of 20"):
        extents_from([extent(stored_length=20, length=5)])


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ("state", "state of a node is called 'resting'"),
        ("standing", "standing is called 'resting'"),
        ("disk", "state of a disk is called 'resting'"),
    ],
)
def test_a_node_is_in_a_state_that_has_a_word(field: str, text: str) -> None:
    message = node_message(a_node())
    assert node_from(message) == a_node()
    setattr(message, field, "resting")
    with pytest.raises(UsageError, match=text):
        node_from(message)


def test_a_rotation_is_in_a_phase_that_has_a_word() -> None:
    with pytest.raises(UsageError, match="phase is called 'resting'"):
        rotation_from(pb.RotateAuthorityResponse(phase="resting"))
