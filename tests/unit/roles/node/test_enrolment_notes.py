from __future__ import annotations

from pathlib import Path

import pytest

from collective.core.disk import OsDisk
from collective.core.errors import SettingsError
from collective.core.ids import NodeId, StoreUuid
from collective.core.units import Address
from collective.roles.node.enrolment_notes import NodeNotes, load_notes, record_path, save_notes


def test_notes_round_trip(tmp_path: Path) -> None:
    path = record_path(str(tmp_path), NodeId("alice-node-01"))
    notes = NodeNotes(
        StoreUuid("0" * 31 + "a"), (Address("::1", 8001),), (Address("host.example", 9001),)
    )
    save_notes(path, notes, OsDisk())
    assert load_notes(path, OsDisk()) == notes


def test_no_record_is_an_empty_one(tmp_path: Path) -> None:
    assert load_notes(str(tmp_path / "none.json"), OsDisk()) == NodeNotes()


@pytest.mark.parametrize("raw", [b"", b"[]", b'{"store_uuid": "../../etc"}', b"\xff", b"7"])
def test_a_damaged_record_refuses_rather_than_forgets_the_store(tmp_path: Path, raw: bytes) -> None:
    path = tmp_path / "node.json"
    path.write_bytes(raw)
    with pytest.raises(SettingsError):
        load_notes(str(path), OsDisk())


def test_a_record_of_a_newer_version_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "node.json"
    path.write_bytes(b'{"format": 2, "store": {"uuid": "of another form"}}')
    with pytest.raises(SettingsError, match="newer version"):
        load_notes(str(path), OsDisk())
