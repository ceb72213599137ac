"""Refusals on their way into the audit: joined, bounded, and never dropped in silence.

The same refusal (who, what, on what, why, from where) is one row for :data:`WINDOW_S`, with a
count.  Whoever is refused in too many ways in that time has the rest joined into one row of theirs,
and when too many are refused, all further ones share one row; both say so.  What was noted is
written with the next upkeep or the next page of the audit, and kept in memory until it is durable.
What a peer is refused counts for that peer, whomever it names.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from collective.model.audit import Refusal

WINDOW_S: Final = 600.0
KINDS_PER_SOURCE_MAX: Final = 100
"""Different refusals of one caller from one address in a window."""
KINDS_PER_ACTOR_MAX: Final = 500
KINDS_MAX: Final = 2000
_TEXT_MAX: Final = 512
_ACTOR_MAX: Final = 1024
SEVERAL: Final = "several"
_JOINED_WHY: Final = "more kinds of refusals than are listed singly"

Key = tuple[str, str, str, str, str]


@dataclass(slots=True)
class Counted:
    """One row of the audit in the making."""

    refusal: Refusal
    first_ms: int
    last_ms: int
    count: int = 1
    row: int | None = None
    written: int = 0

    def detail(self) -> str:
        """Return the text of the row, which begins with ``denied``."""
        text = f"denied: {self.refusal.why}" if self.refusal.why else "denied"
        if self.refusal.source:
            text += f" [from {self.refusal.source}]"
        if self.count > 1:
            last = datetime.fromtimestamp(self.last_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            text += f" [{self.count} times, last {last}]"
        return text


class RefusalBook:
    """Refusals of the windows that are open; bounded in memory."""

    def __init__(self) -> None:
        """Know of none."""
        self._open: dict[Key, Counted] = {}
        self._kinds: dict[tuple[str, str | None], int] = {}

    def note(self, refusal: Refusal, now_ms: int) -> None:
        """Count one refusal."""
        refusal = _cut(refusal)
        known = self._open.get(_key(refusal))
        if known is None and self._is_full(refusal):
            actor = SEVERAL if len(self._open) >= KINDS_MAX else _accountable(refusal)
            refusal = Refusal(actor, SEVERAL, "", _JOINED_WHY)
            known = self._open.get(_key(refusal))
        if known is None:
            self._count(refusal, 1)
        elif _is_open(known, now_ms) or known.count > known.written:
            known.count += 1
            known.last_ms = now_ms
            return
        self._open[_key(refusal)] = Counted(refusal, now_ms, now_ms)

    def unwritten(self) -> list[tuple[Counted, int, str]]:
        """Return the rows that changed since they were written, with count and text of now."""
        return [
            (one, one.count, one.detail()) for one in self._open.values() if one.count > one.written
        ]

    def forget_ended(self, now_ms: int) -> None:
        """Let go of windows that have ended and whose rows are written."""
        for key, one in list(self._open.items()):
            if one.count == one.written and not _is_open(one, now_ms):
                del self._open[key]
                self._count(one.refusal, -1)

    def _is_full(self, refusal: Refusal) -> bool:
        return (
            len(self._open) >= KINDS_MAX
            or self._kinds.get((_accountable(refusal), refusal.source), 0) >= KINDS_PER_SOURCE_MAX
            or self._kinds.get((_accountable(refusal), None), 0) >= KINDS_PER_ACTOR_MAX
        )

    def _count(self, refusal: Refusal, change: int) -> None:
        who = _accountable(refusal)
        for key in ((who, refusal.source), (who, None)):
            left = self._kinds.get(key, 0) + change
            if left:
                self._kinds[key] = left
            else:
                self._kinds.pop(key, None)


def _accountable(refusal: Refusal) -> str:
    return refusal.accountable or refusal.actor


def _key(refusal: Refusal) -> Key:
    return (refusal.actor, refusal.action, refusal.target, refusal.why, refusal.source)


def _is_open(one: Counted, now_ms: int) -> bool:
    return abs(now_ms - one.first_ms) < WINDOW_S * 1000


def _cut(refusal: Refusal) -> Refusal:
    return Refusal(
        refusal.actor[:_ACTOR_MAX],
        refusal.action[:_TEXT_MAX],
        refusal.target[:_TEXT_MAX],
        refusal.why[:_TEXT_MAX],
        refusal.source[:_TEXT_MAX],
        refusal.request_id,
        refusal.accountable[:_ACTOR_MAX],
    )
