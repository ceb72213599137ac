"""Tickets and receipts: every way to misuse one is refused by name."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collective.core.clock import ManualClock
from collective.core.ids import ChunkId, SpiffeId
from collective.core.limits import ROUTE_MAX_HOPS, TICKET_LIFE_S
from collective.core.units import Address as NetAddress
from collective.model.routes import Operation, Route, RouteMode, SignedReceipt, SignedTicket
from collective.rpc.gen.collective.v1 import Address
from collective.rpc.gen.collective.v1.transfer import (
    ChunkOperation,
    Receipt,
    Ticket,
)
from collective.transfer.tickets.checking import check_following, check_ticket
from collective.transfer.tickets.key_ring import KeyRing
from collective.transfer.tickets.keys import TicketKey
from collective.transfer.tickets.making import Hop, sign_ticket, through_relay
from collective.transfer.tickets.receipts import ReceiptRefusedError, open_receipt, sign_receipt
from collective.transfer.tickets.refusals import (
    TicketExpiredError,
    TicketRefusedError,
    UnknownKeyError,
)
from tests.roots import Roots

from .memory import COORDINATOR, NOW_MS, USER, Keys, node

PUT, GET = ChunkOperation.PUT, ChunkOperation.GET
KEY = TicketKey(3, b"k" * 32)
KEYS = Keys({3: KEY})
CHUNK = ChunkId(b"c" * 32)
NODE = node("a")
TICKET = Ticket(
    operation=PUT,
    chunk_id=CHUNK,
    length_limit=1000,
    transfer_id="ab" * 16,
    node=str(NODE),
    holder=str(USER),
    generation=7,
    next_node=str(node("b")),
    next_addresses=[Address(host="10.0.0.1", port=8001)],
    revocation_epoch=2,
    expires_ms=NOW_MS + 1,
)


def changed(**changes: object) -> Ticket:
    return dataclasses.replace(TICKET, **changes)  # type: ignore[arg-type]


def check(signed: SignedTicket, **changes: object) -> Ticket:
    asked: dict[str, object] = {
        "operation": PUT,
        "chunk": CHUNK,
        "length": 1000,
        "node": NODE,
        "holder": USER,
        "now_ms": NOW_MS,
        "revocation_epoch": 2,
    }
    return check_ticket(KEYS, signed, **(asked | changes))  # type: ignore[arg-type]


def test_good_ticket_is_accepted() -> None:
    assert check(sign_ticket(KEY, TICKET)) == TICKET


def test_newer_revocation_epoch_than_known_here_is_accepted() -> None:
    assert check(sign_ticket(KEY, changed(revocation_epoch=3)))


def test_forged_mac() -> None:
    signed = sign_ticket(KEY, TICKET)
    for bit in range(256):
        mac = bytearray(signed.mac)
        mac[bit // 8] ^= 1 << bit % 8
        with pytest.raises(TicketRefusedError, match="signature"):
            check(signed._replace(mac=bytes(mac)))


@given(st.integers(0, len(bytes(TICKET)) * 8 - 1))
def test_altered_body(bit: int) -> None:
    body = bytearray(bytes(TICKET))
    body[bit // 8] ^= 1 << bit % 8
    with pytest.raises(TicketRefusedError, match="signature"):
        check(sign_ticket(KEY, TICKET)._replace(body=bytes(body)))


@given(st.integers(0, 31), st.integers(0, len(bytes(TICKET)) - 1))
def test_truncated(mac_bytes: int, body_bytes: int) -> None:
    signed = sign_ticket(KEY, TICKET)
    with pytest.raises(TicketRefusedError):
        check(signed._replace(mac=signed.mac[:mac_bytes]))
    with pytest.raises(TicketRefusedError):
        check(signed._replace(body=signed.body[:body_bytes]))


def test_oversize() -> None:
    body = bytes(5000)
    signed = SignedTicket(body=body, key_id=3, mac=KEY.mac(b"collective ticket 1\0", body))
    with pytest.raises(TicketRefusedError):
        check(signed)


def test_signed_with_another_nodes_key() -> None:
    with pytest.raises(TicketRefusedError, match="signature"):
        check(sign_ticket(TicketKey(3, b"x" * 32), TICKET))


def test_receipt_signature_is_no_ticket_signature() -> None:
    body = bytes(TICKET)
    signed = SignedTicket(body=body, key_id=3, mac=KEY.mac(b"collective receipt 1\0", body))
    with pytest.raises(TicketRefusedError, match="signature"):
        check(signed)


def test_unknown_key() -> None:
    with pytest.raises(UnknownKeyError):
        check(sign_ticket(TicketKey(4, b"k" * 32), TICKET))


@pytest.mark.parametrize(
    ("ticket", "sentence"),
    [
        (changed(operation=GET), "another operation"),
        (changed(operation=ChunkOperation.UNSPECIFIED), "another operation"),
        (changed(chunk_id=b"d" * 32), "another chunk"),
        (changed(chunk_id=b""), "another chunk"),
        (changed(length_limit=999), "longer"),
        (changed(length_limit=1001), "shorter"),
        (changed(length_limit=1 << 31), "longer"),
        (changed(node=str(node("b"))), "another node"),
        (changed(node=str(COORDINATOR)), "another node"),
        (changed(holder=str(node("b"))), "another holder"),
        (changed(holder=""), "another holder"),
        (changed(forward_only=True, next_node=""), "no next hop"),
    ],
)
def test_ticket_for_something_else(ticket: Ticket, sentence: str) -> None:
    with pytest.raises(TicketRefusedError, match=sentence):
        check(sign_ticket(KEY, ticket))


def test_presented_for_another_operation() -> None:
    with pytest.raises(TicketRefusedError, match="another operation"):
        check(sign_ticket(KEY, TICKET), operation=GET)


def test_presented_for_another_chunk() -> None:
    with pytest.raises(TicketRefusedError, match="another chunk"):
        check(sign_ticket(KEY, TICKET), chunk=ChunkId(b"e" * 32))


def test_presented_by_another_holder() -> None:
    with pytest.raises(TicketRefusedError, match="another holder"):
        check(sign_ticket(KEY, TICKET), holder=node("b"))


def test_presented_to_another_node() -> None:
    with pytest.raises(TicketRefusedError, match="another node"):
        check(sign_ticket(KEY, TICKET), node=node("b"))


@pytest.mark.parametrize("length", [1001, -1])
def test_length_over_the_limit(length: int) -> None:
    with pytest.raises(TicketRefusedError, match="longer"):
        check(sign_ticket(KEY, TICKET), length=length)


def test_expired() -> None:
    with pytest.raises(TicketExpiredError, match="expired"):
        check(sign_ticket(KEY, TICKET), now_ms=NOW_MS + 1)


def test_from_before_a_revocation() -> None:
    with pytest.raises(TicketExpiredError, match="revocation"):
        check(sign_ticket(KEY, TICKET), revocation_epoch=3)


def following(**changes: object) -> list[SignedTicket]:
    base: dict[str, object] = {"node": str(node("b")), "holder": str(NODE), "next_node": ""}
    return [sign_ticket(KEY, changed(**(base | changes)))]


def test_named_next_hop_is_accepted_and_a_route_may_end_early() -> None:
    check_following(TICKET, following(), NODE)
    check_following(TICKET, [], NODE)


@pytest.mark.parametrize(
    ("ticket", "onward", "sentence"),
    [
        (TICKET, following(node=str(node("c"))), "another hop"),
        (TICKET, following(holder=str(USER)), "another holder"),
        (changed(next_node=""), following(), "no next hop"),
        (changed(next_addresses=[]), following(), "address"),
        (changed(forward_only=True), [], "only forwards"),
        (TICKET, following() * ROUTE_MAX_HOPS, "at most"),
        (TICKET, [SignedTicket(b"\xff" * 9, 0, b"")], "pars|canonical"),
        (TICKET, [SignedTicket(b"\0" * 5000, 0, b"")], "malformed"),
    ],
)
def test_other_next_hop(ticket: Ticket, onward: list[SignedTicket], sentence: str) -> None:
    with pytest.raises(TicketRefusedError, match=sentence):
        check_following(ticket, onward, NODE)


def test_key_does_not_show_its_secret() -> None:
    assert "kkk" not in repr(KEY)


# --- receipts ---

RECEIPT = Receipt(
    chunk_id=CHUNK,
    length=1000,
    generation=7,
    transfer_id="ab" * 16,
    node=str(NODE),
    flushed=True,
)


def test_good_receipt_is_accepted() -> None:
    assert open_receipt(KEYS, sign_receipt(KEY, RECEIPT)) == RECEIPT


def test_invented_receipt() -> None:
    invented = SignedReceipt(body=bytes(RECEIPT), key_id=3, mac=bytes(32), node=NODE)
    with pytest.raises(ReceiptRefusedError, match="signature"):
        open_receipt(KEYS, invented)
    with pytest.raises(ReceiptRefusedError, match="key"):
        open_receipt(KEYS, invented._replace(key_id=9))
    with pytest.raises(ReceiptRefusedError, match="malformed"):
        open_receipt(KEYS, invented._replace(mac=b""))


def test_receipt_by_another_nodes_key() -> None:
    with pytest.raises(ReceiptRefusedError, match="signature"):
        open_receipt(KEYS, sign_receipt(TicketKey(3, b"x" * 32), RECEIPT))


def test_ticket_signature_is_no_receipt_signature() -> None:
    signed = sign_receipt(KEY, RECEIPT)
    mac = KEY.mac(b"collective ticket 1\0", signed.body)
    with pytest.raises(ReceiptRefusedError, match="signature"):
        open_receipt(KEYS, signed._replace(mac=mac))


def test_receipt_signed_over_to_another_node() -> None:
    signed = sign_receipt(KEY, RECEIPT)._replace(node=node("b"))
    with pytest.raises(ReceiptRefusedError, match="another node"):
        open_receipt(KEYS, signed)


@given(st.integers(0, len(bytes(RECEIPT)) * 8 - 1))
def test_altered_receipt(bit: int) -> None:
    signed = sign_receipt(KEY, RECEIPT)
    body = bytearray(signed.body)
    body[bit // 8] ^= 1 << bit % 8
    with pytest.raises(ReceiptRefusedError, match="signature"):
        open_receipt(KEYS, signed._replace(body=bytes(body)))


OURS, THEIRS = COORDINATOR, SpiffeId.parse("spiffe://garage.bob/coordinator")
CLOCK = ManualClock()
RING = KeyRing(OURS, Roots(b"r" * 32), CLOCK)
RELAY = Hop(OURS, (NetAddress("10.0.0.1", 8001),), is_relay=True)
ONWARD = (NetAddress("10.0.0.2", 8001),)


def planned(operation: Operation = Operation.PUT, storing: int = 3) -> Route:
    """Return a route that another member's coordinator planned, with ours as holder of its first ticket."""
    hops = tuple(SignedTicket(bytes([n]) * 9, n, b"m" * 32) for n in range(1 + storing))
    nodes = tuple(SpiffeId.parse(f"spiffe://garage.bob/node/n{n}") for n in range(storing))
    return Route(CHUNK, 1000, hops, THEIRS, (NetAddress("6.6.6.6", 666),), nodes)


@pytest.mark.parametrize("operation", list(Operation))
def test_a_relay_goes_before_the_hops_of_another_coordinators_route(operation: Operation) -> None:
    before = planned(operation)
    route = through_relay(
        before, RELAY, ONWARD, RING, operation=operation, holder=USER, transfer_id="ab" * 16
    )
    assert route.hops[1:] == before.hops, "they are passed on as they are"
    assert (route.first, route.addresses) == (OURS, RELAY.addresses)
    assert (route.chunk, route.stored_length, route.storing) == (CHUNK, 1000, before.storing)
    assert route.mode is RouteMode.RELAY
    assert len(route.hops) <= ROUTE_MAX_HOPS
    ticket = check_ticket(
        RING,
        route.hops[0],
        operation=ChunkOperation[operation.name],
        chunk=CHUNK,
        length=1000,
        node=OURS,
        holder=USER,
        now_ms=RING.coordinator_now_ms(),
        revocation_epoch=0,
    )
    assert ticket.forward_only
    assert (ticket.next_node, ticket.transfer_id) == (str(THEIRS), "ab" * 16)
    assert ticket.next_addresses == [Address(host="10.0.0.2", port=8001)], (
        "not where the route says"
    )
    end_ms = RING.coordinator_now_ms() + int(TICKET_LIFE_S * 1000)
    assert ticket.expires_ms == end_ms


def test_the_ticket_of_a_relay_is_for_its_holder_alone() -> None:
    route = through_relay(
        planned(), RELAY, ONWARD, RING, operation=Operation.PUT, holder=USER, transfer_id="ab" * 16
    )
    for holder in (THEIRS, OURS, node("a")):
        with pytest.raises(TicketRefusedError):
            check_ticket(
                RING,
                route.hops[0],
                operation=PUT,
                chunk=CHUNK,
                length=1000,
                node=OURS,
                holder=holder,
                now_ms=RING.coordinator_now_ms(),
                revocation_epoch=0,
            )
