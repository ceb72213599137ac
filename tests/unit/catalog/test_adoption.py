"""Which catalogues are replaced by adoption and how nodes come in, decided on values."""

from __future__ import annotations

import pytest

from collective.catalog.decisions.adoption import (
    confirms,
    enrolled_meanwhile,
    require_guarded,
    require_some,
    standing_of,
    to_bring_back,
    to_replace,
)
from collective.core.errors import ConflictError
from collective.core.ids import NodeId
from collective.model.nodes import Position, Standing

NODE = NodeId("n1")


def test_only_the_word_for_all_nodes_confirms_a_restored_catalogue() -> None:
    assert confirms(None, is_restored=True)
    assert not confirms(frozenset({NODE}), is_restored=True)
    assert not confirms(None, is_restored=False)


@pytest.mark.parametrize("guarded", [None, 6, 8])
def test_what_became_restored_anew_is_not_confirmed_by_a_look_at_what_it_was(
    guarded: int | None,
) -> None:
    require_guarded(7, 7)
    with pytest.raises(ConflictError, match="older than it"):
        require_guarded(7, guarded)


def test_the_place_is_taken_of_each_catalogue_once_of_those_obeyed_first() -> None:
    obeyed = {
        NodeId(f"n{number}"): Position(catalog_id, 1, 1)
        for number, catalog_id in enumerate(["b", "a", "own", "b"])
    }
    assert to_replace("own", obeyed, ["z", "a", "c"]) == ["a", "b", "z", "c"]
    assert to_replace("own", {}, []) == []


def test_only_nodes_ahead_of_this_very_catalogue_are_brought_back() -> None:
    own = Position("own", 3, 100, "present")
    held = {
        NodeId("ahead"): Position("own", 4, 1, "lost"),
        NodeId("further"): Position("own", 3, 101, ""),
        NodeId("here"): own,
        NodeId("behind"): Position("own", 3, 99, "lost"),
        NodeId("other"): Position("another", 9, 9, ""),
    }
    assert set(to_bring_back(own, held)) == {"ahead", "further"}


def test_an_adoption_that_changes_nothing_is_refused_and_says_what_would() -> None:
    require_some(is_any=True, is_restored=False)
    require_some(is_any=True, is_restored=True)
    with pytest.raises(ConflictError, match="node adopt --all"):
        require_some(is_any=False, is_restored=True)
    with pytest.raises(ConflictError, match="nothing to adopt"):
        require_some(is_any=False, is_restored=False)


def test_being_named_is_what_approves_a_node() -> None:
    assert standing_of(is_named=True) == (Standing.APPROVED, "")
    standing, reason = standing_of(is_named=False)
    assert standing is Standing.PROBATION
    assert "not by its name" in reason


def test_a_node_that_enrolled_meanwhile_is_named() -> None:
    assert str(NODE) in enrolled_meanwhile(NODE).message
