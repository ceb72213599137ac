"""What an id names is found by its domain, before anything is looked up."""

from __future__ import annotations

import pytest

from collective.core.errors import NotFoundError
from collective.core.ids import Domain, LeaseId, LeaseKey, UploadId, UploadKey
from collective.member.files.owners import own_lease, own_upload

OURS, THEIRS = Domain("home.alice"), Domain("garage.bob")
KEY = "a" * 32


def test_what_is_ours_has_its_key() -> None:
    assert own_upload(OURS, UploadId(UploadKey(KEY), OURS)) == KEY
    assert own_lease(OURS, LeaseId(LeaseKey(KEY), OURS)) == KEY


def test_what_is_of_another_member_is_not_found_and_the_member_named() -> None:
    with pytest.raises(NotFoundError, match=r"garage\.bob"):
        own_upload(OURS, UploadId(UploadKey(KEY), THEIRS))
    with pytest.raises(NotFoundError, match=r"garage\.bob"):
        own_lease(OURS, LeaseId(LeaseKey(KEY), THEIRS))
