"""How many files and connections the process may have open, and how many it may come to want."""

from __future__ import annotations

import resource
from collections.abc import Callable
from typing import Final

from collective.core.settings import ServeSettings
from collective.roles.runtime import http
from collective.rpc.acceptor import HANDSHAKES_MAX
from collective.rpc.connection_limits import CERTIFIED, UNCERTIFIED

OWN: Final = 512
"""For one role's own use: databases, chunks, logs, and the connections that it opens itself."""
RAISED_MAX: Final = 1 << 20
"""A hard limit beyond that is as good as none, and not all libraries bear it."""

Limits = tuple[int, int]


def wanted(settings: ServeSettings) -> int:
    """Return how many descriptors are taken when every bound of this process is reached."""
    most = http.CONNECTIONS_MAX if settings.metrics_address is not None else 0
    for role in settings.roles:
        most += OWN
        if role != "bootstrap":
            most += CERTIFIED.in_all + HANDSHAKES_MAX
    if settings.bootstrap_address is not None and settings.roles & {"coordinator", "bootstrap"}:
        most += UNCERTIFIED.in_all + HANDSHAKES_MAX
    return most


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
