"""Whose a thing is, is found by its name alone, before anything is looked up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import pytest

from collective.core.errors import ConflictError, NotFoundError, UsageError
from collective.core.ids import Domain, GlobalId, LeaseId, LeaseKey, SpiffeId, UploadId, UploadKey
from collective.core.paths import FilePath
from collective.federation.files.remote_member import RemoteMember
from collective.member.files.interface import Files
from collective.member.files.member_directory import MemberDirectory
from collective.member.files.member_files import MemberFiles
from collective.model.calls import Call
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


class Others:
    """One peer, whose files are these."""

    FILES = cast("Files", object())

    def domains(self) -> Sequence[Domain]:
        return (THEIRS,)

    def files(self, domain: Domain) -> Files:
        if domain != THEIRS:
            raise NotFoundError(f"No peer {domain} is known here.")
        return self.FILES


PEERED = MemberDirectory(DOMAIN, FILES, Others())
EVE = SpiffeId.user(THEIRS, GlobalId("eve", THEIRS))
FORWARDED = Call(EVE, is_operator=False, carrier=SpiffeId.coordinator(THEIRS), via=THEIRS)


def test_what_is_of_a_peer_is_found_there() -> None:
    for path in ("/@garage.bob", "/@garage.bob/a/@home.alice"):
        assert PEERED.of_path(OPERATOR, FilePath.parse(path)) is Others.FILES
    assert PEERED.of_id(OPERATOR, UploadId(UploadKey(KEY), THEIRS)) is Others.FILES
    assert PEERED.of_id(OPERATOR, LeaseId(LeaseKey(KEY), THEIRS)) is Others.FILES
    assert PEERED.peers(OPERATOR) == (THEIRS,)


def test_a_call_that_came_from_a_peer_goes_no_further_and_sees_no_other_member() -> None:
    """Neither back, in a ring, nor to a third."""
    for domain in ("garage.bob", "home.carol", "home.alice"):
        with pytest.raises(ConflictError, match="no further"):
            PEERED.of_path(FORWARDED, FilePath.parse(f"/@{domain}/x"))
    with pytest.raises(ConflictError, match="no further"):
        PEERED.of_id(FORWARDED, UploadId(UploadKey(KEY), THEIRS))
    with pytest.raises(ConflictError, match="no further"):
        PEERED.of_id(FORWARDED, LeaseId(LeaseKey(KEY), Domain("home.carol")))
    assert PEERED.of_path(FORWARDED, FilePath.parse("/a")) is FILES
    assert PEERED.of_id(FORWARDED, LeaseId(LeaseKey(KEY), OURS)) is FILES
    assert PEERED.peers(FORWARDED) == ()


def test_this_member_is_no_peer_of_itself() -> None:
    with pytest.raises(NotFoundError, match=r"leave /@home\.alice out"):
        PEERED.of_path(OPERATOR, FilePath.parse("/@home.alice/x"))


def members(own: MemberFiles, remote: RemoteMember) -> tuple[Files, Files]:
    """Checked by mypy: a member here and one elsewhere are used alike."""
    return own, remote
