"""What answers to a challenge prove, and how often nodes are challenged; pure decisions.

A challenge is a fresh nonce; the answer is BLAKE3 keyed with it over a copy's stored bytes.  An honest
node compares the bytes with the chunk's id before it answers, and says *missing* or *corrupt* where that
is so.  So a wrong answer is a lie, and two equal answers come from the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final, TypeVar

from collective.model.copies import Finding, Verdict

K = TypeVar("K")

SAMPLE_EVERY_S: Final = 6 * 3600.0
"""A node is asked for one of its copies, drawn at random, this often on average."""
CLEAR_AFTER: Final = 24
"""So many right answers in a row clear a node that is in doubt …"""
CLEAR_OVER_S: Final = 6 * 3600.0
"""… if they are spread over so long."""
UNPROVED_AFTER: Final = 5
"""So many samples without one that proved anything put a node in doubt …"""
UNPROVED_OVER_S: Final = 20 * 3600.0
"""… if they are spread over so long."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One node's answer about one copy."""

    finding: Finding
    digest: bytes = b""


UNREAD: Final = Answer(Finding.UNREAD)
_PLAIN: Final = {
    Finding.MISSING: Verdict.MISSING,
    Finding.CORRUPT: Verdict.CORRUPT,
    Finding.UNREAD: Verdict.OPEN,
}


def judge(
    answers: Mapping[K, Answer], *, truth: bytes | None = None, witness: K | None = None
) -> Mapping[K, Verdict] | None:
    """Return the verdict on each copy; None where the chunk's bytes must be read to tell.

    Args:
        answers: by copy, all to one nonce about one chunk.
        truth: the right answer, computed from bytes that match the chunk's id.
        witness: without ``truth``, the copy that must be among those which agree.

    Without ``truth`` answers settle something only where at least two are given and all are equal: a
    majority proves nothing.
    """
    given = {key: one.digest for key, one in answers.items() if one.finding is Finding.SOUND}
    if truth is None and given:
        told = set(given.values())
        if len(given) == 1 or len(told) > 1 or (witness is not None and witness not in given):
            return None
        (truth,) = told
    return {
        key: _PLAIN.get(one.finding) or (Verdict.PROVEN if one.digest == truth else Verdict.LIED)
        for key, one in answers.items()
    }


@dataclass(frozen=True, slots=True)
class Record:
    """How a node did in its samples: right ones since the last wrong one, open ones since the last right."""

    right: int = 0
    first_s: float = 0.0
    """Monotonic seconds of the first right answer."""
    last_s: float = 0.0
    unproved: int = 0
    """Samples that stayed open."""
    unproved_first_s: float = 0.0
    unproved_last_s: float = 0.0

    def after(self, verdict: Verdict, now_s: float) -> Record:
        """Return the record after one more sample; only a right one ends a row of open ones."""
        if verdict is Verdict.OPEN:
            first_s = self.unproved_first_s if self.unproved else now_s
            return replace(
                self,
                unproved=self.unproved + 1,
                unproved_first_s=first_s,
                unproved_last_s=now_s,
            )
        if verdict is not Verdict.PROVEN:
            return replace(self, right=0, first_s=0.0, last_s=0.0)
        if not self.right:
            return Record(1, now_s, now_s)
        return Record(self.right + 1, self.first_s, now_s)

    @property
    def proves_nothing(self) -> bool:
        """Whether the node was asked often enough, over long enough, without proving anything."""
        spread_s = self.unproved_last_s - self.unproved_first_s
        return self.unproved >= UNPROVED_AFTER and spread_s >= UNPROVED_OVER_S

    @property
    def is_clear(self) -> bool:
        """Whether a node that was in doubt has proved itself."""
        return self.right >= CLEAR_AFTER and self.last_s - self.first_s >= CLEAR_OVER_S


def next_sample_s(*, is_doubted: bool, uniform: Callable[[], float]) -> float:
    """Return seconds until a node is sampled again: between half and one and a half of the mean.

    Nobody can tell when.  A node in doubt is asked more often, so that it can be cleared.
    """
    mean_s = CLEAR_OVER_S / (CLEAR_AFTER / 2) if is_doubted else SAMPLE_EVERY_S
    return mean_s * (0.5 + uniform())
