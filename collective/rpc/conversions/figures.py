"""What there is between a member and one of its peers, in figures."""

from __future__ import annotations

from collective.model.peers import PeerFigures
from collective.rpc.gen.collective import v1 as pb


def figures_message(figures: PeerFigures) -> pb.PeerFigures:
    """Return them for the wire."""
    return pb.PeerFigures(
        granted=figures.granted,
        granted_there=figures.granted_there,
        sent_bytes=figures.sent_bytes,
        received_bytes=figures.received_bytes,
        refused=figures.refused,
    )


def figures_from(message: pb.PeerFigures | None) -> PeerFigures:
    """Return them; all 0 where none are told."""
    message = message or pb.PeerFigures()
    return PeerFigures(
        granted=message.granted,
        granted_there=message.granted_there,
        sent_bytes=message.sent_bytes,
        received_bytes=message.received_bytes,
        refused=message.refused,
    )
