"""When a certificate is renewed: at two thirds of its life."""

from __future__ import annotations

from typing import Final

from collective.pki.certificates import Certified

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
