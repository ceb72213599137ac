"""A disk that stops at a change of names: what is on it is as a killed process leaves it."""

from __future__ import annotations

from collective.core.disk import OsDisk


class StoppedError(Exception):
    """The process would be dead from here on."""


class CrashingDisk(OsDisk):
    """Stops at the n-th change of names, before or after doing it."""

    def __init__(self, at: int) -> None:
        self._left = at

    def _step(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise StoppedError

    def rename(self, source: str, target: str) -> None:
        self._step()
        super().rename(source, target)
        self._step()

    def sync_dir(self, path: str) -> None:
        self._step()
        super().sync_dir(path)
