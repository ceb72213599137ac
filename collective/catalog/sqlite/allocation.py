"""Deciding, for one chunk of one upload, which copies count already and where to send the rest.

Runs inside the writer's transaction.  What counts for an upload: copies whose receipt it has shown,
and, where the caller may already read a path that holds the chunk, every stored copy.  Naming a
chunk is no proof of having it: without such a path the caller sends the bytes to the nodes that have
them already (same generation), and their receipts count.
"""

# ruff: noqa: S608 - statements are put together from constants alone

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from collective.access.permissions import Decider
from collective.catalog.interface.values import Allocation, PlaceFunction, PlacementNeed
from collective.catalog.sqlite import rows
from collective.catalog.sqlite.dooming import GUARDED, doom
from collective.catalog.sqlite.references import TRUSTED
from collective.catalog.sqlite.rows import CURRENT, DOUBTED, INTENT, MISSING, RETIRED, STORED
from collective.catalog.sqlite.writer import Transaction
from collective.core import limits
from collective.core.errors import NotEnoughCopiesError, UsageError
from collective.core.ids import CHUNK_ID_BYTES, Generation, NodeId
from collective.core.paths import FilePath
from collective.model.copies import Copy
from collective.model.extents import Extent
from collective.model.nodes import Standing
from collective.model.rights import Right
from collective.placement import evidence
from collective.placement.node_choice import Held
from collective.placement.shortage import copies_shortage

BAD: Final = (MISSING, DOUBTED)
"""Copies that no receipt puts back into use: a new one is made in their place, also on their node."""
REFERENCES_LOOKED_AT = 16
"""Paths holding a chunk that are tried for the caller's rights."""
USES_LOOKED_AT: Final = 1000
"""Uses of a chunk, the newest, among which they are looked for when it is allocated."""


@dataclass(slots=True)
class Row:
    """One row of ``copies`` with its node's name, and whether this upload was sent there."""

    node: int
    name: NodeId
    generation: int
    state: int
    leaving: bool
    trusted: bool
    standing: Standing
    sent: bool
    received: bool

    @property
    def copy(self) -> Copy:
        """As the interface names it."""
        return Copy(self.name, Generation(self.generation))


def chunk_row(tx: Transaction, intent: Extent, copies: int) -> int:
    """Return the id of the chunk's row, made if need be.

    A row is of one id and one length, and neither ever changes: an id that is named with another
    length is another chunk, which no honest node will ever hold.
    """
    if len(intent.chunk) != CHUNK_ID_BYTES:
        raise UsageError(f"A chunk id has {CHUNK_ID_BYTES} bytes; this one is malformed.")
    if not 0 < intent.stored_length <= limits.CHUNK_STORED_MAX_BYTES:
        raise UsageError(f"A chunk has 1 to {limits.CHUNK_STORED_MAX_BYTES} stored bytes.")
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

    He may read a current file that holds it (``retired``: or one that was replaced or removed where
    he may read), or has sent it himself in another upload that is open.  Behind very many newer files
    that are no more, one is not found (``retired``: it is); then he has to send it.
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
    for entry, place in found.fetchall():
        if entry is None and place is None:
            continue
        at = FilePath.parse(place) if entry is None else rows.path_of(tx.db, entry)
        if decider.may(Right.READ, at):
            return True
    sent: Any = tx.value(
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


def copy_rows(tx: Transaction, upload: str, chunk: int) -> list[Row]:
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
        Row(
            node,
            NodeId(name),
            generation,
            state,
            bool(draining),
            bool(trusted),
            Standing(standing),
            got is not None,
            bool(got),
        )
        for node, name, generation, state, draining, trusted, standing, got in found
    ]


def usable(found: list[Row], *, authorised: bool, absent: frozenset[NodeId]) -> list[Row]:
    """Return the copies that may count for an upload, all of them on trusted nodes.

    Those whose receipt it has shown, also where the node fell silent since; and copies that others
    made, where it may use them and their node is not in ``absent``.
    """
    return [
        row
        for row in found
        if row.state == STORED
        and row.trusted
        and (row.received or (authorised and row.name not in absent))
    ]


def pin_chunk(
    tx: Transaction, decider: Decider, upload: str, intent: Extent, copies: int
) -> tuple[int, bool, bool]:
    """Keep the chunk for the upload; return its row, whether what is stored counts, if it is new."""
    chunk = chunk_row(tx, intent, copies)
    pinned = tx.value("SELECT authorised FROM pins WHERE upload = ? AND chunk = ?", upload, chunk)
    authorised = may_use(tx, decider, upload, chunk) if pinned is None else bool(pinned)
    if pinned is not None:
        return chunk, authorised, False
    tx.run("INSERT INTO pins (upload, chunk, authorised) VALUES (?,?,?)", upload, chunk, authorised)
    return chunk, authorised, True


def allocate_chunk(
    tx: Transaction,
    upload: str,
    intent: Extent,
    chunk: int,
    copies: int,
    place: PlaceFunction,
    absent: frozenset[NodeId] = frozenset(),
    *,
    authorised: bool,
) -> Allocation:
    """Write the intent rows of the copies of a pinned chunk that are missing.

    Copies on nodes in ``absent`` count only by this upload's own receipts, and none is sent there.
    """
    quorum = evidence.quorum_of(copies)
    found = copy_rows(tx, upload, chunk)
    held = usable(found, authorised=authorised, absent=absent)
    standings = [row.standing for row in held]
    if evidence.is_quorum(standings, copies) and (authorised or len(held) >= copies):
        return Allocation(
            intent.chunk, intent.stored_length, True, [row.copy for row in held], [], quorum
        )
    missing = max(copies - len(held), quorum - evidence.count(standings))
    others = [
        row
        for row in found
        if row not in held and row.state not in BAD and row.trusted and row.name not in absent
    ]
    targets = [row for row in others if not row.sent and not row.leaving][:missing]
    for row in targets:
        _send(tx, upload, chunk, row.node, row.generation)
    chosen = [row.copy for row in targets]
    standings += [row.standing for row in targets]
    if len(chosen) < missing:
        taken = frozenset(row.name for row in found if row.state not in BAD)
        there = held_of(copies, standings)
        need = PlacementNeed(
            intent.chunk, intent.stored_length, missing - len(chosen), taken, there
        )
        for name in list(place(need))[: need.copies_missing]:
            if name not in taken and all(copy.node != name for copy in chosen):
                chosen.append(new_copy(tx, chunk, name, upload))
                standings.append(_standing(tx, name))
    if not evidence.is_quorum(standings, copies):
        again = [row for row in others if row.sent and not row.leaving][: missing - len(chosen)]
        chosen += [row.copy for row in again]
        standings += [row.standing for row in again]
    if not evidence.is_quorum(standings, copies):
        raise NotEnoughCopiesError(
            f"Only {copies_shortage(copies, standings)}; start or add nodes, or free space."
        )
    return Allocation(
        intent.chunk, intent.stored_length, False, [row.copy for row in held], chosen, quorum
    )


def _standing(tx: Transaction, node: NodeId) -> Standing:
    return Standing(tx.value("SELECT standing FROM nodes WHERE name = ?", node))


def held_of(copies: int, standings: Sequence[Standing]) -> Held:
    """Return what placement needs to know of the copies that there are, by their nodes' standing."""
    return Held(copies, standings.count(Standing.APPROVED), standings.count(Standing.PROBATION))


def new_copy(tx: Transaction, chunk: int, name: NodeId, upload: str | None) -> Copy:
    """Write an intent row on node ``name`` under a new generation.

    A missing or doubted copy there is given up: it may be good after all, and be the last one.
    """
    node = tx.value("SELECT id FROM nodes WHERE name = ? AND removed = 0", name)
    if node is None:
        raise NotEnoughCopiesError(f"Node {name} is not enrolled any more; try again.")
    if tx.value("SELECT 1 FROM copies WHERE chunk = ? AND node = ?", chunk, node):
        doom(tx, chunk, node, GUARDED)
    generation = tx.next_generation()
    tx.run(
        "INSERT INTO copies (chunk, node, generation, state) VALUES (?,?,?,?)",
        chunk,
        node,
        generation,
        INTENT,
    )
    if upload is not None:
        _send(tx, upload, chunk, node, generation)
    return Copy(name, Generation(generation))


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
