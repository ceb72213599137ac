"""How many files and connections this process may have open at once."""

from __future__ import annotations

import resource
from collections.abc import Callable
from typing import Final

RAISED_MAX: Final = 1 << 20
"""A hard limit beyond that is as good as none, and not all libraries bear it."""

Limits = tuple[int, int]


def raise_limit(
    limits: Callable[[], Limits] = lambda: resource.getrlimit(resource.RLIMIT_NOFILE),
    set_limits: Callable[[Limits], None] = lambda to: resource.setrlimit(
        resource.RLIMIT_NOFILE, to
    ),
) -> int:
    """Raise the soft limit of open files to the hard one; return what is allowed then."""
    soft, hard = limits()
    if soft == resource.RLIM_INFINITY:
        return RAISED_MAX
    target = RAISED_MAX if hard == resource.RLIM_INFINITY else min(hard, RAISED_MAX)
    if target <= soft:
        return soft
    try:
        set_limits((target, hard))
    except (OSError, ValueError):  # a kernel with a lower limit of its own
        return soft
    return target
