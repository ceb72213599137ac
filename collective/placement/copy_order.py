"""In which order the copies of a chunk are sent to and read from: by how their nodes are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from collective.core.ids import NodeId
from collective.model.copies import Copy
from collective.model.nodes import NodeState

_READ_ORDER: Final = {
    NodeState.UP: 0,
    NodeState.DRAINING: 1,
    NodeState.SUSPECT: 2,
    NodeState.DOWN: 3,
}
"""States a copy may be read in, best first; others give no route."""
_WRITE_ORDER: Final = {
    NodeState.UP: 0,
    NodeState.DRAINING: 1,
    NodeState.SUSPECT: 2,
}
"""States a chunk may be sent to; a doubtful hop comes last, so that it holds nobody up."""


def to_write(copies: Iterable[Copy], states: Mapping[NodeId, NodeState]) -> list[Copy]:
    """Return those of ``copies`` that may be sent; placement's order stands among nodes that are alike."""
    usable = [copy for copy in copies if states.get(copy.node) in _WRITE_ORDER]
    return sorted(usable, key=lambda copy: _WRITE_ORDER[states[copy.node]])


def to_read(
    copies: Iterable[Copy], states: Mapping[NodeId, NodeState], uniform: Callable[[], float]
) -> list[Copy]:
    """Return those of ``copies`` that may be read, best first, those in doubt last, alike ones by chance."""
    usable = [copy for copy in copies if states.get(copy.node) in _READ_ORDER]
    return sorted(
        usable,
        key=lambda copy: (copy.is_doubted, _READ_ORDER[states[copy.node]], uniform()),
    )
