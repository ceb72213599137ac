"""Which certificates are renewed, when (at two thirds of their life), and what is waited between tries."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from collective.core.ids import SpiffeRole
from collective.pki.certificates import Certified

if TYPE_CHECKING:
    from collective.core.backoff import Backoff

RENEWABLE: Final[frozenset[SpiffeRole]] = frozenset(("node", "user", "bootstrap"))
"""Roles whose certificates the coordinator renews; its own it issues itself."""

_DUE_AT: Final = 2 / 3


def renewal_due_s(certified: Certified) -> float:
    """Return the Unix time at which ``certified`` is to be renewed."""
    life_s = certified.expires_s - certified.not_before_s
    return certified.not_before_s + life_s * _DUE_AT


def is_due(certified: Certified, now_s: float) -> bool:
    """Tell whether ``certified`` is to be renewed now (also when it ran out)."""
    return now_s >= renewal_due_s(certified)


RETRY_LEAST_S: Final = 30.0
RETRY_MOST_S: Final = 3600.0
CHECK_MOST_S: Final = 6 * 3600.0
"""The longest sleep between two looks at the wall clock, which may jump."""
LOOK_LEAST_S: Final = 0.5
_LIFE_PARTS: Final = 24
"""Waits are at most such a part of the certificate's life, so that very short ones renew in time."""


def next_look_s(certified: Certified, now_s: float) -> float:
    """Return seconds to sleep before looking again."""
    least_s = retries(certified).least_s
    return min(max(renewal_due_s(certified) - now_s, least_s), CHECK_MOST_S)


def retries(certified: Certified) -> Backoff:
    """Return how long to wait after tries that failed: the shorter its life, the less."""
    from collective.core.backoff import Backoff  # noqa: PLC0415 - short commands only look

    part_s = max((certified.expires_s - certified.not_before_s) / _LIFE_PARTS, LOOK_LEAST_S)
    return Backoff(min(RETRY_LEAST_S, part_s), min(part_s, RETRY_MOST_S))
