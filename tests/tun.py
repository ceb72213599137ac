"""TUN devices: a network interface whose packets a process takes and gives as a file.

A device takes and gives TCP segments of up to 64 KiB that the kernel has not cut yet (GSO), each behind
a header of virtio, so that a process in Python is no narrower than the wire that it stands for.
"""

from __future__ import annotations

import fcntl
import os
import struct
from typing import Final

HEADER_BYTES: Final = 10
"""Of virtio, before each packet."""
PACKET_MAX_BYTES: Final = 70_000
_DEVICE: Final = "/dev/net/tun"
_TUNSETIFF: Final = 0x400454CA
_TUNSETOFFLOAD: Final = 0x400454D0
_IFF: Final = 0x0001 | 0x1000 | 0x4000  # TUN, no packet information, a header of virtio
_OFFLOAD: Final = 0x01 | 0x02  # checksums, TCP segments over IPv4


def why_not() -> str:
    """Return why no device can be made here; empty where it can."""
    if os.geteuid() != 0:
        return "needs root"
    return "" if os.path.exists(_DEVICE) else f"needs {_DEVICE}"


def open_tun(name: str) -> int:
    """Make a device in this thread's network and return its descriptor, which does not block."""
    device = os.open(_DEVICE, os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(device, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _IFF))
    take_whole_segments(device, is_wanted=True)
    return device


def take_whole_segments(device: int, *, is_wanted: bool) -> None:
    """Say whether the kernel hands over segments before it cuts them into packets."""
    fcntl.ioctl(device, _TUNSETOFFLOAD, _OFFLOAD if is_wanted else 0)
