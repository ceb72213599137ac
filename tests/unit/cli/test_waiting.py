"""``join`` ends when the node has joined, or says after a while that it has not, and how to see why."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from collective.cli.setup.placing import Place
from collective.cli.setup.waiting import WAIT_S, wait_until_enrolled
from collective.core.clock import ManualClock
from collective.core.errors import NotJoinedError
from collective.core.world import World
from tests.worlds import REAL

PLACE = Place.of("/etc/collective/node2.toml")
UNIT = "collective-node2.service"
Saying = Callable[..., World]


class Pauses:
    """Threads whose pauses move a clock."""

    def __init__(self, clock: ManualClock) -> None:
        self._clock = clock

    def pause(self, seconds: float) -> None:
        self._clock.advance(seconds)


@pytest.fixture
def saying(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Saying:
    """Have systemd say these states, one after the other and the last for good; return a world.

    Each is a word, and after a blank the run that it is of.
    """

    def prepare(*states: str) -> World:
        told = tmp_path / "states"
        lines = (" ".join((*one.split(), "new")[:2]) for one in states)
        told.write_text("\n".join(lines) + "\n")
        asked = tmp_path / "systemctl"
        asked.write_text(
            f'#!/bin/sh\n[ "$*" = "show --property=ActiveState,InvocationID {UNIT}" ] || exit 1\n'
            f'read -r word run < {told}\necho "InvocationID=$run"\necho "ActiveState=$word"\n'
            f"[ $(wc -l < {told}) -gt 1 ] && sed -i 1d {told}\nexit 0\n"
        )
        asked.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
        clock = ManualClock()
        return REAL._replace(clock=clock, threads=Pauses(clock))  # type: ignore[arg-type]

    return prepare


def test_it_ends_when_the_unit_is_active(saying: Saying) -> None:
    world = saying("activating", "activating", "active")
    before_s = world.clock.monotonic_s()
    wait_until_enrolled(PLACE, world, after="old")
    assert world.clock.monotonic_s() - before_s == pytest.approx(1.0)


def test_after_a_minute_it_says_how_to_see_why(saying: Saying) -> None:
    world = saying("activating")
    before_s = world.clock.monotonic_s()
    with pytest.raises(NotJoinedError) as caught:
        wait_until_enrolled(PLACE, world, after="old")
    assert world.clock.monotonic_s() - before_s == pytest.approx(WAIT_S)
    assert f"journalctl -u {UNIT}" in caught.value.message
    assert "collective doctor --config /etc/collective/node2.toml" in caught.value.message
    assert caught.value.exit_code == 5


def test_a_unit_that_failed_is_not_waited_for(saying: Saying) -> None:
    world = saying("activating", "failed")
    before_s = world.clock.monotonic_s()
    with pytest.raises(NotJoinedError, match="does not try again"):
        wait_until_enrolled(PLACE, world, after="old")
    assert world.clock.monotonic_s() - before_s == pytest.approx(0.5)


def test_what_is_said_of_the_run_before_the_restart_is_not_believed(saying: Saying) -> None:
    world = saying("active old", "deactivating old", "activating", "active")
    before_s = world.clock.monotonic_s()
    wait_until_enrolled(PLACE, world, after="old")
    assert world.clock.monotonic_s() - before_s == pytest.approx(1.5)


def test_that_the_run_before_failed_ends_no_wait(saying: Saying) -> None:
    wait_until_enrolled(PLACE, saying("failed old", "activating", "active"), after="old")


def test_a_unit_that_stays_as_it_was_is_not_taken_for_ready(saying: Saying) -> None:
    with pytest.raises(NotJoinedError, match="has not joined within"):
        wait_until_enrolled(PLACE, saying("active old"), after="old")
