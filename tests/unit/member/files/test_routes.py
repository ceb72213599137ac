from __future__ import annotations

import pytest

from collective.catalog.interface.values import Allocation
from collective.core import limits
from collective.core.errors import RejectedError
from collective.core.ids import NodeId
from collective.model.routes import Route
from collective.rpc.gen.collective.v1 import transfer as pb
from collective.transfer.tickets.checking import check_ticket
from collective.transfer.tickets.key_ring import KEYS_KEPT, ROTATE_AFTER_S
from collective.transfer.tickets.keys import TicketKey
from collective.transfer.tickets.reading import read_ticket
from collective.transfer.tickets.receipts import sign_receipt
from tests.unit.member.cluster import CHUNK, DOMAIN, OWN, USER, World, copies

UPLOAD = "0" * 31 + "1"


def put(world: World, *, relay: bool = False) -> Route:
    allocation = Allocation(CHUNK, 100, stored=False, held=(), targets=copies("a", "b", "c"))
    (route,) = world.routes.put(allocation, holder=USER, transfer_id=UPLOAD, relay=relay)
    return route


def test_each_hop_of_a_chain_is_held_by_the_hop_before_it() -> None:
    world = World()
    tickets = [read_ticket(hop) for hop in put(world).hops]
    a, b, c = (str(world.table.identity(NodeId(name))) for name in "abc")
    assert [t.node for t in tickets] == [a, b, c]
    assert [t.holder for t in tickets] == [str(USER), a, b]
    assert [t.next_node for t in tickets] == [b, c, ""]
    assert [t.generation for t in tickets] == [1, 2, 3]
    assert not any(t.forward_only for t in tickets)


def test_a_relayed_chain_begins_at_the_coordinator_which_keeps_nothing() -> None:
    world = World()
    route = put(world, relay=True)
    first = read_ticket(route.hops[0])
    assert (first.node, first.holder, first.forward_only) == (str(OWN), str(USER), True)
    assert read_ticket(route.hops[1]).holder == str(OWN)
    assert route.first == OWN
    assert len(route.hops) == 4


def test_tickets_check_at_the_hop_that_they_are_for() -> None:
    world = World()
    node = world.table.identity(NodeId("a"))
    keys = world.keys.source(node)
    ticket = check_ticket(
        keys,
        put(world).hops[0],
        operation=pb.ChunkOperation.PUT,
        chunk=CHUNK,
        length=100,
        node=node,
        holder=USER,
        now_ms=keys.coordinator_now_ms(),
        revocation_epoch=keys.revocation_epoch(),
    )
    assert ticket.transfer_id == UPLOAD


def test_reads_try_healthy_copies_first_and_lost_ones_never() -> None:
    world = World()
    world.clock.advance(6.0)
    world.hear("b")
    routes = world.routes.get(
        CHUNK, 100, copies("a", "b", "c"), holder=USER, transfer_id=UPLOAD, relay=False
    )
    assert routes[0].first == world.table.identity(NodeId("b"))
    assert len(routes) == 3
    world.clock.advance(600.0)
    world.hear("b")
    routes = world.routes.get(
        CHUNK, 100, copies("a", "b", "c"), holder=USER, transfer_id=UPLOAD, relay=False
    )
    assert len(routes) == 1


def test_a_receipt_counts_for_its_transfer() -> None:
    world = World()
    receipt = world.receipts.check(world.sign("a", UPLOAD), UPLOAD)
    assert (receipt.node, receipt.chunk, receipt.stored_length) == ("a", CHUNK, 100)


def test_receipt_of_another_transfer_is_refused() -> None:
    world = World()
    with pytest.raises(RejectedError):
        world.receipts.check(world.sign("a", "f" * 32), UPLOAD)


def test_receipt_that_was_not_flushed_is_refused() -> None:
    world = World()
    with pytest.raises(RejectedError):
        world.receipts.check(world.sign("a", UPLOAD, flushed=False), UPLOAD)


def test_receipt_invented_by_a_client_is_refused() -> None:
    world = World()
    node = str(world.table.identity(NodeId("a")))
    real = world.sign("a", UPLOAD)
    forged = sign_receipt(
        TicketKey(real.key_id, b"x" * 32),
        pb.Receipt(
            chunk_id=CHUNK, length=100, generation=1, transfer_id=UPLOAD, node=node, flushed=True
        ),
    )
    with pytest.raises(RejectedError):
        world.receipts.check(forged, UPLOAD)


def test_receipt_signed_by_one_node_for_another_is_refused() -> None:
    world = World()
    real = world.sign("a", UPLOAD)
    other = real._replace(node=world.table.identity(NodeId("b")))
    with pytest.raises(RejectedError):
        world.receipts.check(other, UPLOAD)


def test_one_bad_receipt_does_not_undo_the_good_ones() -> None:
    world = World()
    good = world.receipts.check_all([world.sign("a", UPLOAD), world.sign("b", "f" * 32)], UPLOAD)
    assert [receipt.node for receipt in good] == ["a"]


def test_keys_rotate_and_old_ones_still_check() -> None:
    world = World()
    node = world.table.identity(NodeId("a"))
    first = world.keys.signing_key(node)
    assert first is not None
    world.clock.advance(ROTATE_AFTER_S)
    fresh = world.keys.hand_out(node, frozenset({first.key_id}))
    assert len(fresh) == 1
    assert world.keys.signing_key(node) == fresh[0] != first
    assert world.keys.source(node).key(first.key_id) == first
    for _ in range(KEYS_KEPT):
        world.clock.advance(ROTATE_AFTER_S)
        world.keys.hand_out(node, frozenset())
    assert len(world.keys.hand_out(node, frozenset())) == KEYS_KEPT
    assert world.keys.source(node).key(first.key_id) == first, "an upload outlives it"
    world.clock.advance(limits.UPLOAD_LIFE_S)
    assert world.keys.source(node).key(first.key_id) is None


def test_a_node_is_given_only_the_keys_that_it_lacks() -> None:
    world = World()
    node = world.table.identity(NodeId("a"))
    key = world.keys.signing_key(node)
    assert key is not None
    assert world.keys.hand_out(node, frozenset({key.key_id})) == []
    assert world.keys.hand_out(node, frozenset()) == [key]
    assert world.keys.signing_key(world.table.identity(NodeId("nobody"))) is None
    assert node.trust_domain == DOMAIN
