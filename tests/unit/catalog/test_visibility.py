"""What a caller is shown, decided over their grants."""

from __future__ import annotations

import pytest

from collective.access.grant_book import GrantBook
from collective.access.permissions import Decider, Visibility
from collective.catalog.decisions.visibility import (
    as_seen,
    knows_all_of,
    names_shown,
    read_whole,
    readable_tops,
    require_listing,
)
from collective.core.errors import PermissionDeniedError
from collective.core.paths import FilePath
from collective.model.calls import Call
from collective.model.entries import Entry, EntryKind
from collective.model.grants import Grant
from collective.model.rights import Right
from tests.values import OPERATOR, user

ANN = user("ann")


def p(text: str) -> FilePath:
    return FilePath.parse(text)


def decider(**rights: Right) -> Decider:
    """Return what decides for Ann, with a right on each path; ``_`` for a slash."""
    grants = [
        Grant(path, p("/" + path.replace("_", "/")), right, ANN, OPERATOR, None)
        for path, right in rights.items()
    ]
    return Decider(Call(ANN, is_operator=False), GrantBook(grants), 0)


def test_who_may_only_write_lists_nothing_but_the_way_to_what_they_may_read() -> None:
    require_listing(decider(a=Right.READ), p("/a/b"))
    require_listing(decider(a_b=Right.READ), p("/a"))
    require_listing(decider(a=Right.WRITE, a_b=Right.READ), p("/a"))
    with pytest.raises(PermissionDeniedError, match="write to /a but not read"):
        require_listing(decider(a=Right.WRITE), p("/a"))
    with pytest.raises(PermissionDeniedError, match="no right"):
        require_listing(decider(a=Right.READ), p("/b"))


def test_above_ones_grants_only_the_names_that_lead_there_are_shown() -> None:
    seen = decider(a_z=Right.READ, a_b_c=Right.WRITE, other=Right.READ)
    assert names_shown(seen, p("/a")) == ["b", "z"]
    assert names_shown(seen, p("/other")) is None


def test_all_is_told_of_what_one_may_read_and_of_the_root() -> None:
    assert knows_all_of(Visibility.FULL, p("/a"))
    assert knows_all_of(Visibility.WAY, p("/"))
    assert not knows_all_of(Visibility.EXISTENCE, p("/a"))
    assert not knows_all_of(Visibility.WAY, p("/a"))


def test_who_may_write_and_not_read_is_told_what_a_thing_is_and_no_more() -> None:
    entry = Entry(p("/a/f"), EntryKind.FILE, size_bytes=5)
    assert as_seen(decider(a=Right.READ), entry) == entry
    assert as_seen(decider(a=Right.WRITE), entry) == Entry(p("/a/f"), EntryKind.FILE)


def test_what_is_counted_lies_below_grants_that_let_one_read_each_once() -> None:
    held = decider(a=Right.READ, a_b=Right.READ, w=Right.WRITE, w_r=Right.READ)
    assert readable_tops(held) == [p("/a"), p("/w/r")]
    assert readable_tops(decider(w=Right.WRITE)) == []


def test_a_datastore_is_told_of_to_those_who_may_read_all_of_it() -> None:
    held = decider(a=Right.READ, b_below=Right.READ, w=Right.WRITE)
    assert read_whole(held, [p("/w"), p("/b"), p("/a")]) == [p("/a")]
