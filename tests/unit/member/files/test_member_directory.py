"""Whose a thing is, is found by its name alone, before anything is looked up."""

from __future__ import annotations

from typing import cast

import pytest

from collective.core.errors import NotFoundError, UsageError
from collective.core.ids import Domain, LeaseId, LeaseKey, UploadId, UploadKey
from collective.core.paths import FilePath
from collective.federation.files.remote_member import RemoteMember
from collective.member.files.interface import Files
from collective.member.files.member_files import MemberFiles
from tests.unit.member.alone import directory
from tests.unit.member.cluster import DOMAIN
from tests.unit.member.farm import OPERATOR

OURS, THEIRS = DOMAIN, Domain("garage.bob")
FILES = cast("Files", object())
OWNERS = directory(FILES)
KEY = "a" * 32


def test_what_is_ours_is_found() -> None:
    for path in ("/", "/a/b", "/a/@garage.bob"):
        assert OWNERS.of_path(OPERATOR, FilePath.parse(path)) is FILES
    assert OWNERS.of_id(OPERATOR, UploadId(UploadKey(KEY), OURS)) is FILES
    assert OWNERS.of_id(OPERATOR, LeaseId(LeaseKey(KEY), OURS)) is FILES


def test_what_is_of_another_member_is_not_found_and_the_member_named() -> None:
    with pytest.raises(NotFoundError, match=r"garage\.bob"):
        OWNERS.of_path(OPERATOR, FilePath.parse("/@garage.bob/media"))
    with pytest.raises(NotFoundError, match=r"garage\.bob"):
        OWNERS.of_id(OPERATOR, UploadId(UploadKey(KEY), THEIRS))
    with pytest.raises(NotFoundError, match=r"garage\.bob"):
        OWNERS.of_id(OPERATOR, LeaseId(LeaseKey(KEY), THEIRS))
    with pytest.raises(UsageError):
        OWNERS.of_path(OPERATOR, FilePath.parse("/@Not a domain"))


def members(own: MemberFiles, remote: RemoteMember) -> tuple[Files, Files]:
    """Checked by mypy: a member here and one elsewhere are used alike."""
    return own, remote
