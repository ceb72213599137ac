"""Every bound that more than one package must agree on, with its unit in its name."""

from __future__ import annotations

from typing import Final

KIB: Final = 1024
MIB: Final = 1024 * KIB

NAME_MAX_BYTES: Final = 255
PATH_MAX_BYTES: Final = 4096
PATH_MAX_DEPTH: Final = 128

CHUNK_SIZE_BYTES: Final = 4 * MIB
"""Plain bytes a chunk holds by the default split."""
CHUNK_STORED_MAX_BYTES: Final = 16 * MIB + 64 * KIB
"""Largest stored chunk (envelope included) that any part accepts."""
ENVELOPE_OVERHEAD_MAX_BYTES: Final = 64

ROUTE_MAX_HOPS: Final = 4
COPIES_MAX: Final = 16
FILE_MAX_BYTES: Final = 1 << 60
BATCH_MAX_CHUNKS: Final = 64
"""Chunks in one call that allocates, records or plans."""
LIST_PAGE_MAX_ENTRIES: Final = 2000
RPC_MESSAGE_MAX_BYTES: Final = 4 * MIB
HASH_INLINE_MAX_BYTES: Final = 64 * KIB
"""What is hashed where it is: 15 us at most, less than handing it to a thread costs."""
METADATA_MAX_BYTES: Final = 16 * KIB
"""User metadata of one file: sum of keys and values."""
CONTENT_TYPE_MAX_BYTES: Final = 255

TICKET_LIFE_S: Final = 60.0
HEARTBEAT_INTERVAL_S: Final = 2.0
NODE_SUSPECT_AFTER_S: Final = 5.0
NODE_DOWN_AFTER_S: Final = 10.0
NODE_LOST_AFTER_S: Final = 600.0
READ_LEASE_S: Final = 120.0
UPLOAD_LIFE_S: Final = 7 * 24 * 3600.0
STALL_AFTER_S: Final = 2.0
"""A transfer that made no progress for so long is gone round."""
CERTIFICATE_LIFE_LEAST_S: Final = 5.0
CERTIFICATE_LIFE_MOST_S: Final = 400 * 86400.0
