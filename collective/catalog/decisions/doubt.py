"""When a node is put in doubt, and what it is when the doubt ends: pure.

What shows that no honest node speaks: a wrong answer to a challenge (here), a receipt of another length
than its ticket's (``receipts``), and samples that are never answered (``member.care.sampling``).
"""

from __future__ import annotations

from collective.model.copies import Verdict
from collective.model.nodes import Standing


def doubt_by(verdict: Verdict, why: str) -> str | None:
    """Return why the node of a copy is in doubt by a verdict; None: it is not."""
    return (why or "it answered a challenge wrongly") if verdict is Verdict.LIED else None


def is_new_doubt(standing: Standing | None) -> bool:
    """Tell whether a doubt changes a node's standing: not where it has gone (None), or is doubted already.

    The first reason stands.
    """
    return standing is not None and standing is not Standing.DOUBTED


def after_doubt(before: Standing | None) -> tuple[Standing, str]:
    """Return the standing of a node that is doubted no more, and why it is not approved.

    ``before`` is what it had; None where that was not noted: it was approved then.
    """
    if before is None or before is Standing.APPROVED:
        return Standing.APPROVED, ""
    return before, "it was on probation before it was doubted"
