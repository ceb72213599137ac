"""Messages to the service manager (sd_notify), without a library.

Source: sd_notify(3).  Without ``NOTIFY_SOCKET`` every message is dropped; a manager that is gone
never hurts us.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

START_LEASE_S: Final = 60
"""How much longer a start may take at least, from each sign of life on."""


class Notifier:
    """Sends state to the service manager that started this process."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        """Read ``NOTIFY_SOCKET`` and ``WATCHDOG_USEC`` from ``environment``."""
        path = environment.get("NOTIFY_SOCKET", "")
        self._address = "\0" + path[1:] if path.startswith("@") else path
        micros = environment.get("WATCHDOG_USEC", "")
        self.watchdog_interval_s = int(micros) / 2e6 if micros.isdecimal() and int(micros) else None
        """Half the time that the manager waits for a sign of life; None if it does not."""
        self._is_starting = True

    def ready(self, status: str) -> None:
        """Say that the process can serve."""
        self._is_starting = False
        self._send(f"READY=1\nSTATUS={status}")

    def reloading(self, monotonic_s: float) -> None:
        """Say that settings are read again; :meth:`ready` says that it is over."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={int(monotonic_s * 1e6)}")

    def stopping(self) -> None:
        """Say that the process ends on purpose."""
        self._send("STOPPING=1\nSTATUS=draining")

    def alive(self) -> None:
        """Give the sign of life that the watchdog wants; while it starts, ask for more time as well."""
        lease = f"\nEXTEND_TIMEOUT_USEC={START_LEASE_S * 1_000_000}" if self._is_starting else ""
        self._send(f"WATCHDOG=1{lease}")

    def status(self, status: str) -> None:
        """Say in words what the process does."""
        self._send(f"STATUS={status}")

    def _send(self, message: str) -> None:
        if not self._address:
            return
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
            out.setblocking(False)
            out.sendto(message.encode(), self._address)
