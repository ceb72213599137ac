"""``collective serve`` whose event loop hangs once it is ready; run as ``python -m tests.systemd.hung_loop …``."""

from __future__ import annotations

import asyncio
import threading

from collective.__main__ import main
from collective.roles.runtime.notify import Notifier

_ready = Notifier.ready


def hang_for_ever() -> None:
    threading.Event().wait()


def ready_and_hang(self: Notifier, status: str) -> None:
    _ready(self, status)
    asyncio.get_running_loop().call_soon(hang_for_ever)


Notifier.ready = ready_and_hang  # type: ignore[method-assign]
main()
