"""What a receipt proves of a copy: pure.

One for a copy that is missing or doubted proves only that its sender has the content: it may be older
than the loss, and only a challenge puts such a copy back into use.  One of another length than its
ticket named cannot come from an honest node: it does not count, and its node is in doubt.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from collective.model.copies import CopyState


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


def proof_of(stored_length: int, sent: SentCopy) -> Proof:
    """Return what a receipt for ``stored_length`` bytes proves of ``sent``."""
    if stored_length != sent.stored_length:
        return Proof.LIE
    if sent.is_received:
        return Proof.NOTHING
    return Proof.COPY if sent.state is CopyState.INTENT else Proof.CONTENT
