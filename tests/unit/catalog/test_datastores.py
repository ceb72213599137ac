"""Which policy a datastore may have and what a change unsettles, decided on values."""

from __future__ import annotations

from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collective.access.grant_book import GrantBook
from collective.access.permissions import ALL_RIGHTS
from collective.catalog.decisions.datastores import (
    Asked,
    Holder,
    copies_asked,
    is_given,
    keeps_owner_on_rename,
    most_asked,
    owner_grant,
    require_admissible_owner,
    require_policy,
    unsettles_place,
    unsettles_policy,
    wanted_now,
)
from collective.core import limits
from collective.core.errors import ConflictError, UsageError
from collective.core.ids import SpiffeId
from collective.core.paths import FilePath
from collective.model.calls import Call
from collective.model.grants import Grant
from tests.values import OPERATOR, user

ANN, BEN = user("ann"), user("ben")
MEDIA = FilePath.parse("/media")


@pytest.mark.parametrize("path", ["/", "/media/below", "/@home.bob"])
def test_a_datastore_is_a_top_level_path_of_this_member(path: str) -> None:
    with pytest.raises(UsageError, match="top-level"):
        require_policy(FilePath.parse(path), copies=1, quota_bytes=0)


@pytest.mark.parametrize(
    ("copies", "quota_bytes"),
    [(-1, 0), (limits.COPIES_MAX + 1, 0), (0, -1), (0, limits.FILE_MAX_BYTES + 1)],
)
def test_a_policy_has_bounds(copies: int, quota_bytes: int) -> None:
    require_policy(MEDIA, copies=0, quota_bytes=0)
    require_policy(MEDIA, copies=limits.COPIES_MAX, quota_bytes=limits.FILE_MAX_BYTES)
    with pytest.raises(UsageError):
        require_policy(MEDIA, copies=copies, quota_bytes=quota_bytes)


def test_nobody_who_was_revoked_is_made_an_owner() -> None:
    book = GrantBook([]).revoking([ANN])
    require_admissible_owner(BEN, book)
    require_admissible_owner(None, book)
    with pytest.raises(ConflictError, match="was revoked here"):
        require_admissible_owner(ANN, book)


def test_what_an_owner_has_ends_with_what_its_giver_had() -> None:
    admin = Grant("root", FilePath(), ALL_RIGHTS, BEN, OPERATOR, None)
    book = GrantBook([admin])
    by_admin = owner_grant("g", ANN, MEDIA, Call(BEN, is_operator=False), book, 0)
    assert (by_admin.principal, by_admin.path, by_admin.rights) == (ANN, MEDIA, ALL_RIGHTS)
    assert tuple(by_admin.sources) == ("root",)
    by_operator = owner_grant("g", ANN, MEDIA, Call(OPERATOR, is_operator=True), book, 0)
    assert by_operator.sources == ()


@pytest.mark.parametrize(
    ("before", "wanted", "changes"),
    [
        (Holder(None, has_grant=False), None, False),
        (Holder(ANN, has_grant=False), None, False),
        (Holder(None, has_grant=False), ANN, True),
        (Holder(ANN, has_grant=True), ANN, False),
        (Holder(ANN, has_grant=False), ANN, True),
        (Holder(ANN, has_grant=True), BEN, True),
        (Holder(ANN, has_grant=True), "member", True),
        (Holder(None, has_grant=False), "member", False),
    ],
)
def test_a_datastore_changes_hands_or_its_owner_gets_back_what_they_lost(
    before: Holder, wanted: SpiffeId | Literal["member"] | None, changes: bool
) -> None:
    assert is_given(before, wanted) is changes


def test_a_rename_gives_nobody_rights() -> None:
    assert keeps_owner_on_rename(is_admin=True)
    assert not keeps_owner_on_rename(is_admin=False)


def test_without_a_number_of_its_own_a_datastore_follows_the_setting() -> None:
    assert copies_asked(0, 3) == 3
    assert copies_asked(2, 3) == 2


def test_only_another_number_unsettles_what_lies_there() -> None:
    assert not unsettles_policy(3, None)
    assert not unsettles_policy(3, 3)
    assert unsettles_policy(3, 0)
    assert not unsettles_place(Asked(3, 5), Asked(3, 5))
    assert unsettles_place(Asked(3, 5), Asked(2, 5))
    assert unsettles_place(Asked(3, 5), Asked(3, 6))


@given(st.integers(0, 9), st.integers(1, 9))
def test_a_lost_use_never_raises_a_number_nor_lowers_it_below_what_is_asked(
    asked: int, wanted: int
) -> None:
    now = wanted_now(asked, wanted)
    assert now <= wanted
    assert now >= min(asked, wanted)
    assert now == wanted or now == asked > 0


def test_where_uses_are_unseen_the_number_stays() -> None:
    assert most_asked(2, 3, is_all=True) == 2
    assert most_asked(2, 3, is_all=False) == 3
    assert most_asked(5, 3, is_all=True) == 3
