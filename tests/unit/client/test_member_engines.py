"""The way to each peer is learnt apart, and what led nowhere is remembered for a while."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import pytest

from collective.client.member_engines import MemberEngines
from collective.client.route_notes import NOTED_S, RouteNotes
from collective.core.clock import ManualClock
from collective.core.ids import Domain, NodeId, SpiffeId
from collective.model.routes import RouteMode
from collective.transfer.engine.engine import Engine
from collective.transfer.engine.options import TransferOptions
from tests.worlds import REAL, world_of

BOB, CAROL = Domain("home.bob"), Domain("home.carol")
NODE = SpiffeId.node(BOB, NodeId("bob-node-01"))


class Bench:
    def __init__(self, folder: Path) -> None:
        self.path = folder / "routes.json"
        self.clock = ManualClock()
        self.network = "192.168.1.7"

    def engines(self) -> MemberEngines:
        """Return those of another run of the program."""
        nothing = cast("Any", None)

        def make(domain: Domain, *, relay_first: bool) -> Engine:
            del domain
            options = TransferOptions(relay_after=1, relay_first=relay_first)
            return Engine.of(nothing, nothing, nothing, world_of(self.clock), options)

        notes = RouteNotes(str(self.path), REAL.disk, self.clock, lambda: self.network)
        return MemberEngines(make, notes, self.clock)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_a_peer_that_cannot_be_reached_says_nothing_of_another(bench: Bench) -> None:
    engines = bench.engines()
    engines.of(BOB).choice.unreachable(RouteMode.DIRECT, NODE)
    assert engines.of(BOB).choice.mode is RouteMode.RELAY
    assert engines.of(CAROL).choice.mode is RouteMode.DIRECT


def test_it_is_remembered_for_a_while(bench: Bench) -> None:
    first = bench.engines()
    first.of(BOB).choice.unreachable(RouteMode.DIRECT, NODE)
    first.of(CAROL)
    first.remember()
    second = bench.engines()
    assert second.of(BOB).choice.mode is RouteMode.RELAY
    assert second.of(CAROL).choice.mode is RouteMode.DIRECT
    bench.clock.advance(NOTED_S + 1)
    assert bench.engines().of(BOB).choice.mode is RouteMode.DIRECT


def test_nothing_is_written_where_nothing_was_learnt(bench: Bench) -> None:
    engines = bench.engines()
    engines.of(BOB).choice.worked(RouteMode.DIRECT)
    engines.remember()
    assert not bench.path.exists()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '{"home.bob": "soon"}',
        '{"home.bob": 1e300}',
        '{"home.bob": null}',
        "[" * 9999,
    ],
)
def test_notes_that_are_none_are_passed_over(bench: Bench, text: str) -> None:
    bench.path.write_text(text)
    assert bench.engines().of(BOB).choice.mode is RouteMode.DIRECT


def test_notes_are_bounded(bench: Bench) -> None:
    until_s = bench.clock.wall_s() + 60
    bench.path.write_text(json.dumps({f"a{n}.b": until_s for n in range(500)}))
    engines = bench.engines()
    engines.of(BOB).choice.unreachable(RouteMode.DIRECT, NODE)
    engines.remember()
    assert len(json.loads(bench.path.read_text())) <= 256


def test_two_clients_at_once_keep_what_each_has_learnt(bench: Bench) -> None:
    first, second = bench.engines(), bench.engines()
    first.of(BOB).choice.unreachable(RouteMode.DIRECT, NODE)
    second.of(CAROL).choice.unreachable(RouteMode.DIRECT, NODE)
    first.remember()
    second.remember()
    third = bench.engines()
    assert third.of(BOB).choice.mode is RouteMode.RELAY
    assert third.of(CAROL).choice.mode is RouteMode.RELAY


def test_another_network_is_another_matter(bench: Bench) -> None:
    first = bench.engines()
    first.of(BOB).choice.unreachable(RouteMode.DIRECT, NODE)
    first.remember()
    bench.network = "10.1.2.3"
    assert bench.engines().of(BOB).choice.mode is RouteMode.DIRECT
