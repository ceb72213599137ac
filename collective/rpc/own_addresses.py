"""The addresses of this machine, as its own routes say; nothing is sent to find them out."""

from __future__ import annotations

import contextlib
import socket
from typing import Final

_NOWHERE: Final = ("192.0.2.1", 9)
"""An address for documentation (RFC 5737): no packet is sent to choose a route to it."""


def own_address(towards: str = "") -> str:
    """Return the IP address by which this machine would reach ``towards``, else the world; "" for none."""
    with (
        contextlib.suppress(OSError, UnicodeError),
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as chooser,
    ):
        chooser.connect((towards, _NOWHERE[1]) if towards else _NOWHERE)
        return str(chooser.getsockname()[0])
    return ""


def is_own(ip: str) -> bool:
    """Tell whether ``ip`` is an address of this machine."""
    family = socket.AF_INET6 if ":" in ip else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.bind((ip, 0))
    except OSError:
        return False
    return True
