"""Whose lease gives way, and which replaced versions go, decided on values."""

from __future__ import annotations

import pytest

from collective.catalog.decisions import leases
from collective.catalog.decisions.leases import given_up, who_gives_way
from tests.values import user

ANN, BEN = user("ann"), user("ben")


@pytest.fixture(autouse=True)
def _few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "LEASES_MAX", 10)
    monkeypatch.setattr(leases, "LEASES_PER_HOLDER_MAX", 6)


def test_while_there_is_room_nobody_loses_a_lease() -> None:
    assert who_gives_way(ANN, {}, 0) is None
    assert who_gives_way(ANN, {ANN: range(5), BEN: range(4)}, 9) is None


def test_who_has_as_many_as_one_may_loses_one_of_their_own() -> None:
    assert who_gives_way(ANN, {ANN: range(6), BEN: range(2)}, 8) == ANN
    assert who_gives_way(BEN, {ANN: range(6), BEN: range(2)}, 8) is None


def test_where_all_are_taken_the_one_with_most_loses_one() -> None:
    held = {ANN: range(5), BEN: range(4), user("cas"): range(1)}
    assert who_gives_way(BEN, held, 10) == ANN
    assert who_gives_way(user("dan"), held, 10) == ANN


def test_a_lease_keeps_a_version_unless_it_is_beyond_its_quota() -> None:
    leased = {2, 3}
    assert given_up([1, 2, 3], leased.__contains__, frozenset({3})) == [1, 3]
    assert given_up([2], leased.__contains__, frozenset()) == []
