"""Ids of transfers."""

from __future__ import annotations

import pytest

from collective.core.errors import UsageError
from collective.core.ids import LeaseId, UploadId


@pytest.mark.parametrize("kind", [UploadId, LeaseId])
def test_ids_of_transfers_name_their_member(kind: type[UploadId | LeaseId]) -> None:
    text = "0123456789abcdef" * 2 + "@home.alice"
    assert str(kind.parse(text)) == text
    for bad in ("", "a" * 32, "a" * 31 + "@home.alice", "A" * 32 + "@home.alice", "a" * 32 + "@"):
        with pytest.raises(UsageError, match="HEX@"):
            kind.parse(bad)
    with pytest.raises(UsageError):
        kind.parse("a" * 32 + "@home.alice@home.alice")
