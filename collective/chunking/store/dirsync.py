"""Directory flushes shared by those who wait for the same directory."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from collective.core.disk import Disk


@dataclass(slots=True)
class _State:
    started: int = 0
    finished: int = 0
    running: bool = False
    users: int = 0


class DirSyncer:
    """Group commit for names: a flush that starts after a change covers it, wherever it was started."""

    def __init__(self, disk: Disk) -> None:
        """Flush directories of ``disk``."""
        self._disk = disk
        self._ready = threading.Condition()
        self._states: dict[str, _State] = {}

    def sync(self, path: str) -> None:
        """Return when every change of names made in ``path`` before this call is durable."""
        with self._ready:
            state = self._states.setdefault(path, _State())
            state.users += 1
            wanted = state.started + 1
            try:
                while state.finished < wanted:
                    if state.running:
                        self._ready.wait()
                    else:
                        self._flush(path, state)
            finally:
                state.users -= 1
                if not state.users:
                    del self._states[path]

    def _flush(self, path: str, state: _State) -> None:
        state.started += 1
        state.running = True
        number = state.started
        done = False
        self._ready.release()
        try:
            self._disk.sync_dir(path)
            done = True
        finally:
            self._ready.acquire()
            state.running = False
            if done:
                state.finished = number
            self._ready.notify_all()
