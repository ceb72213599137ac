"""What becomes of a node's standing, and of the store that it came with: pure.

The rules by which standing counts are ``placement.evidence``'s.
"""

from __future__ import annotations

from collective.core.errors import ConflictError, NotFoundError
from collective.core.ids import NodeId, StoreUuid
from collective.model.nodes import Approval, Standing


def unknown_node(node: NodeId) -> NotFoundError:
    """Return the error for a node that is not enrolled, or not any more."""
    return NotFoundError(f"There is no node {node}; run: collective node list")


def is_first_store(node: NodeId, known: StoreUuid | None, store: StoreUuid) -> bool:
    """Tell whether a node's store is to be noted; ConflictError where it came with another before."""
    if known is not None and known != store:
        raise ConflictError(
            f"Node {node} came with another store than before; mount its old disk, or remove the node"
            " and enrol it under a new id."
        )
    return known is None


def approves(found: Approval, doubted_for: str, *, even_doubted: bool) -> bool:
    """Tell whether an approval changes anything.

    Args:
        found: what the node was.
        doubted_for: why it is doubted, if it is.
        even_doubted: the operator trusts it all the same.

    Raises:
        ConflictError: it is doubted, and the operator did not say so.
    """
    if found.was is Standing.DOUBTED and not even_doubted:
        raise ConflictError(
            f"Node {found.node} is doubted: {doubted_for}. If you trust it all the same: collective"
            f" node approve {found.node} --yes"
        )
    return found.was is not Standing.APPROVED or found.was_new


def after_doubt(before: Standing) -> tuple[Standing, str]:
    """Return the standing of a node that is doubted no more, and why it is not approved."""
    if before is Standing.APPROVED:
        return before, ""
    return before, "it was on probation before it was doubted"
