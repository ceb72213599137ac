"""Whose a key is, decided on values."""

from __future__ import annotations

import pytest

from collective.access.grant_book import GrantBook
from collective.access.permissions import ALL_RIGHTS
from collective.catalog.decisions.keys import (
    Keys,
    has_bound_keys,
    is_new_from_outside,
    is_vouched_device,
    require_claimable,
    require_not_shut_out,
    require_renewable,
    was_given_by_admins,
)
from collective.core.errors import ConflictError, NameTakenError, ShutOutError
from collective.core.ids import Domain, NodeId, SpiffeId
from collective.core.paths import FilePath
from collective.model.grants import Grant
from collective.model.people import InviteKind
from tests.values import OPERATOR, user

DAN = SpiffeId.parse("spiffe://home.alice/user/home.alice/dan")
MINE, OTHER = b"m" * 32, b"o" * 32
USER, DEVICE = InviteKind.USER, InviteKind.DEVICE


@pytest.mark.parametrize(
    ("keys", "kind", "has_rights", "is_refused"),
    [
        ({}, USER, False, False),
        ({MINE: False}, USER, True, False),
        ({}, USER, True, True),
        ({OTHER: False}, USER, False, True),
        ({OTHER: True}, USER, True, True),
        ({OTHER: True}, DEVICE, True, False),
    ],
    ids=(
        "a name that nobody has",
        "its own key again",
        "a name that an admin gave rights to",
        "a name that was claimed",
        "a name of the operator's making",
        "a device's invite was made by the identity itself",
    ),
)
def test_a_users_invite_gives_no_name_that_is_anothers(
    keys: Keys, kind: InviteKind, has_rights: bool, is_refused: bool
) -> None:
    if is_refused:
        with pytest.raises(NameTakenError, match="cannot be had by this invite"):
            require_claimable(DAN, keys, MINE, kind, has_rights=has_rights)
    else:
        require_claimable(DAN, keys, MINE, kind, has_rights=has_rights)


@pytest.mark.parametrize(
    ("keys", "kind", "made_by", "is_vouched"),
    [
        ({OTHER: True}, DEVICE, OTHER, True),
        ({OTHER: False}, DEVICE, OTHER, False),
        ({OTHER: True}, USER, OTHER, False),
        ({OTHER: True}, DEVICE, None, True),
        ({OTHER: True, b"x" * 32: False}, DEVICE, None, False),
        ({}, DEVICE, None, False),
    ],
)
def test_a_device_is_vouched_for_by_the_key_that_made_its_invite(
    keys: Keys, kind: InviteKind, made_by: bytes | None, is_vouched: bool
) -> None:
    assert is_vouched_device(keys, kind, made_by) is is_vouched


def test_a_certificate_from_outside_counts_beside_no_key_that_claimed_the_name() -> None:
    assert is_new_from_outside(DAN, {}, MINE, lambda _: False)
    assert is_new_from_outside(DAN, {OTHER: True}, MINE, lambda _: False)
    assert not is_new_from_outside(DAN, {MINE: False}, MINE, lambda _: False)
    with pytest.raises(ConflictError, match="was claimed by an invite with another key"):
        is_new_from_outside(DAN, {OTHER: False}, MINE, lambda _: False)
    assert is_new_from_outside(DAN, {OTHER: False}, MINE, lambda one: one == OTHER)


def test_nothing_is_renewed_of_an_identity_or_key_that_was_revoked() -> None:
    require_renewable(DAN, MINE, GrantBook([]))
    with pytest.raises(ConflictError, match="dan"):
        require_renewable(DAN, MINE, GrantBook([]).revoking([DAN]))
    with pytest.raises(ConflictError, match="key of this machine"):
        require_renewable(DAN, MINE, GrantBook([]).revoking([], [MINE]))


def test_a_revoked_key_shuts_out_whatever_its_certificate_names() -> None:
    require_not_shut_out(MINE, GrantBook([]).revoking([DAN], [OTHER]))
    with pytest.raises(ShutOutError):
        require_not_shut_out(MINE, GrantBook([]).revoking([], [MINE]))


def test_keys_are_bound_to_people_alone() -> None:
    assert has_bound_keys(DAN)
    assert not has_bound_keys(OPERATOR)
    assert not has_bound_keys(SpiffeId.node(Domain("home.alice"), NodeId("n1")))


def test_a_name_that_an_admin_gave_rights_to_is_somebodys() -> None:
    ann, path = user("ann"), FilePath.parse("/a")
    by_ann = Grant("1", path, ALL_RIGHTS, DAN, ann, None)
    assert was_given_by_admins(
        DAN, GrantBook([Grant("2", path, ALL_RIGHTS, DAN, OPERATOR, None)]), 0
    )
    assert not was_given_by_admins(DAN, GrantBook([by_ann]), 0)
    admin = Grant("3", FilePath(), ALL_RIGHTS, ann, OPERATOR, None)
    assert was_given_by_admins(DAN, GrantBook([by_ann, admin]), 0)
