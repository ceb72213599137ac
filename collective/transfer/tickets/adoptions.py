"""Adoptions: the coordinator's signed word to one node that its catalogue takes another one's place.

Signed under a key that only this node and its coordinator have, for exactly the position that the node
holds: a node that has gone on since takes no notice, nor one that it was not made for.  Pure.
"""

from __future__ import annotations

import hmac
from typing import Final

from collective.core.errors import RejectedError
from collective.core.ids import SpiffeId
from collective.model import nodes as model
from collective.model.nodes import StatedPosition
from collective.rpc.conversions.node_registry import position_message
from collective.rpc.gen.collective.v1.node import Adoption, SignedAdoption
from collective.rpc.wire.decoding import parse_message
from collective.rpc.wire.encoding import encode
from collective.transfer.tickets.keys import KeySource, TicketKey

ADOPTION_MAX_BYTES: Final = 1024
_MAC_BYTES: Final = 32
_CONTEXT: Final = b"collective adoption 1\0"


class AdoptionRefusedError(RejectedError):
    """The adoption is forged, malformed, or for another node."""

    code = "adoption_refused"


def sign_adoption(key: TicketKey, adoption: Adoption) -> SignedAdoption:
    """Return ``adoption`` serialised and signed under ``key``."""
    body = encode(adoption)
    assert len(body) <= ADOPTION_MAX_BYTES
    return SignedAdoption(body=body, key_id=key.key_id, mac=key.mac(_CONTEXT, body))


def make_adoption(
    key: TicketKey, node: SpiffeId, replaced: StatedPosition, successor: StatedPosition
) -> model.SignedAdoption:
    """Return the word to ``node`` that ``successor`` takes the place of exactly ``replaced``."""
    signed = sign_adoption(
        key,
        Adoption(
            node=str(node),
            replaced=position_message(replaced),
            successor=position_message(successor),
        ),
    )
    return model.SignedAdoption(signed.body, signed.key_id, signed.mac)


def open_adoption(keys: KeySource, signed: SignedAdoption, *, node: SpiffeId) -> Adoption:
    """Return the adoption in ``signed`` if its MAC is good and it was made for ``node``.

    Raises:
        AdoptionRefusedError: forged, malformed, under an unknown key, for another node, or incomplete.
    """
    key = keys.key(signed.key_id)
    if key is None or len(signed.body) > ADOPTION_MAX_BYTES or len(signed.mac) != _MAC_BYTES:
        raise AdoptionRefusedError("The adoption is malformed, or its key is not known.")
    if not hmac.compare_digest(key.mac(_CONTEXT, signed.body), signed.mac):
        raise AdoptionRefusedError("The adoption's signature does not match.")
    try:
        adoption = parse_message(Adoption, signed.body)
    except RejectedError as error:
        raise AdoptionRefusedError("The adoption does not parse.") from error
    if adoption.node != str(node):
        raise AdoptionRefusedError("The adoption is for another node.")
    if adoption.replaced is None or adoption.successor is None:
        raise AdoptionRefusedError("The adoption does not say what it is about.")
    return adoption
