"""What is counted of each peer, and what a scrape tells of it."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, generate_latest

from collective.core.ids import SpiffeId
from collective.federation.links.peer_metrics import PeerMetrics
from collective.federation.links.tallies import PeerTallies
from tests.unit.federation.houses import House
from tests.unit.federation.links.test_peer_links import end_of
from tests.unit.pki.forge import ALICE, BOB

NODE = SpiffeId.parse(f"spiffe://{BOB}/node/n1")


async def test_each_peer_is_counted_and_of_a_former_one_nothing_is_kept(
    alice: House, bob: House
) -> None:
    tallies = PeerTallies(alice.book)
    tallies.moved(NODE, 1, 1)
    tallies.refused(BOB)
    await alice.takes(bob)
    assert tallies.of(BOB).refused == 0, "a stranger is not counted"
    tallies.called(BOB, "ok")
    tallies.calls(BOB, "away", 0.02)
    tallies.moved(NODE, 10, 200)
    tallies.moved(SpiffeId.coordinator(ALICE), 5, 5)
    tallies.refused(BOB)
    found = tallies.of(BOB)
    assert (found.sent_bytes, found.received_bytes, found.refused) == (10, 200, 1)
    await alice.book.remove(alice.operator, BOB)
    assert not tallies._of
    assert tallies.of(BOB).refused == 0


async def test_a_scrape_tells_of_peers_as_they_are_then_and_of_no_others(
    alice: House, bob: House
) -> None:
    end = end_of(alice)
    registry = CollectorRegistry()
    registry.register(PeerMetrics("alice", end.links, end.links._tallies))
    await alice.takes(bob)
    tallies = end.links._tallies
    tallies.called(BOB, "ok")
    tallies.calls(BOB, "away", 0.02)
    tallies.calls(BOB, "ok", 99.0)
    tallies.moved(NODE, 10, 200)
    tallies.refused(BOB)
    said = generate_latest(registry).decode()
    taken_s = alice.book.all[BOB].peer.taken_ms / 1000
    told = {
        line.rpartition(" ")[0]: float(line.rpartition(" ")[2])
        for line in said.splitlines()
        if "#" not in line
    }
    of_bob = f'{{member="alice",peer="{BOB}"}}'
    assert told[f"collective_peer_healthy{of_bob}"] == 0
    assert told[f"collective_peer_bundle_timestamp_seconds{of_bob}"] == taken_s > 0
    assert told['collective_peers{member="alice",state="away"}'] == 1
    calls = "collective_peer_calls_total"
    assert told[f'{calls}{{direction="in",member="alice",peer="{BOB}",result="ok"}}'] == 1
    assert told[f'{calls}{{direction="out",member="alice",peer="{BOB}",result="away"}}'] == 1
    moved = "collective_peer_moved_bytes_total"
    assert told[f'{moved}{{direction="out",member="alice",peer="{BOB}"}}'] == 10
    assert told[f'{moved}{{direction="in",member="alice",peer="{BOB}"}}'] == 200
    assert told[f"collective_peer_refusals_total{of_bob}"] == 1
    durations = "collective_peer_call_duration_seconds"
    assert told[f'{durations}_bucket{{le="0.025",member="alice",peer="{BOB}"}}'] == 1
    assert told[f"{durations}_count{of_bob}"] == 2
    await alice.book.remove(alice.operator, BOB)
    assert str(BOB) not in generate_latest(registry).decode()
