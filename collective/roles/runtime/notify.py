"""Messages to the service manager (sd_notify), without a library.

Source: sd_notify(3).  Without ``NOTIFY_SOCKET`` every message is dropped; a manager that is gone
never hurts us.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from contextlib import suppress


class Notifier:
    """Sends state to the service manager that started this process."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        """Read ``NOTIFY_SOCKET`` and ``WATCHDOG_USEC`` from ``environment``."""
        path = environment.get("NOTIFY_SOCKET", "")
        self._address = "\0" + path[1:] if path.startswith("@") else path
        micros = environment.get("WATCHDOG_USEC", "")
        self.watchdog_interval_s = int(micros) / 2e6 if micros.isdecimal() and int(micros) else None
        """Half the time that the manager waits for a sign of life; None if it does not."""

    def ready(self, status: str) -> None:
        """Say that the process can serve."""
        self._send(f"READY=1\nSTATUS={status}")

    def stopping(self) -> None:
        """Say that the process ends on purpose."""
        self._send("STOPPING=1\nSTATUS=draining")

    def alive(self) -> None:
        """Give the sign of life that the watchdog wants."""
        self._send("WATCHDOG=1")

    def status(self, status: str) -> None:
        """Say in words what the process does."""
        self._send(f"STATUS={status}")

    def _send(self, message: str) -> None:
        if not self._address:
            return
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
            out.setblocking(False)
            out.sendto(message.encode(), self._address)
