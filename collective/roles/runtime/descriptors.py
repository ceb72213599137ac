"""How many files and connections a process that serves may come to want."""

from __future__ import annotations

from typing import Final

from collective.core.settings import ServeSettings
from collective.roles.runtime import http
from collective.rpc.server.acceptor import HANDSHAKES_MAX
from collective.rpc.server.connection_limits import CERTIFIED, UNCERTIFIED

OWN: Final = 512
"""For one role's own use: databases, chunks, logs, and the connections that it opens itself."""


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
