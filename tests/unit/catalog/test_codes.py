"""What voids a code and how much it may give, decided over a book."""

from __future__ import annotations

import pytest

from collective.access.grant_book import GrantBook
from collective.catalog.decisions.codes import GRANTS_MAX, is_void, require_few_grants
from collective.core.errors import UsageError
from collective.core.paths import FilePath
from collective.model.grants import Grant
from collective.model.people import Invite, InviteKind
from collective.model.rights import GrantTerms, Right
from tests.values import OPERATOR, user

ANN = user("ann")
KEY = b"k" * 32
BOOK = GrantBook([Grant("g", FilePath.parse("/a"), Right.READ, ANN, OPERATOR, 100.0)])


def test_a_code_is_void_once_a_right_that_it_passes_on_has_ended() -> None:
    assert not is_void(ANN, KEY, [["g"]], BOOK, 99.0)
    assert is_void(ANN, KEY, [["g"]], BOOK, 100.0)
    assert is_void(ANN, KEY, [[], ["gone"]], BOOK, 0.0)
    assert not is_void(OPERATOR, None, [[], []], BOOK, 100.0)


def test_a_code_is_void_with_its_maker_and_with_the_key_that_made_it() -> None:
    assert is_void(ANN, KEY, [["g"]], BOOK.revoking([ANN]), 0.0)
    assert is_void(ANN, KEY, [["g"]], BOOK.revoking([], [KEY]), 0.0)
    assert not is_void(ANN, None, [["g"]], BOOK.revoking([], [KEY]), 0.0)


def test_a_code_gives_a_bounded_number_of_grants() -> None:
    terms = GrantTerms(FilePath.parse("/a"), Right.READ)
    code = Invite("c", InviteKind.USER, b"", 1, 1, 0, ANN, grants=[terms] * GRANTS_MAX)
    require_few_grants(code)
    with pytest.raises(UsageError, match="make two invites"):
        require_few_grants(
            Invite("c", InviteKind.USER, b"", 1, 1, 0, ANN, grants=[terms] * (GRANTS_MAX + 1))
        )
