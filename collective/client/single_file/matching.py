"""Which bytes of a local file are those of a version: asked of its chunks' ids, never of its name.

What lies on this machine may have come from anywhere: a part of an interrupted download, or a file
of the right name, size and time that another member's user made so.  It counts for what hashes to
the ids of the version that is read, chunk by chunk, and for no more; where the version has a hole, for
what is zero.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from functools import partial

from collective.chunking.chunk_ids import chunk_id
from collective.chunking.envelope import encode_header, stored_length
from collective.client.disk.holes import run_from, zeros_from
from collective.client.transfer_session import TransferSession
from collective.core import limits
from collective.model.entries import Entry
from collective.model.extents import Extent, Hole
from collective.model.transfers import ExtentPlan
from collective.rpc.headers import operation


async def matching_bytes(
    session: TransferSession, entry: Entry, fd: int, available: int, *, is_stored: bool = False
) -> int:
    """Return how many bytes from the start of the file ``fd`` are whole chunks and holes of ``entry``.

    Args:
        session: of the transfer.
        entry: the version that the bytes should be of; ConflictError if it is not current.
        fd: open for reading; its position is not used.
        available: how many bytes it has; beyond the entry's size they do not count.
        is_stored: whether it would be stored as it is: a hole on one side that is data on the other
            does not match, though both read as zeros.
    """
    available = min(available, entry.size_bytes)
    if not available:
        return 0
    with operation(session.randomness):
        mode = session.engine_for(entry.path).choice.mode
        opened = await session.open_read(entry.path, entry.version, 0, available, mode)
        pieces, matched = opened.plan.pieces, 0
        try:
            while pieces:
                check = partial(_match, fd, pieces, matched, available, is_stored=is_stored)
                matched, is_over = await session.to_the_end(check)
                if is_over:
                    break
                await asyncio.sleep(0)
                plan = await session.reads.plan_read(
                    session.call,
                    opened.lease,
                    offset=matched,
                    length=available - matched,
                    mode=mode,
                )
                pieces = plan.pieces
        finally:
            await session.leases.give_back(opened.lease)
    return matched


def _match(
    fd: int,
    pieces: Sequence[ExtentPlan | Hole],
    matched: int,
    available: int,
    *,
    is_stored: bool,
) -> tuple[int, bool]:
    """Go on from ``matched`` as far as ``pieces`` reach; tell whether it ends there."""
    for piece in pieces:
        if isinstance(piece, Hole):
            end = piece.offset + piece.length
            if not piece.offset <= matched < end:
                return matched, True
            until = zeros_from(fd, matched, min(end, available), reads_data=not is_stored)
            if until is None:
                return matched, True
            matched = until
            if until < end:
                break
            continue
        extent = piece.extent
        if extent.offset != matched:
            return matched, True
        if matched + extent.length > available or not _is_there(fd, extent):
            return matched, True
        if is_stored and _has_hole(fd, extent):
            return matched, True
        matched += extent.length
    return matched, matched == available


def _has_hole(fd: int, extent: Extent) -> bool:
    end = extent.offset + extent.length
    return run_from(fd, extent.offset, end) != (extent.offset, end)


def _is_there(fd: int, extent: Extent) -> bool:
    """Tell whether the file holds the chunk of ``extent`` where it belongs."""
    padding = extent.stored_length - stored_length(extent.length)
    if padding < 0 or extent.stored_length > limits.CHUNK_STORED_MAX_BYTES:
        return False
    plain = os.pread(fd, extent.length, extent.offset)
    header = encode_header(extent.length, padding_length=padding)
    return chunk_id([header, plain, bytes(padding)]) == extent.chunk
