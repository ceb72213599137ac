"""Waits until a unit's process is ready: a node is so once it has enrolled and its coordinator has answered.

What systemd says of a unit that is to be restarted is about the former process for a while; it tells the runs of a
unit apart by an id.
"""

from __future__ import annotations

import shlex
import subprocess
from typing import Final, NamedTuple

from collective.cli.setup.placing import Place
from collective.cli.terminal.interrupts import ending_in_order
from collective.cli.terminal.progress import Line
from collective.cli.unit_files import unit_of
from collective.core.errors import NotJoinedError
from collective.core.world import World

WAIT_S: Final = 60.0
"""How long a node may take, which has a coordinator that answers, before somebody should look."""
_LOOK_S: Final = 0.5


class _State(NamedTuple):
    """Of a unit."""

    word: str
    """``active``, ``activating``, ``failed`` or another of systemd's words."""
    run: str
    """The id of its newest run; empty before the first."""


def run_of(place: Place) -> str:
    """Return the id of the newest run of ``place``'s unit; empty where it has not run, or systemd does not run it."""
    return _state(unit_of(place.name)).run if place.is_managed else ""


def wait_until_enrolled(place: Place, world: World, *, after: str) -> None:
    """Return when the node of ``place`` is ready; show meanwhile that it is waited for.

    Args:
        place: of the node.
        world: its clock and its pauses.
        after: the run of the unit that was there before this start, whose state says nothing.

    Raises:
        NotJoinedError: It ended, or is not ready after a minute; says how to see why.  It is tried on.
    """
    unit, line = unit_of(place.name), Line()
    until_s = world.clock.monotonic_s() + WAIT_S
    try:
        while True:
            state = _state(unit)
            is_new = state.run != after
            if is_new and state.word == "active":
                return
            has_ended = is_new and state.word == "failed"
            left_s = until_s - world.clock.monotonic_s()
            if has_ended or left_s <= 0:
                raise NotJoinedError(_not_yet(unit, place, has_ended=has_ended))
            line.show(f"Waiting for the node to join: {left_s:.0f} s at most")
            with ending_in_order():
                world.threads.pause(_LOOK_S)
    finally:
        line.clear()


def _state(unit: str) -> _State:
    asked = ["systemctl", "show", "--property=ActiveState,InvocationID", unit]
    done = subprocess.run(asked, check=False, capture_output=True, text=True)  # noqa: S603 - fixed
    told = dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)
    return _State(told.get("ActiveState", ""), told.get("InvocationID", ""))


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
