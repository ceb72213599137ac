"""What a receipt proves, decided on values."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from collective.catalog.decisions.receipts import (
    Proof,
    SentCopy,
    proof_of,
    require_of_repair,
    require_of_upload,
)
from collective.catalog.interface.values import RepairTask
from collective.core.errors import RejectedError
from collective.core.ids import ChunkId, Generation, NodeId
from collective.model.copies import Copy, CopyState, VerifiedReceipt

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


NODE, CHUNK = NodeId("n1"), ChunkId(b"c" * 32)
RECEIPT = VerifiedReceipt(CHUNK, NODE, Generation(7), 100, "t")


def test_a_receipt_of_another_transfer_is_refused() -> None:
    require_of_upload(RECEIPT, "t")
    with pytest.raises(RejectedError, match="another transfer"):
        require_of_upload(RECEIPT, "u")


@pytest.mark.parametrize(
    "other",
    [
        {"transfer_id": "u"},
        {"chunk": ChunkId(b"d" * 32)},
        {"stored_length": 99},
        {"node": NodeId("n2")},
        {"generation": Generation(8)},
    ],
)
def test_a_repair_takes_the_receipt_of_its_own_copy_alone(other: dict[str, Any]) -> None:
    task = RepairTask(CHUNK, 100, (), Copy(NODE, Generation(7)), "t")
    require_of_repair(RECEIPT, task)
    with pytest.raises(RejectedError, match="does not belong"):
        require_of_repair(replace(RECEIPT, **other), task)
