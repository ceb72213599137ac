"""Receipts: a node's signed word that it flushed one copy of one chunk for one transfer.

Signed under the key that the node shares with the coordinator, so a client can neither invent nor
alter one.  Pure.
"""

from __future__ import annotations

import hmac
from typing import Final

from collective.core.errors import RejectedError
from collective.core.ids import SpiffeId
from collective.model.routes import SignedReceipt
from collective.rpc.gen.collective.v1.transfer import Receipt
from collective.rpc.wire.decoding import parse_message
from collective.rpc.wire.encoding import encode
from collective.transfer.tickets.keys import KeySource, TicketKey

RECEIPT_MAX_BYTES: Final = 1024
_MAC_BYTES: Final = 32
_RECEIPT_CONTEXT: Final = b"collective receipt 1\0"


class ReceiptRefusedError(RejectedError):
    """The receipt is forged, malformed, or about something else."""

    code = "receipt_refused"


def sign_receipt(key: TicketKey, receipt: Receipt) -> SignedReceipt:
    """Return ``receipt`` serialised and signed under ``key``."""
    body = encode(receipt)
    assert len(body) <= RECEIPT_MAX_BYTES
    return SignedReceipt(
        body=body,
        key_id=key.key_id,
        mac=key.mac(_RECEIPT_CONTEXT, body),
        node=SpiffeId.parse(receipt.node),
    )


def open_receipt(keys: KeySource, signed: SignedReceipt) -> Receipt:
    """Return the receipt in ``signed`` if its MAC is good under one of the keys of its node.

    ``keys`` must hold the keys shared with ``signed.node`` only.

    Raises:
        ReceiptRefusedError: forged, malformed, unknown key, or signed for another node.
    """
    if len(signed.body) > RECEIPT_MAX_BYTES or len(signed.mac) != _MAC_BYTES:
        raise ReceiptRefusedError("The receipt is malformed; send the chunk again.")
    key = keys.key(signed.key_id)
    if key is None:
        raise ReceiptRefusedError("The receipt's key is not known; send the chunk again.")
    if not hmac.compare_digest(key.mac(_RECEIPT_CONTEXT, signed.body), signed.mac):
        raise ReceiptRefusedError("The receipt's signature does not match; send the chunk again.")
    try:
        receipt = parse_message(Receipt, signed.body)
    except RejectedError as error:
        raise ReceiptRefusedError("The receipt does not parse; send the chunk again.") from error
    if encode(receipt) != signed.body:
        raise ReceiptRefusedError("The receipt is not canonical; send the chunk again.")
    if receipt.node != str(signed.node):
        raise ReceiptRefusedError("The receipt is signed for another node.")
    return receipt
