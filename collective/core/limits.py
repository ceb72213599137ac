"""Every bound that more than one package must agree on, with its unit in its name."""

from __future__ import annotations

from typing import Final

KIB: Final = 1024
MIB: Final = 1024 * KIB

NAME_MAX_BYTES: Final = 255
PATH_MAX_BYTES: Final = 4096
PATH_MAX_DEPTH: Final = 128
LINK_TARGET_MAX_BYTES: Final = 4095
"""What Linux takes for the target of a symbolic link."""

CHUNK_SIZE_BYTES: Final = 4 * MIB
"""Plain bytes a chunk holds by the default split."""
CHUNK_STORED_MAX_BYTES: Final = 16 * MIB + 64 * KIB
"""Largest stored chunk (envelope included) that any part accepts."""
ENVELOPE_OVERHEAD_MAX_BYTES: Final = 64

ROUTE_MAX_HOPS: Final = 5
COPIES_MAX: Final = 16
FILE_MAX_BYTES: Final = 1 << 60
EXTENTS_FREE: Final = 1024
EXTENT_MEAN_LEAST_BYTES: Final = 64 * KIB
"""A file has at most EXTENTS_FREE extents, and one more for each of so many bytes."""
BATCH_MAX_CHUNKS: Final = 64
"""Chunks in one call that allocates, records or plans; and as many holes."""
HOLE_LEAST_BYTES: Final = 64 * KIB
"""Shorter holes of a local file are stored as the zeros that they read as."""
LIST_PAGE_MAX_ENTRIES: Final = 2000
PAGE_TOKEN_MAX_CHARS: Final = 16 * KIB
CURSOR_MAX_CHARS: Final = 1024
"""Of one who watches a folder."""
WATCH_WAIT_MAX_S: Final = 30.0
"""How long one call waits for a first change."""
RPC_MESSAGE_MAX_BYTES: Final = 4 * MIB
ANSWER_MAX_BYTES: Final = 3 * MIB
"""After so many bytes of rows a page of a listing ends; one row more still fits into a message."""
HASH_INLINE_MAX_BYTES: Final = 64 * KIB
"""What is hashed where it is: 15 us at most, less than handing it to a thread costs."""
METADATA_MAX_BYTES: Final = 16 * KIB
"""User metadata of one file: sum of keys and values."""
CONTENT_TYPE_MAX_BYTES: Final = 255

CHALLENGE_NONCE_BYTES: Final = 32
CHALLENGE_MAX_COPIES: Final = 256
"""Copies that a node is asked in one call to prove."""
CHALLENGE_MAX_BYTES: Final = 64 * MIB
"""Stored bytes that a node reads for one such call; what is beyond it leaves unanswered."""

TICKET_LIFE_S: Final = 60.0
HEARTBEAT_INTERVAL_S: Final = 2.0
NODE_SUSPECT_AFTER_S: Final = 5.0
NODE_DOWN_AFTER_S: Final = 10.0
NODE_LOST_AFTER_S: Final = 600.0
READ_LEASE_S: Final = 120.0
UPLOAD_LIFE_S: Final = 7 * 24 * 3600.0
STALL_AFTER_S: Final = 2.0
"""A transfer that made no progress for so long is avoided."""
CERTIFICATE_LIFE_LEAST_S: Final = 5.0
CERTIFICATE_LIFE_MOST_S: Final = 400 * 86400.0
EXPIRED_RENEWAL_S: Final = 90 * 86400.0
"""How long after its end a certificate may still renew itself, unless set otherwise."""

GRANTS_PER_GIVER_MAX: Final = 1000
"""Grants that one who is no admin may have given."""
GRANTS_PER_PAIR_MAX: Final = 100
"""Of these, to one receiver: so that nobody fills another's places alone."""
GRANTS_PER_RECEIVER_MAX: Final = 1000
"""Grants that one receiver may have before only an admin may add to them."""
GRANTS_PASSED_ON_MAX: Final = 50_000
"""Grants in all before only an admin may add to them."""
GRANTS_MAX: Final = 100_000
"""Grants in all."""
RIGHTS_CHANGES_PER_DAY_MAX: Final = 5000
"""Rows about rights that one who is no admin may add to the audit by granting, in 24 hours."""
GRANT_KEPT_S: Final = 86400.0
"""After so long a grant that ended is deleted; where its place is needed, at once."""

JOIN_CODE_MAX_CHARS: Final = 4 * KIB
"""A code, with what may stand between its characters: what a server takes."""
JOIN_CODE_TEXT_MAX: Final = 64 * KIB
"""A text in which people's programs look for a code, in bytes or characters: a whole message fits in it."""
CODES_OPEN_MAX: Final = 1000
"""Codes that can still be redeemed, of one maker who is no operator."""
CODES_PER_DAY_MAX: Final = 1000
"""Codes that one maker who is no operator may make in 24 hours, whatever becomes of them."""
CODE_BYTES_PER_DAY_MAX: Final = 4 * MIB
"""What these may take up together, each with its paths and CODE_LEAST_BYTES."""
CODE_BYTES_MAX: Final = 16 * MIB
"""What all codes may take up before only an operator may add to them."""
CODE_LEAST_BYTES: Final = KIB
CODE_KEPT_S: Final = 7 * 86400.0
"""After so long a code that ended is deleted; until then a repeated redemption has its answer."""

PEERS_MAX: Final = 64
"""Members that one is peered with."""
PEER_TOMBSTONES_MAX: Final = 256
"""Removed peers that are remembered, so that they can be told."""
