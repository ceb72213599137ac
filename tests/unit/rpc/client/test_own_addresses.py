"""Which of its addresses a machine is found at, by the routes that it has; the kernel is a fake one."""

from __future__ import annotations

import errno
import socket
from types import TracebackType
from typing import Any, Self

import pytest

from collective.rpc.client import own_addresses

Routes = dict[socket.AddressFamily, str]


class Chooser:
    """A socket that knows the source address for each family, and refuses what it has no route for."""

    def __init__(self, routes: Routes, family: socket.AddressFamily) -> None:
        self.routes, self.family = routes, family

    def __enter__(self) -> Self:
        if self.family not in self.routes and self.family is socket.AF_INET6:
            raise OSError(errno.EAFNOSUPPORT, "no IPv6 in this kernel")
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...

    def setsockopt(self, level: int, _option: int, _value: int) -> None:
        if level == socket.IPPROTO_IPV6:
            raise OSError(errno.ENOPROTOOPT, "an old kernel")

    def connect(self, address: tuple[str, int]) -> None:
        is_ipv6 = ":" in address[0]
        if self.family not in self.routes or is_ipv6 is not (self.family is socket.AF_INET6):
            raise OSError(errno.ENETUNREACH, "no route")

    def getsockname(self) -> tuple[Any, ...]:
        return (self.routes[self.family], 40000)


V4, V6 = socket.AF_INET, socket.AF_INET6


@pytest.mark.parametrize(
    ("routes", "towards", "found"),
    [
        ({V4: "192.168.1.7"}, "", "192.168.1.7"),
        ({V4: "192.168.1.7", V6: "2003:db::7"}, "", "192.168.1.7"),
        ({V4: "192.168.1.7", V6: "2003:db::7"}, "2003:db::9", "2003:db::7"),
        ({V6: "2003:db::7"}, "", "2003:db::7"),
        ({V6: "fd12:3456::7"}, "", "fd12:3456::7"),
        ({V6: "fe80::7%eth0"}, "", ""),
        ({V4: "169.254.1.2", V6: "fd12:3456::7"}, "", "fd12:3456::7"),
        ({}, "", ""),
    ],
)
def test_the_address_of_the_route_is_told(
    monkeypatch: pytest.MonkeyPatch, routes: Routes, towards: str, found: str
) -> None:
    monkeypatch.setattr(socket, "socket", lambda family, _kind: Chooser(routes, family))
    assert own_addresses.own_address(towards) == found
