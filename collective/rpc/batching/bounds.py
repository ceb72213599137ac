"""What one exchange of batches may hold, at both of its ends."""

from __future__ import annotations

from typing import Final

from collective.core.limits import KIB, MIB, RPC_MESSAGE_MAX_BYTES

BATCH_MAX_CALLS: Final = 64
"""Calls, or answers, in one message."""
BATCH_MAX_BYTES: Final = MIB
"""A message takes no more once it is that large."""
CALL_MAX_BYTES: Final = 256 * KIB
"""A call with a larger message goes by itself."""
ANSWER_MAX_BYTES: Final = RPC_MESSAGE_MAX_BYTES - KIB
"""Of one answer: with what stands around it, it fits into a message."""
EXCHANGES_MAX: Final = 2
"""Of one connection: the next may begin while the last one ends."""
UNDER_WAY_MAX: Final = 100
"""Calls of one exchange that have no answer yet; as many as HTTP/2 allows of them on one connection."""
