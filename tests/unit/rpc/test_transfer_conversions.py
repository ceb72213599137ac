"""Routes, receipts and plans come back from the wire as they went, and malformed ones are refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collective.core import limits
from collective.core.errors import BusyError, RejectedError, UsageError
from collective.core.ids import ChunkId, Domain, GlobalId, NodeId, SpiffeId
from collective.core.units import Address
from collective.model.extents import Extent, Hole
from collective.model.routes import PutAnswer, Route, RouteMode, SignedReceipt, SignedTicket
from collective.model.transfers import ChunkPlan, CopyProblem, ExtentPlan
from collective.rpc.conversions import transfers as convert
from collective.rpc.gen.collective.v1 import reads as reads_pb
from collective.rpc.gen.collective.v1 import transfer as pb
from collective.rpc.gen.collective.v1 import uploads as uploads_pb
from collective.rpc.remote.answers import taken
from collective.rpc.wire.decoding import parse_message
from collective.rpc.wire.encoding import encode

DOMAIN = Domain("home.alice")
COORDINATOR = SpiffeId.coordinator(DOMAIN)
USER = SpiffeId.user(DOMAIN, GlobalId("bob", DOMAIN))

u32 = st.integers(0, (1 << 32) - 1)
nodes = st.sampled_from("abcdefgh").map(lambda name: SpiffeId.node(DOMAIN, NodeId(name)))
chunks = st.binary(min_size=32, max_size=32).map(ChunkId)
stored = st.integers(17, limits.CHUNK_STORED_MAX_BYTES)
addresses = st.builds(Address, st.sampled_from(["h", "10.0.0.1", "::1"]), st.integers(1, 65535))
tickets = st.builds(SignedTicket, st.binary(max_size=40), u32, st.binary(max_size=32))
receipts = st.builds(
    SignedReceipt, st.binary(min_size=1, max_size=40), u32, st.binary(max_size=32), nodes
)


@st.composite
def routes(draw: st.DrawFn) -> Route:
    storing = tuple(draw(st.lists(nodes, min_size=1, max_size=3, unique=True)))
    is_relay = draw(st.booleans())
    hops = draw(st.lists(tickets, min_size=len(storing) + is_relay, max_size=4))
    return Route(
        draw(chunks),
        draw(stored),
        tuple(hops),
        COORDINATOR if is_relay else storing[0],
        tuple(draw(st.lists(addresses, max_size=3))),
        storing,
    )


@st.composite
def extents(draw: st.DrawFn) -> Extent:
    stored_length = draw(stored)
    length = draw(st.integers(1, stored_length - 16))
    return Extent(draw(st.integers(0, 1 << 40)), length, draw(chunks), stored_length)


chunk_plans = st.builds(ChunkPlan, chunks, st.booleans(), st.lists(routes(), max_size=3), u32, u32)
pieces = st.one_of(
    st.builds(ExtentPlan, extents(), st.lists(routes(), max_size=3)),
    st.builds(Hole, st.integers(0, 1 << 40), st.integers(1, 1 << 40)),
)


def wire(kind: type[Any], message: Any) -> Any:
    """Send ``message`` through bytes."""
    return parse_message(kind, encode(message))


@given(routes())
def test_a_route_comes_back(route: Route) -> None:
    again = convert.route_from(wire(pb.Route, convert.route_message(route)))
    assert again == route
    assert again.mode is (RouteMode.RELAY if route.first == COORDINATOR else RouteMode.DIRECT)


@given(receipts)
def test_a_receipt_comes_back(receipt: SignedReceipt) -> None:
    message = wire(pb.SignedReceipt, convert.receipt_message(receipt))
    assert convert.receipts_from([message]) == [receipt]


@given(chunk_plans)
def test_a_plan_to_write_comes_back(plan: ChunkPlan) -> None:
    message = wire(uploads_pb.ChunkPlan, convert.chunk_plan_message(plan))
    assert convert.chunk_plan_from(message) == plan


@given(st.lists(pieces, max_size=4), st.booleans())
def test_a_plan_to_read_comes_back(plan: list[ExtentPlan | Hole], is_more: bool) -> None:
    messages = [wire(reads_pb.ExtentPlan, convert.piece_message(piece)) for piece in plan]
    again = convert.read_plan_from(messages, is_more=is_more)
    assert (again.pieces, again.is_more) == (plan, is_more)


@given(nodes, receipts)
def test_an_answer_comes_back(node: SpiffeId, receipt: SignedReceipt) -> None:
    answer = PutAnswer(node, receipt)
    assert convert.answer_from(wire(pb.PutResult, convert.answer_message(answer))) == answer
    refused = PutAnswer(node, error=BusyError("Not now."))
    again = convert.answer_from(wire(pb.PutResult, convert.answer_message(refused)))
    assert (again.node, again.receipt, type(again.error)) == (node, None, BusyError)


@pytest.mark.parametrize("problem", list(CopyProblem))
def test_every_problem_and_mode_has_a_number(problem: CopyProblem) -> None:
    assert convert.problem_from(convert.problem_message(problem)) is problem
    for mode in RouteMode:
        assert convert.route_mode_from(convert.mode_message(mode)) is mode
    with pytest.raises(UsageError):
        convert.problem_from(reads_pb.CopyProblem.UNSPECIFIED)


GOOD = Route(
    ChunkId(b"c" * 32),
    20,
    (SignedTicket(b"t", 1, b"m"),),
    SpiffeId.node(DOMAIN, NodeId("a")),
    (),
    (SpiffeId.node(DOMAIN, NodeId("a")),),
)


def no_hops(route: pb.Route) -> None:
    route.hops = []


def many_hops(route: pb.Route) -> None:
    route.hops = route.hops * (limits.ROUTE_MAX_HOPS + 1)


def no_storing(route: pb.Route) -> None:
    route.storing = []


def more_storing(route: pb.Route) -> None:
    route.storing = route.storing * 2


def no_length(route: pb.Route) -> None:
    route.stored_length = 0


def huge(route: pb.Route) -> None:
    route.stored_length = limits.CHUNK_STORED_MAX_BYTES + 1


def short_chunk(route: pb.Route) -> None:
    route.chunk_id = b"short"


def nobody(route: pb.Route) -> None:
    route.first_node = ""


@pytest.mark.parametrize(
    "spoil",
    [no_hops, many_hops, no_storing, more_storing, no_length, huge, short_chunk, nobody],
)
def test_a_malformed_route_is_refused(spoil: Callable[[pb.Route], None]) -> None:
    message = convert.route_message(GOOD)
    spoil(message)
    with pytest.raises(UsageError):
        convert.route_from(message)
    with pytest.raises(RejectedError, match="Update this client"):
        taken(convert.route_from, message)


def test_receipts_and_exclusions_name_nodes_and_are_bounded() -> None:
    receipt = pb.SignedReceipt(body=b"b", mac=b"m", node=str(GOOD.first))
    with pytest.raises(UsageError):
        convert.receipts_from([receipt] * (convert.RECEIPTS_MAX + 1))
    for name in ("", "a", str(USER), str(COORDINATOR)):
        with pytest.raises(UsageError):
            convert.receipt_from(pb.SignedReceipt(body=b"b", node=name))
        with pytest.raises(UsageError):
            convert.nodes_from([name])
    assert convert.nodes_from([str(GOOD.first)] * 2) == {GOOD.first}
    with pytest.raises(UsageError):
        convert.nodes_from([str(GOOD.first)] * (convert.EXCLUDE_MAX + 1))


def test_a_malformed_answer_of_a_node_is_its_error() -> None:
    for bad in (
        pb.PutResult(node="nobody"),
        pb.PutResult(node=str(GOOD.first), receipt=pb.SignedReceipt(body=b"b", node="nobody")),
    ):
        with pytest.raises(RejectedError):
            convert.answer_from(bad)
