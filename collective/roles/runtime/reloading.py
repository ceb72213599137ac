"""Reading the settings again while the process serves: SIGHUP.

What a role can take into use without a restart it says itself; everything else that has changed is
named in the log and waits for the next start.  Settings that are wrong change nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Final, Protocol, runtime_checkable

import structlog

from collective.core.errors import CollectiveError
from collective.core.settings import ServeSettings
from collective.core.work import IDLE, Outcome, Worker
from collective.core.world import Runs
from collective.roles.runtime import logs
from collective.roles.runtime.notify import Notifier

LOG_LEVEL: Final = "log_level"


@runtime_checkable
class Reloads(Protocol):
    """A role that takes some settings into use while it serves."""

    @property
    def reloadable(self) -> frozenset[str]:
        """Names of the attributes of ServeSettings that :meth:`reload` acts upon."""
        ...

    async def reload(self, settings: ServeSettings) -> None:
        """Take ``settings`` into use, of which only what is reloadable differs from before.

        Repeatable: called again with the same settings it changes nothing.

        Raises:
            CollectiveError: something of it cannot be; what was changed until then holds.
        """
        ...


@dataclass(frozen=True, slots=True)
class Source:
    """Where the settings come from, and when they are to be read again."""

    read: Callable[[], ServeSettings]
    """Reads flags, variables and the settings file.  Blocking; raises SettingsError."""
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    """Set by SIGHUP."""


class Reload(Worker):
    """Reads the settings again whenever it is asked to; for a process that is ready."""

    name = "reload"

    def __init__(
        self,
        settings: ServeSettings,
        source: Source,
        roles: Sequence[object],
        notifier: Notifier,
        threads: Runs,
    ) -> None:
        """Compare with ``settings``, which the process was started with."""
        self._current = settings
        self._source = source
        self._roles = tuple(role for role in roles if isinstance(role, Reloads))
        self._notifier = notifier
        self._threads = threads
        self._names = ", ".join(sorted(settings.roles))
        self._log = structlog.get_logger("collective.runtime.reload")

    @property
    def current(self) -> ServeSettings:
        """The settings in use."""
        return self._current

    async def work(self) -> Outcome:
        """Read again if that was asked for."""
        if not self._source.asked.is_set():
            return IDLE
        self._source.asked.clear()
        self._notifier.reloading(asyncio.get_running_loop().time())
        try:
            await self._apply(await self._threads.run(self._source.read))
        except CollectiveError as error:
            self._log.error("settings not reloaded", reason=error.message)
        finally:
            self._notifier.ready(f"serving {self._names}")
        return IDLE

    async def wait(self) -> None:
        """Wait until it is asked for."""
        await self._source.asked.wait()

    async def _apply(self, found: ServeSettings) -> None:
        changed = [
            one.name
            for one in fields(ServeSettings)
            if getattr(found, one.name) != getattr(self._current, one.name)
        ]
        allowed = {LOG_LEVEL}.union(*(role.reloadable for role in self._roles))
        taken = {name: getattr(found, name) for name in changed if name in allowed}
        settings = replace(self._current, **taken)
        if LOG_LEVEL in taken:
            logs.set_level(settings.log_level)
        if taken.keys() - {LOG_LEVEL}:
            for role in self._roles:
                await role.reload(settings)
        self._current = settings
        waiting = [name for name in changed if name not in allowed]
        self._log.info("settings reloaded", changed=sorted(taken))
        if waiting:
            self._log.warning("settings that need a restart", changed=waiting)
