"""The on-disk chunk store of a node: durable, verified, crash-safe.

``ChunkStore`` is the asynchronous face; ``StoreCore`` the synchronous one that does the work over a
:class:`collective.core.disk.Disk`.
"""

from collective.chunking.store.capacity import Reservation
from collective.chunking.store.core import StoreCore
from collective.chunking.store.facade import ChunkStore
from collective.chunking.store.model import FREE_MARGIN_BYTES, StoredCopy, StoreOptions

__all__ = [
    "FREE_MARGIN_BYTES",
    "ChunkStore",
    "Reservation",
    "StoreCore",
    "StoreOptions",
    "StoredCopy",
]
