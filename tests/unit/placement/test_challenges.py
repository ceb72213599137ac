from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collective.model.copies import Finding, Verdict
from collective.placement.challenges import (
    CLEAR_AFTER,
    CLEAR_OVER_S,
    SAMPLE_EVERY_S,
    UNPROVED_AFTER,
    UNPROVED_OVER_S,
    UNREAD,
    Answer,
    Record,
    judge,
    next_sample_s,
)

RIGHT, WRONG = b"r" * 32, b"w" * 32


def sound(digest: bytes = RIGHT) -> Answer:
    return Answer(Finding.SOUND, digest)


def test_two_equal_answers_settle_it() -> None:
    assert judge({"a": sound(), "b": sound()}) == {"a": Verdict.PROVEN, "b": Verdict.PROVEN}


@pytest.mark.parametrize(
    "answers",
    [
        {"a": sound()},
        {"a": sound(), "b": UNREAD},
        {"a": sound(), "b": sound(WRONG)},
        {"a": sound(), "b": sound(), "c": sound(WRONG)},
    ],
)
def test_a_majority_proves_nothing_and_one_alone_neither(answers: dict[str, Answer]) -> None:
    assert judge(answers) is None


def test_without_its_witness_nothing_agrees() -> None:
    answers = {"a": sound(), "b": sound()}
    assert judge(answers, witness="c") is None
    assert judge({**answers, "c": Answer(Finding.CORRUPT)}, witness="c") is None
    assert judge({**answers, "c": sound()}, witness="c") is not None


def test_against_the_bytes_each_stands_for_itself() -> None:
    told = {
        "good": sound(),
        "liar": sound(WRONG),
        "short": sound(b""),
        "lost": Answer(Finding.MISSING),
        "rotten": Answer(Finding.CORRUPT, RIGHT),
        "silent": UNREAD,
    }
    assert judge(told, truth=RIGHT) == {
        "good": Verdict.PROVEN,
        "liar": Verdict.LIED,
        "short": Verdict.LIED,
        "lost": Verdict.MISSING,
        "rotten": Verdict.CORRUPT,
        "silent": Verdict.OPEN,
    }


def test_who_says_nothing_sound_needs_no_reading() -> None:
    assert judge({"a": Answer(Finding.MISSING), "b": UNREAD}) == {
        "a": Verdict.MISSING,
        "b": Verdict.OPEN,
    }


ANSWERS = st.dictionaries(
    st.integers(0, 5),
    st.builds(Answer, st.sampled_from(Finding), st.sampled_from([RIGHT, WRONG, b"x" * 32])),
)


@given(ANSWERS, st.sampled_from([None, RIGHT]))
def test_no_honest_node_is_ever_taken_for_a_liar(
    answers: dict[int, Answer], truth: bytes | None
) -> None:
    """Honest ones answer RIGHT, or say what is wrong: as long as one of them is asked."""
    honest = 9
    verdicts = judge({**answers, honest: sound()}, truth=truth)
    if verdicts is not None:
        assert verdicts[honest] is Verdict.PROVEN
        for key, one in answers.items():
            if verdicts[key] is Verdict.LIED:
                assert one.finding is Finding.SOUND
                assert one.digest != RIGHT


def test_a_node_is_cleared_by_many_right_answers_over_long_and_by_no_less() -> None:
    record = Record()
    for _ in range(CLEAR_AFTER * 3):
        record = record.after(Verdict.PROVEN, 100.0)
    assert not record.is_clear  # all in one moment
    record = Record()
    for number in range(CLEAR_AFTER - 1):
        record = record.after(Verdict.PROVEN, number * CLEAR_OVER_S)
    assert not record.is_clear
    assert record.after(Verdict.PROVEN, CLEAR_AFTER * CLEAR_OVER_S).is_clear


@pytest.mark.parametrize("bad", [Verdict.LIED, Verdict.MISSING, Verdict.CORRUPT])
def test_one_wrong_answer_begins_anew_and_silence_clears_nobody(bad: Verdict) -> None:
    record = Record(CLEAR_AFTER - 1, 0.0, CLEAR_OVER_S)
    assert not record.after(Verdict.OPEN, 1e9).is_clear
    assert record.after(Verdict.OPEN, 1e9).after(Verdict.PROVEN, 2e9).is_clear
    assert record.after(bad, 1e9) == Record()


@pytest.mark.parametrize("bad", [Verdict.LIED, Verdict.MISSING, Verdict.CORRUPT])
def test_a_node_that_proves_nothing_for_a_day_is_told_from_one_that_is_slow(bad: Verdict) -> None:
    step_s = UNPROVED_OVER_S / (UNPROVED_AFTER - 1)
    record = Record()
    for _ in range(UNPROVED_AFTER * 3):
        record = record.after(Verdict.OPEN, 100.0)
    assert not record.proves_nothing  # all in one moment
    record = Record()
    for number in range(UNPROVED_AFTER):
        assert not record.proves_nothing
        record = record.after(bad, number * step_s).after(Verdict.OPEN, number * step_s)
    assert record.proves_nothing
    assert not record.after(Verdict.PROVEN, 1e9).proves_nothing


def test_samples_come_when_nobody_can_tell_and_sooner_for_those_in_doubt() -> None:
    uniform = random.Random(7).random
    waits = [next_sample_s(is_doubted=False, uniform=uniform) for _ in range(1000)]
    assert SAMPLE_EVERY_S / 2 <= min(waits) < max(waits) <= SAMPLE_EVERY_S * 1.5
    assert len({round(one) for one in waits}) > 500
    doubted = max(next_sample_s(is_doubted=True, uniform=uniform) for _ in range(1000))
    assert doubted * CLEAR_AFTER <= 4 * CLEAR_OVER_S
