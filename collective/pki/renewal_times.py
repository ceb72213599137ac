"""Which certificates are renewed, and when: at two thirds of their life."""

from __future__ import annotations

from typing import Final

from collective.core.ids import SpiffeRole
from collective.pki.certificates import Certified

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


def has_expired(certified: Certified, now_s: float) -> bool:
    """Tell whether ``certified`` ran out, so that only the bootstrap can renew it."""
    return now_s > certified.expires_s
