"""What the catalogue lets go of: a copy under a guard goes only when enough others are there.

And what never changes: the length of a chunk.  Redundancy is replaced before it is removed.  The database itself tells when a guard falls, whichever
part of the product lifts it, and at that moment the nodes' disks are looked at.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from tests.simulation.process import BrokenPromiseError
from tests.simulation.truth import Truth

if TYPE_CHECKING:
    from tests.simulation.house import House

_TELL: Final = (
    "CREATE TEMP TRIGGER simulation_let_go AFTER UPDATE OF guard ON main.doomed"
    " WHEN old.guard > 0 AND new.guard = 0"
    " BEGIN SELECT simulation_let_go(new.node, new.hash, new.generation); END"
)
_LENGTH: Final = (
    "CREATE TEMP TRIGGER simulation_length AFTER UPDATE OF stored_length ON main.chunks"
    " WHEN old.stored_length <> new.stored_length"
    " BEGIN SELECT simulation_length(new.id, old.stored_length, new.stored_length); END"
)
_LET_GO: Final = (
    "SELECT k.id, k.wanted, n.name FROM doomed d JOIN nodes n ON n.id = d.node JOIN chunks k"
    " ON k.hash = d.hash AND k.stored_length = d.stored_length"
    " WHERE d.node = ? AND d.hash = ? AND d.generation = ? AND d.guard = 0 AND n.removed = 0"
    " AND EXISTS (SELECT 1 FROM extents x JOIN versions v ON v.id = x.version"
    " WHERE x.chunk = k.id AND v.state = 1)"
)
_OTHERS: Final = (
    "SELECT n.name, c.generation FROM copies c JOIN nodes n ON n.id = c.node"
    " WHERE c.chunk = ? AND c.state = 1 AND n.removed = 0"
)


class Guards:
    """Watches the guards of one run's catalogue."""

    def __init__(self, house: House) -> None:
        """Watch once :meth:`watch` was called."""
        self._house = house
        self._truth = Truth(house.member)
        self._watched: Any = None

    def watch(self) -> None:
        """Watch the database that the coordinator has open now; called again and again."""
        database = self._truth.database()
        if database is None or database is self._watched:
            return
        self._watched = database
        for name, trigger, judge in (
            ("simulation_let_go", _TELL, self._judge),
            ("simulation_length", _LENGTH, self._judge_length),
        ):
            database.create_scalar_function(name, _hearing(judge), 3)
            database.execute(trigger)

    def _judge_length(self, row: int, before: int, after: int) -> None:
        """Raise BrokenPromiseError: what is stored as a chunk has one length, whatever a node says."""
        raise BrokenPromiseError(f"the length of chunk {row} was changed from {before} to {after}")

    def _judge(self, node: int, chunk: bytes, generation: int) -> None:
        """Raise BrokenPromiseError where a good copy of what a file has goes, and too few others are good.

        An older one goes beside a newer one of its node.
        """
        if self._truth.database() is not self._watched:
            return
        for row, wanted, name in self._truth.rows(_LET_GO, node, chunk, generation):
            if not self._truth.may_be_good(name, chunk, generation):
                continue
            good = {
                other
                for other, number in self._truth.rows(_OTHERS, row)
                if self._truth.may_be_good(other, chunk, number)
            }
            if len(good) < wanted and name not in good:
                raise BrokenPromiseError(
                    f"a copy of {chunk.hex()[:16]} on {name} was let go, and of {wanted} others that"
                    f" are wanted those on {sorted(good)} alone are good"
                )


def _hearing(judge: Callable[..., None]) -> Callable[..., None]:
    """Return what has ``judge`` look when the change that is under way is done."""
    kept = weakref.WeakMethod(judge)  # the engine keeps what it is given

    def hear(*what: Any) -> None:
        if (alive := kept()) is not None:
            asyncio.get_running_loop().call_soon(alive, *what)

    return hear
