"""The addresses of this machine, as its own routes say; nothing is sent to find them out."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
from typing import Final

_PORT: Final = 9
_NOWHERE: Final = {socket.AF_INET: "192.0.2.1", socket.AF_INET6: "2001:db8::1"}
"""Addresses for documentation (RFC 5737, RFC 3849): no packet is sent to choose a route to one."""
_ADDR_PREFERENCES: Final = 72
_PREFER_PUBLIC: Final = 0x0002
"""Of Linux, ipv6(7) and linux/in6.h (RFC 5014); the socket module has no names for them."""


def own_address(towards: str = "") -> str:
    """Return the IP address by which this machine would reach ``towards``, else the world; "" for none.

    An IPv4 address where there is a way by one, else an IPv6 address, global or unique local.  Never a
    link-local one, which means nothing on another link, and no temporary one (RFC 8981) where there is another.
    """
    for family, nowhere in _NOWHERE.items():
        found = _chosen(family, towards or nowhere)
        if found:
            return found
    return ""


def _chosen(family: socket.AddressFamily, towards: str) -> str:
    """Return the source address of the route to ``towards``; "" where there is none, or none for others."""
    with (
        contextlib.suppress(OSError, UnicodeError),
        socket.socket(family, socket.SOCK_DGRAM) as chooser,
    ):
        if family is socket.AF_INET6:
            with contextlib.suppress(OSError):  # without it the kernel may choose a temporary one
                chooser.setsockopt(socket.IPPROTO_IPV6, _ADDR_PREFERENCES, _PREFER_PUBLIC)
        chooser.connect((towards, _PORT))
        found = str(chooser.getsockname()[0])
        if not ipaddress.ip_address(found).is_link_local:
            return found
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
