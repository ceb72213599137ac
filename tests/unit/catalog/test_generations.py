"""What a catalogue gave out itself, and what is from another life."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from collective.catalog.decisions.generations import (
    SKIPPED,
    VERSIONS_SKIPPED,
    Spans,
    belongs_elsewhere,
    by_origin,
    first_of_new,
    leap,
)
from collective.core.ids import ChunkId, Generation
from collective.model.copies import CopyKey


def test_own_generations_are_between_the_first_and_the_next_but_for_lost_futures() -> None:
    spans = Spans(10, 100, [(20, 30), (50, 60)])
    foreign = {generation for generation in range(120) if belongs_elsewhere(spans, generation)}
    assert foreign == {*range(10), *range(20, 30), *range(50, 60), *range(100, 120)}


def test_an_existing_catalogue_counts_from_one() -> None:
    assert belongs_elsewhere(Spans(1, 5), 0)
    assert not belongs_elsewhere(Spans(1, 5), 1)


@given(st.binary(min_size=5, max_size=8), st.binary(min_size=5, max_size=8))
def test_new_catalogues_begin_far_above_old_ones_and_far_apart(one: bytes, other: bytes) -> None:
    first, second = first_of_new(one), first_of_new(other)
    assert SKIPPED < first < 1 << 60
    assert first == second or abs(first - second) >= 1 << 20


@given(st.binary(min_size=8, max_size=8), st.binary(min_size=8, max_size=8))
def test_two_restores_of_one_backup_go_on_far_apart_or_not_at_all(one: bytes, other: bytes) -> None:
    first, second = leap(one), leap(other)
    assert SKIPPED <= first.generations <= 1 << 50
    assert VERSIONS_SKIPPED <= first.versions <= 1 << 40
    apart = abs(first.generations - second.generations)
    assert apart == 0 or apart >= SKIPPED


def test_copies_are_told_apart_by_who_gave_them_out() -> None:
    one, two, three = (CopyKey(ChunkId(bytes(32)), Generation(n), 1) for n in (9, 10, 20))
    assert by_origin(Spans(10, 100, [(20, 30)]), [one, two, three]) == ([two], [one, three])
