"""What keeps a chunk in use, and whose copies of it are believed: conditions in SQL, each once.

A chunk is in use while a file or an old version that is kept holds it, and while an open upload has
stored it: an extent of it is recorded, the upload has shown a receipt for it, or it was given the
copies that were there (an authorised pin).  Every extent of an open upload is pinned by it, so pins
tell.  A pin alone is no use: it may name what nobody has sent.

``k`` is the chunk and ``n`` the node in these conditions.
"""

# ruff: noqa: S608 - statements are put together from constants of this file alone

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import apsw

from collective.core.errors import NotEnoughCopiesError
from collective.model.nodes import Standing
from collective.placement.shortage import copies_shortage

QUIET_MS: Final = 300_000
"""Repair leaves an open upload alone until it has been quiet for so long, but for a drain."""

TRUSTED: Final = "n.removed = 0 AND n.removing = 0 AND n.refused = '' AND n.standing <> 'doubted'"
"""Copies on this node count towards a quorum, as its standing says."""

OF_FILES: Final = (
    "EXISTS (SELECT 1 FROM extents x JOIN versions v ON v.id = x.version"
    " WHERE x.chunk = k.id AND v.state IN (1, 2))"
)
"""A file, or an old version that is kept, holds the chunk."""


def _of_uploads(when: str) -> str:
    return (
        "EXISTS (SELECT 1 FROM pins p JOIN uploads u ON u.id = p.upload AND u.state = 0"
        f" WHERE p.chunk = k.id{when} AND (p.authorised = 1 OR EXISTS (SELECT 1 FROM sent s"
        " WHERE s.upload = p.upload AND s.chunk = p.chunk AND s.received = 1)))"
    )


_DRAINS: Final = (
    "EXISTS (SELECT 1 FROM copies d JOIN nodes m ON m.id = d.node"
    " WHERE d.chunk = k.id AND d.state = 1 AND m.draining = 1 AND m.removed = 0)"
)

IN_USE: Final = f"({OF_FILES} OR {_of_uploads('')})"
"""The chunk must not lose its copies."""

DUE: Final = (
    f"({OF_FILES} OR "
    + _of_uploads(f" AND (abs(? - u.touched_ms) >= {QUIET_MS} OR {_DRAINS})")
    + ")"
)
"""Repair may see to the chunk now; the one parameter is the time in Unix milliseconds.

A last use that lies in the future by as much is quiet too: the clock was set back since.
"""


def trusted_standings(db: apsw.Connection, chunk: int) -> list[Standing]:
    """Return the standing of each node that has a stored copy of the chunk and is trusted."""
    found: Any = db.execute(
        "SELECT n.standing FROM copies c JOIN nodes n ON n.id = c.node"
        f" WHERE c.chunk = ? AND c.state = 1 AND {TRUSTED}",
        (chunk,),
    ).fetchall()
    return [Standing(row[0]) for row in found]


def too_few(offset: int, copies: int, standings: Sequence[Standing]) -> NotEnoughCopiesError:
    """Return the error for an extent whose chunk has copies on nodes of these standings."""
    return NotEnoughCopiesError(
        f"The chunk at offset {offset} is not safe: {copies_shortage(copies, standings)}; send it"
        " again, and see: collective node list"
    )


def untrusted_nodes(db: apsw.Connection) -> Sequence[int]:
    """Return the numbers of nodes whose copies do not count and which have stored ones still."""
    found: Any = db.execute(
        f"SELECT n.id FROM nodes n WHERE NOT ({TRUSTED}) AND n.stored > 0"
    ).fetchall()
    return [row[0] for row in found]
