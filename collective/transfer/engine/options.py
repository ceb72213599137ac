"""Bounds of transfers."""

from __future__ import annotations

from dataclasses import dataclass

from collective.core import limits


@dataclass(frozen=True, slots=True)
class TransferOptions:
    """Bounds of one transfer; the defaults suit a home network."""

    batch_chunks: int = 4
    """Chunks allocated in one call, at most."""
    stall_s: float = limits.STALL_AFTER_S
    """No sign of life for so long, and a node is avoided."""
    give_up_s: float = 6.0
    """No sign of life from any node for so long, and the chunk has failed."""
    patience_s: float = 6.0
    """How long nodes are waited for where too few can take a chunk: a coordinator that has just
    restarted hears from them within a few seconds."""
    may_relay: bool = True
    """Whether to go through the coordinator where no node can be reached directly."""
    relay_after: int = 2
    """Nodes that cannot be reached directly, with none ever having been, before that is tried."""
    relay_first: bool = False
    """No node could be reached directly a while ago: that is tried once much has been relayed."""
