"""What a receipt proves, decided on values."""

from __future__ import annotations

import pytest

from collective.catalog.decisions.receipts import Proof, SentCopy, proof_of
from collective.model.copies import CopyState

INTENT = SentCopy(CopyState.INTENT, 100, is_received=False)


def test_a_receipt_for_what_was_sent_makes_the_copy_count() -> None:
    assert proof_of(100, INTENT) is Proof.COPY


@pytest.mark.parametrize("state", CopyState)
def test_another_length_than_the_ticket_named_is_a_lie_whatever_the_copy_is(
    state: CopyState,
) -> None:
    assert proof_of(99, SentCopy(state, 100, is_received=False)) is Proof.LIE
    assert proof_of(99, SentCopy(state, 100, is_received=True)) is Proof.LIE


@pytest.mark.parametrize("state", [CopyState.MISSING, CopyState.DOUBTED, CopyState.STORED])
def test_a_receipt_puts_no_bad_copy_back_into_use(state: CopyState) -> None:
    assert proof_of(100, SentCopy(state, 100, is_received=False)) is Proof.CONTENT


def test_the_same_receipt_again_changes_nothing() -> None:
    assert proof_of(100, SentCopy(CopyState.MISSING, 100, is_received=True)) is Proof.NOTHING
