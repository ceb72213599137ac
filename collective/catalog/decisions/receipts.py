"""What a receipt proves of a copy: pure.

One for a copy that is missing or doubted proves only that its sender has the content: it may be older
than the loss, and only a challenge puts such a copy back into use.  One of another length than its
ticket named cannot come from an honest node: it does not count, and its node is in doubt.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from collective.catalog.interface.values import RepairTask
from collective.core.errors import RejectedError
from collective.model.copies import CopyState, VerifiedReceipt


@dataclass(frozen=True, slots=True)
class SentCopy:
    """A copy that an upload was told to send, under the generation that the receipt names."""

    state: CopyState
    stored_length: int
    is_received: bool
    """The upload has shown a receipt before."""


class Proof(Enum):
    """What follows from one receipt."""

    NOTHING = auto()
    LIE = auto()
    """Its node is to be doubted."""
    CONTENT = auto()
    """The upload has the content; the copy stays what it is."""
    COPY = auto()
    """The same, and the copy is there."""


def require_of_upload(receipt: VerifiedReceipt, upload: str) -> None:
    """Raise RejectedError for a receipt of another transfer."""
    if receipt.transfer_id != upload:
        raise RejectedError("A receipt belongs to another transfer; send the chunk again.")


def require_of_repair(receipt: VerifiedReceipt, task: RepairTask) -> None:
    """Raise RejectedError for a receipt of another copy than the one that a repair was to make."""
    if (
        receipt.transfer_id != task.repair_id
        or receipt.chunk != task.chunk
        or receipt.stored_length != task.stored_length
        or receipt.node != task.target.node
        or receipt.generation != task.target.generation
    ):
        raise RejectedError("A receipt does not belong to this repair; it is not counted.")


def proof_of(stored_length: int, sent: SentCopy) -> Proof:
    """Return what a receipt for ``stored_length`` bytes proves of ``sent``."""
    if stored_length != sent.stored_length:
        return Proof.LIE
    if sent.is_received:
        return Proof.NOTHING
    return Proof.COPY if sent.state is CopyState.INTENT else Proof.CONTENT
