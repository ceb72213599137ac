"""Receipts that clients and nodes bring back, checked before the catalogue sees them.

The MAC, the node and the transfer are checked here; whether this upload planned that copy there,
with that length and generation, the catalogue checks in its transaction.
"""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from collective.core.errors import CollectiveError, RejectedError
from collective.core.ids import Generation, parse_chunk_id
from collective.model.copies import VerifiedReceipt
from collective.model.routes import SignedReceipt
from collective.transfer.tickets.key_ring import KeyRing
from collective.transfer.tickets.receipts import open_receipt


class ReceiptChecker:
    """Turns signed receipts into facts, or refuses them."""

    def __init__(self, keys: KeyRing) -> None:
        """Check under the keys of ``keys``."""
        self._keys = keys
        self._log = structlog.get_logger("coordinator.receipts")

    def check(self, signed: SignedReceipt, transfer_id: str) -> VerifiedReceipt:
        """Return what ``signed`` proves for ``transfer_id``; RejectedError if it proves nothing."""
        receipt = open_receipt(self._keys.source(signed.node), signed)
        if receipt.transfer_id != transfer_id:
            raise RejectedError("A receipt is for another transfer; send the chunk again.")
        if not receipt.flushed:
            raise RejectedError("A receipt does not say that the copy was flushed.")
        return VerifiedReceipt(
            chunk=parse_chunk_id(receipt.chunk_id),
            node=signed.node.node_id,
            generation=Generation(receipt.generation),
            stored_length=receipt.length,
            transfer_id=transfer_id,
        )

    def check_all(self, signed: Sequence[SignedReceipt], transfer_id: str) -> list[VerifiedReceipt]:
        """Return the receipts that are good; the others are logged and do not count.

        One bad receipt does not undo the good ones: the catalogue demands a quorum for each chunk
        anyway.  When none is good, the first one's reason is raised.
        """
        good: list[VerifiedReceipt] = []
        first_error: CollectiveError | None = None
        for one in signed:
            try:
                good.append(self.check(one, transfer_id))
            except CollectiveError as error:
                self._log.warning(
                    "receipt_refused",
                    node=str(one.node),
                    transfer_id=transfer_id,
                    why=error.message,
                )
                first_error = first_error or error
        if first_error is not None and not good:
            raise first_error
        return good
