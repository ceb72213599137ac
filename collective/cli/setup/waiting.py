"""Waits until a unit's process is ready: a node is so once it has enrolled and its coordinator has answered."""

from __future__ import annotations

import shlex
import subprocess
from typing import Final

from collective.cli.interrupts import ending_in_order
from collective.cli.progress import Line
from collective.cli.setup.placing import Place
from collective.cli.unit_files import unit_of
from collective.core.errors import NotJoinedError
from collective.core.world import World

WAIT_S: Final = 60.0
"""How long a node may take, which has a coordinator that answers, before somebody should look."""
_LOOK_S: Final = 0.5


def wait_until_enrolled(place: Place, world: World) -> None:
    """Return when the node of ``place`` is ready; show meanwhile that it is waited for.

    Raises:
        NotJoinedError: It ended, or is not ready after a minute; says how to see why.  It is tried on.
    """
    unit, line = unit_of(place.name), Line()
    until_s = world.clock.monotonic_s() + WAIT_S
    try:
        while (state := _state(unit)) != "active":
            left_s = until_s - world.clock.monotonic_s()
            if state == "failed" or left_s <= 0:
                raise NotJoinedError(_not_yet(unit, place, has_ended=state == "failed"))
            line.show(f"Waiting for the node to join: {left_s:.0f} s at most")
            with ending_in_order():
                world.threads.pause(_LOOK_S)
    finally:
        line.clear()


def _state(unit: str) -> str:
    """Return ``active``, ``activating``, ``failed`` or another of systemd's words."""
    asked = ["systemctl", "show", "--property=ActiveState", "--value", unit]
    done = subprocess.run(asked, check=False, capture_output=True, text=True)  # noqa: S603 - fixed
    return done.stdout.strip()


def _not_yet(unit: str, place: Place, *, has_ended: bool) -> str:
    what = (
        f"{unit} has ended and does not try again"
        if has_ended
        else f"The node runs, and has not joined within {WAIT_S:.0f} s; it goes on trying"
    )
    return (
        f"{what}. See why: journalctl -u {unit} -n 20, or"
        f" collective doctor --config {shlex.quote(place.settings)}"
    )
