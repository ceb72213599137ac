"""Where a node looks for its coordinator and bootstrap, as it learns of other addresses.

Each answer to a heartbeat says where the coordinator is.  What is new is kept on disk, so the node follows a
coordinator that moves as long as one of the addresses that it knows still answers.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import structlog

from collective.core.errors import CollectiveError, SettingsError
from collective.core.settings import ServeSettings
from collective.core.units import Address
from collective.core.world import World
from collective.model.nodes import Whereabouts
from collective.roles.node.enrolment_notes import NodeNotes, save_notes

KEPT_MAX: Final = 16
"""Addresses that are known of each."""


def coordinator_addresses(settings: ServeSettings, notes: NodeNotes) -> tuple[Address, ...]:
    """Return where to look for the coordinator: what was set first, then what it told."""
    own = settings.coordinator_address
    addresses = (own.near,) if own is not None else ()
    found = tuple(dict.fromkeys((*addresses, *notes.coordinator_addresses)))
    if not found:
        raise SettingsError("Set COLLECTIVE_COORDINATOR_ADDRESS: no coordinator is known.")
    return found


def useful(told: tuple[Address, ...], known: tuple[Address, ...]) -> tuple[Address, ...]:
    """Return those ``told`` that can lead from here to where ``known`` addresses led.

    A coordinator to which no address was given tells its own loopback; elsewhere that leads nowhere.
    """
    is_here = any(one.is_loopback for one in known)
    return tuple(one for one in told if is_here or not one.is_loopback)


def followed(told: tuple[Address, ...], known: tuple[Address, ...]) -> tuple[Address, ...]:
    """Return ``told`` before what else was ``known``: that may be a way which the coordinator knows nothing of.

    Where they are too many, the last one stays: it is the one that the node joined by.
    """
    found = tuple(dict.fromkeys((*useful(told, known), *known)))
    return found if len(found) <= KEPT_MAX else (*found[: KEPT_MAX - 1], found[-1])


class MemberAddresses:
    """Where to look now; keeps what is told."""

    def __init__(self, settings: ServeSettings, notes: NodeNotes, path: str, world: World) -> None:
        """Begin with ``settings`` and ``notes``, which are at ``path``; SettingsError if no coordinator is known."""
        self._notes = notes
        self.move(settings)
        self._path = path
        self._disk = world.disk
        self._threads = world.threads
        self._log = structlog.get_logger("collective.node.coordinator")

    @property
    def coordinator(self) -> tuple[Address, ...]:
        """Of the coordinator."""
        return coordinator_addresses(self._settings, self._notes)

    @property
    def bootstrap(self) -> tuple[Address, ...]:
        """Of the bootstrap; empty where none is known."""
        return self._notes.bootstrap_addresses

    def move(self, settings: ServeSettings) -> None:
        """Look where ``settings`` say, from now on; SettingsError, and all as before, if that is nowhere."""
        coordinator_addresses(settings, self._notes)
        self._settings = settings

    async def hear(self, told: Whereabouts) -> None:
        """Keep other addresses than before; where they cannot be written, they count until the end."""
        notes = replace(
            self._notes,
            coordinator_addresses=followed(told.coordinator, self._notes.coordinator_addresses),
            bootstrap_addresses=followed(told.bootstrap, self._notes.bootstrap_addresses),
        )
        if notes == self._notes:
            return
        self._notes = notes
        try:
            await self._threads.run(save_notes, self._path, notes, self._disk)
        except (CollectiveError, OSError) as error:
            self._log.error("addresses not kept", path=self._path, reason=str(error))
            return
        self._log.info(
            "addresses learnt",
            coordinator=[str(one) for one in notes.coordinator_addresses],
            bootstrap=[str(one) for one in notes.bootstrap_addresses],
        )
