"""What becomes of a node's standing, and of the store that it came with: pure.

The rules by which standing counts are ``placement.quorum``'s.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from collective.core.errors import ConflictError, NotFoundError
from collective.core.ids import NodeId, StoreUuid
from collective.model.nodes import Approval, Standing
from collective.model.people import Invite

FOUNDING_MS: Final = 24 * 3600 * 1000
"""How long after its catalogue was made a member is being founded, while it has no file."""


class Enrolment(NamedTuple):
    """What a node is worth that a code lets in."""

    standing: Standing
    reason: str
    """Why it is not approved; empty where it is."""
    is_founder: bool


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


def is_founding(until_ms: int | None, now_ms: int, *, has_files: bool) -> bool:
    """Tell whether the member is being founded still.

    Args:
        until_ms: when that ends at the latest; None: it ended before this was noted.
        now_ms: the time.
        has_files: some file was committed, be it removed since.
    """
    return not has_files and until_ms is not None and now_ms < until_ms


def enrolment_by(code: Invite, *, is_founding: bool) -> Enrolment:
    """Return what a node is worth that comes by ``code``.

    It is approved at once where the member is being founded, or its code has one use and was made by an
    admin who knew for which node; all others are on probation.
    """
    if is_founding or code.approves:
        return Enrolment(Standing.APPROVED, "", is_founding)
    return Enrolment(Standing.PROBATION, f"it enrolled by the code {code.id}", is_founding)


def stops_counting(refused_before: str, refused_now: str) -> bool:
    """Tell whether a node's copies stop counting because it is refused; another reason changes nothing."""
    return bool(refused_now) and not refused_before


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
