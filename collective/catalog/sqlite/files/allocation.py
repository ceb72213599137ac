"""Chunks of one upload: their rows, whose they are, the copies that there are and those to be made.

What is done about a chunk is decided by ``decisions/allocation.py``.
"""

# ruff: noqa: S608 - statements are put together from constants alone

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from collective.access.permissions import Decider
from collective.catalog.decisions import uploads
from collective.catalog.decisions.allocation import KnownCopy, Takers, allocate, node_went
from collective.catalog.decisions.uploads import require_chunk
from collective.catalog.interface.values import Allocation
from collective.catalog.sqlite.collection.dooming import GUARDED, doom
from collective.catalog.sqlite.files.upload_rows import UploadRow
from collective.catalog.sqlite.store import rows
from collective.catalog.sqlite.store.references import TRUSTED
from collective.catalog.sqlite.store.rows import CURRENT, INTENT, RETIRED
from collective.catalog.sqlite.store.writer import Transaction
from collective.core.ids import ChunkId, Generation, NodeId
from collective.core.paths import FilePath
from collective.model.copies import Copy, CopyState
from collective.model.extents import Extent
from collective.model.nodes import Standing
from collective.placement import quorum
from collective.placement.node_choice import Offers

REFERENCES_LOOKED_AT: Final = 16
"""Paths holding a chunk that are tried for the caller's rights."""
USES_LOOKED_AT: Final = 1000
"""Uses of a chunk, the newest, among which they are looked for when it is allocated."""


def chunk_row(tx: Transaction, intent: Extent, copies: int) -> int:
    """Return the id of the chunk's row, made if need be.

    A row is of one id and one length, and neither ever changes: an id that is named with another
    length is another chunk, which no honest node will ever hold.
    """
    require_chunk(intent)
    row = tx.one(
        "SELECT id, wanted FROM chunks WHERE hash = ? AND stored_length = ?",
        intent.chunk,
        intent.stored_length,
    )
    if row is None:
        tx.run(
            "INSERT INTO chunks (hash, stored_length, wanted) VALUES (?,?,?)",
            intent.chunk,
            intent.stored_length,
            copies,
        )
        tx.deltas.chunks += 1
        return tx.db.last_insert_rowid()
    if row[1] < copies:
        tx.run("UPDATE chunks SET wanted = ? WHERE id = ?", copies, row[0])
    return int(row[0])


def may_use(
    tx: Transaction, decider: Decider, upload: str, chunk: int, *, retired: bool = False
) -> bool:
    """Tell whether the caller has, or may have, the chunk's content.

    They may read a current file that holds it (``retired``: or one that was replaced or removed where
    they may read), or have sent it themselves in another upload that is open.  Behind very many newer files
    that are no more, one is not found (``retired``: it is); then they have to send it.
    """
    found: Any = tx.run(
        "SELECT e.id, v.place FROM (SELECT version FROM extents WHERE chunk = ?"
        " ORDER BY version DESC LIMIT ?) x CROSS JOIN versions v ON v.id = x.version"
        " LEFT JOIN entries e ON e.version = v.id WHERE v.state IN (?, ?) LIMIT ?",
        chunk,
        -1 if retired else USES_LOOKED_AT,
        CURRENT,
        RETIRED if retired else CURRENT,
        REFERENCES_LOOKED_AT,
    )
    places = (
        FilePath.parse(place) if entry is None else rows.path_of(tx.db, entry)
        for entry, place in found.fetchall()
        if entry is not None or place is not None
    )
    return uploads.may_use(decider, places, lambda: _has_sent(tx, decider, upload, chunk))


def _has_sent(tx: Transaction, decider: Decider, upload: str, chunk: int) -> bool:
    """Tell whether the caller has sent the chunk in another upload that is open."""
    sent = tx.value(
        "SELECT 1 FROM sent s JOIN uploads u ON u.id = s.upload WHERE s.chunk = ?"
        " AND s.received = 1 AND u.principal = ? AND u.state = 0 AND u.id <> ? LIMIT 1",
        chunk,
        str(decider.caller.principal),
        upload,
    )
    return sent is not None


def is_kept(tx: Transaction, chunk: int) -> bool:
    """Tell whether any file, or old version that is kept, holds the chunk."""
    found = tx.value(
        "SELECT 1 FROM extents x JOIN versions v ON v.id = x.version"
        " WHERE x.chunk = ? AND v.state IN (?, ?) LIMIT 1",
        chunk,
        CURRENT,
        RETIRED,
    )
    return found is not None


def known_copies(tx: Transaction, upload: str, chunk: int) -> list[KnownCopy]:
    """Return every copy of a chunk on nodes that are not removed."""
    found = tx.all(
        "SELECT c.node, n.name, c.generation, c.state, n.draining,"
        f" {TRUSTED}, n.standing, s.received FROM copies c"
        " JOIN nodes n ON n.id = c.node LEFT JOIN sent s ON s.upload = ? AND s.chunk = c.chunk"
        " AND s.node = c.node AND s.generation = c.generation"
        " WHERE c.chunk = ? AND n.removed = 0",
        upload,
        chunk,
    )
    return [
        KnownCopy(
            node,
            NodeId(name),
            Generation(generation),
            CopyState(state),
            bool(draining),
            bool(trusted),
            Standing(standing),
            got is not None,
            bool(got),
        )
        for node, name, generation, state, draining, trusted, standing, got in found
    ]


@dataclass(frozen=True, slots=True)
class Pinned:
    """A chunk that is kept for an upload."""

    chunk: int
    """Its row."""
    is_authorised: bool
    """What is stored counts."""
    is_new: bool
    """The upload had not named it before."""


def pin_chunk(
    tx: Transaction, decider: Decider, upload: str, intent: Extent, copies: int
) -> Pinned:
    """Keep the chunk for the upload."""
    chunk = chunk_row(tx, intent, copies)
    known = tx.value("SELECT authorised FROM pins WHERE upload = ? AND chunk = ?", upload, chunk)
    if known is not None:
        return Pinned(chunk, bool(known), is_new=False)
    is_authorised = may_use(tx, decider, upload, chunk)
    tx.run(
        "INSERT INTO pins (upload, chunk, authorised) VALUES (?,?,?)", upload, chunk, is_authorised
    )
    return Pinned(chunk, is_authorised, is_new=True)


@dataclass(frozen=True, slots=True)
class Targets:
    """Where the new copies of a batch may go."""

    takers: Takers
    rows: Mapping[NodeId, int]
    """Of nodes."""


def targets_of(tx: Transaction, offers: Offers) -> Targets:
    """Return what ``offers`` leave: nodes that stay, and whose copies will count."""
    found = tx.all(
        f"SELECT n.name, n.id, n.standing FROM nodes n WHERE {TRUSTED} AND n.draining = 0"
    )
    standings = {NodeId(name): Standing(standing) for name, _, standing in found}
    return Targets(Takers(offers, standings), {NodeId(name): row for name, row, _ in found})


def allocate_chunk(
    tx: Transaction,
    upload: UploadRow,
    key: tuple[ChunkId, int],
    pinned: Pinned,
    targets: Targets,
    absent: frozenset[NodeId],
) -> Allocation:
    """Decide where the copies of a pinned chunk go that are missing, and write their intents."""
    chunk, copies = pinned.chunk, upload.copies
    found = known_copies(tx, upload.id, chunk)
    offered = targets.takers.able(*key)
    done = allocate(found, copies, offered, is_authorised=pinned.is_authorised, absent=absent)
    targets.takers.give(done.new, key[1])
    for one in done.joined:
        _send(tx, upload.id, chunk, one.node, one.generation)
    given_up = {one.name for one in found}  # of a node that gets a new one, it is a bad one
    sent_to = [one.copy for one in done.joined]
    for name in done.new:
        node = targets.rows[name]
        if name in given_up:
            doom(tx, chunk, node, GUARDED)
        generation = _write_intent(tx, chunk, node)
        _send(tx, upload.id, chunk, node, generation)
        sent_to.append(Copy(name, generation))
    sent_to += [one.copy for one in done.again]
    held = [one.copy for one in done.held]
    return Allocation(*key, done.is_stored, held, sent_to, quorum.quorum_of(copies))


def new_copy(tx: Transaction, chunk: int, name: NodeId) -> Copy:
    """Write the intent of a copy on node ``name`` under a new generation.

    A missing or doubted copy there is given up: it may be good after all, and be the last one.
    """
    node = tx.value("SELECT id FROM nodes WHERE name = ? AND removed = 0", name)
    if node is None:
        raise node_went(name)
    if tx.value("SELECT 1 FROM copies WHERE chunk = ? AND node = ?", chunk, node):
        doom(tx, chunk, node, GUARDED)
    return Copy(name, _write_intent(tx, chunk, node))


def _write_intent(tx: Transaction, chunk: int, node: int) -> Generation:
    generation = tx.next_generation()
    tx.run(
        "INSERT INTO copies (chunk, node, generation, state) VALUES (?,?,?,?)",
        chunk,
        node,
        generation,
        INTENT,
    )
    return Generation(generation)


def add_candidate(tx: Transaction, chunk: int) -> None:
    """Have collection look whether anything still needs the chunk."""
    tx.run("INSERT OR IGNORE INTO candidates (chunk, since_ms) VALUES (?,?)", chunk, tx.now_ms)


def _send(tx: Transaction, upload: str, chunk: int, node: int, generation: int) -> None:
    tx.run(
        "INSERT OR REPLACE INTO sent (upload, chunk, node, generation, received)"
        " VALUES (?,?,?,?,0)",
        upload,
        chunk,
        node,
        generation,
    )
