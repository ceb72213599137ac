"""Which bytes of a local file are those of a version: asked of its chunks' ids, never of its name.

What lies on this machine may have come from anywhere: a part of an interrupted download, or a file
of the right name, size and time that another member's user made so.  It counts for what hashes to
the ids of the version that is read, chunk by chunk, and for no more; where the version has a hole, for
what is zero.
"""

from __future__ import annotations

import asyncio
import os
from functools import partial

from collective.chunking.chunk_ids import chunk_id
from collective.chunking.envelope import encode_header, stored_length
from collective.client.disk.holes import run_from, zeros_from
from collective.client.session import Session
from collective.core import limits
from collective.model.entries import Entry
from collective.rpc.gen.collective.v1.reads import ExtentPlan, OpenReadRequest, PlanReadRequest
from collective.rpc.gen.collective.v1.transfer import Extent
from collective.rpc.headers import operation


async def matching_bytes(
    session: Session, entry: Entry, fd: int, available: int, *, is_stored: bool = False
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
        control, mode = session.control, session.choice.mode
        opened = await control.persist(
            session.reads.open_read,
            OpenReadRequest(
                path=str(entry.path), length=available, mode=mode, if_version=entry.version
            ),
        )
        plans, matched = list(opened.plans), 0
        try:
            while plans:
                check = partial(_match, fd, plans, matched, available, is_stored=is_stored)
                matched, is_over = await session.to_the_end(check)
                if is_over:
                    break
                await asyncio.sleep(0)
                request = PlanReadRequest(
                    lease_id=opened.lease_id,
                    offset=matched,
                    length=available - matched,
                    mode=mode,
                )
                plans = list((await control.persist(session.reads.plan_read, request)).plans)
        finally:
            session.leases.give_back(opened.lease_id)
    return matched


def _match(
    fd: int, plans: list[ExtentPlan], matched: int, available: int, *, is_stored: bool
) -> tuple[int, bool]:
    """Go on from ``matched`` as far as ``plans`` reach; tell whether it ends there."""
    for plan in plans:
        if plan.hole is not None:
            end = plan.hole.offset + plan.hole.length
            if not plan.hole.offset <= matched < end:
                return matched, True
            until = zeros_from(fd, matched, min(end, available), reads_data=not is_stored)
            if until is None:
                return matched, True
            matched = until
            if until < end:
                break
            continue
        extent = plan.extent
        if extent is None or extent.offset != matched or extent.length == 0:
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
    return chunk_id([header, plain, bytes(padding)]) == extent.chunk_id
