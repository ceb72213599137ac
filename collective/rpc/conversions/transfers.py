"""Routes, receipts and plans: what a member says about where bytes go, and what comes back.

The receiver of a plan checks its form here, not what it leads to: tickets are for hops to check, and
receipts for the coordinator.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence

from collective.core import limits
from collective.core.errors import RejectedError, UsageError
from collective.core.ids import SpiffeId, parse_chunk_id
from collective.model.extents import Hole
from collective.model.routes import PutAnswer, Route, RouteMode, SignedReceipt, SignedTicket
from collective.model.transfers import ChunkPlan, CopyProblem, ExtentPlan, ReadPlan
from collective.rpc.conversions.addresses import ADDRESSES_MAX, address_messages, addresses_from
from collective.rpc.conversions.extents import (
    extent_from,
    extent_message,
    hole_from,
    hole_message,
)
from collective.rpc.errors import from_detail, to_detail
from collective.rpc.gen.collective.v1 import reads as reads_pb
from collective.rpc.gen.collective.v1 import transfer as pb
from collective.rpc.gen.collective.v1 import uploads as uploads_pb

IDENTITIES_KEPT = 1024
"""Ids of nodes that are kept in parsed form: the same few come with every chunk."""
EXCLUDE_MAX = 256
"""Nodes that one call leaves out, at most."""
RECEIPTS_MAX = limits.BATCH_MAX_CHUNKS * limits.COPIES_MAX

_MODES = {RouteMode.DIRECT: pb.RouteMode.DIRECT, RouteMode.RELAY: pb.RouteMode.RELAY}
_PROBLEMS = {
    CopyProblem.CORRUPT: reads_pb.CopyProblem.CORRUPT,
    CopyProblem.MISSING: reads_pb.CopyProblem.MISSING,
}
_PROBLEM_OF = {message: problem for problem, message in _PROBLEMS.items()}

identity_from = functools.lru_cache(IDENTITIES_KEPT)(SpiffeId.parse)


def mode_message(mode: RouteMode) -> pb.RouteMode:
    """Return ``mode`` for the wire."""
    return _MODES[mode]


def route_mode_from(message: pb.RouteMode) -> RouteMode:
    """Return the mode that ``message`` asks for; direct where it is unknown."""
    return RouteMode.RELAY if message == pb.RouteMode.RELAY else RouteMode.DIRECT


def problem_message(problem: CopyProblem) -> reads_pb.CopyProblem:
    """Return ``problem`` for the wire."""
    return _PROBLEMS[problem]


def problem_from(message: reads_pb.CopyProblem) -> CopyProblem:
    """Return what is said to be wrong with a copy."""
    if message not in _PROBLEM_OF:
        raise UsageError("A report must say what is wrong with the copy.")
    return _PROBLEM_OF[message]


def nodes_from(names: Sequence[str]) -> frozenset[SpiffeId]:
    """Return the nodes that a caller wants left out; malformed names are refused."""
    if len(names) > EXCLUDE_MAX:
        raise UsageError(f"At most {EXCLUDE_MAX} nodes can be excluded.")
    return frozenset(map(node_from, names))


def node_from(name: str) -> SpiffeId:
    """Return the identity of a node; others are refused."""
    identity = identity_from(name)
    _ = identity.node_id  # raises for another role
    return identity


# --- routes ------------------------------------------------------------------------------------


def ticket_messages(hops: Iterable[SignedTicket]) -> list[pb.SignedTicket]:
    """Return ``hops`` for the wire."""
    return [pb.SignedTicket(body=hop.body, key_id=hop.key_id, mac=hop.mac) for hop in hops]


def route_message(route: Route) -> pb.Route:
    """Return ``route`` for the wire."""
    return pb.Route(
        chunk_id=route.chunk,
        hops=ticket_messages(route.hops),
        first_node=str(route.first),
        first_addresses=address_messages(route.addresses),
        storing=[str(node) for node in route.storing],
        stored_length=route.stored_length,
    )


def route_from(message: pb.Route) -> Route:
    """Return a route of a usable form."""
    if not 1 <= len(message.hops) <= limits.ROUTE_MAX_HOPS:
        raise UsageError(f"A route has 1 to {limits.ROUTE_MAX_HOPS} hops.")
    if len(message.first_addresses) > ADDRESSES_MAX:
        raise UsageError(f"A hop has at most {ADDRESSES_MAX} addresses.")
    if not 1 <= len(message.storing) <= len(message.hops):
        raise UsageError("A route leads to one node that stores or more, and to none twice.")
    if not 0 < message.stored_length <= limits.CHUNK_STORED_MAX_BYTES:
        raise UsageError(
            f"A stored chunk has 1 to {limits.CHUNK_STORED_MAX_BYTES} bytes,"
            f" not {message.stored_length}."
        )
    return Route(
        chunk=parse_chunk_id(message.chunk_id),
        stored_length=message.stored_length,
        hops=tuple(SignedTicket(hop.body, hop.key_id, hop.mac) for hop in message.hops),
        first=identity_from(message.first_node),
        addresses=addresses_from(message.first_addresses),
        storing=tuple(map(identity_from, message.storing)),
    )


# --- receipts and answers ----------------------------------------------------------------------


def receipt_message(receipt: SignedReceipt) -> pb.SignedReceipt:
    """Return ``receipt`` for the wire."""
    return pb.SignedReceipt(
        body=receipt.body, key_id=receipt.key_id, mac=receipt.mac, node=str(receipt.node)
    )


def receipt_from(message: pb.SignedReceipt) -> SignedReceipt:
    """Return a receipt that names a node; whether it is good is seen by its key."""
    return SignedReceipt(message.body, message.key_id, message.mac, node_from(message.node))


def receipts_from(messages: Sequence[pb.SignedReceipt]) -> list[SignedReceipt]:
    """Return the receipts of one call."""
    if len(messages) > RECEIPTS_MAX:
        raise UsageError(f"One call takes at most {RECEIPTS_MAX} receipts.")
    return [receipt_from(message) for message in messages]


def answer_from(message: pb.PutResult) -> PutAnswer:
    """Return what a hop answered; a receipt that names no node counts as an error of the hop."""
    try:
        node = identity_from(message.node)
        if message.receipt is not None and message.receipt.body:
            return PutAnswer(node, receipt=receipt_from(message.receipt))
    except UsageError as error:
        raise RejectedError("A node's answer to a put is malformed.") from error
    return PutAnswer(node, error=None if message.error is None else from_detail(message.error))


def answer_message(answer: PutAnswer) -> pb.PutResult:
    """Return ``answer`` for the wire."""
    return pb.PutResult(
        node=str(answer.node),
        receipt=None if answer.receipt is None else receipt_message(answer.receipt),
        error=None if answer.error is None else to_detail(answer.error),
    )


# --- plans -------------------------------------------------------------------------------------


def chunk_plan_message(plan: ChunkPlan) -> uploads_pb.ChunkPlan:
    """Return ``plan`` for the wire."""
    return uploads_pb.ChunkPlan(
        chunk_id=plan.chunk,
        stored=plan.is_stored,
        routes=[route_message(route) for route in plan.routes],
        quorum=plan.quorum,
        copies_held=plan.held,
    )


def chunk_plan_from(message: uploads_pb.ChunkPlan) -> ChunkPlan:
    """Return the plan of one chunk."""
    return ChunkPlan(
        chunk=parse_chunk_id(message.chunk_id),
        is_stored=message.stored,
        routes=[route_from(route) for route in message.routes],
        quorum=message.quorum,
        held=message.copies_held,
    )


def piece_message(piece: ExtentPlan | Hole) -> reads_pb.ExtentPlan:
    """Return a piece of a plan to read for the wire."""
    if isinstance(piece, Hole):
        return reads_pb.ExtentPlan(hole=hole_message(piece))
    return reads_pb.ExtentPlan(
        extent=extent_message(piece.extent),
        routes=[route_message(route) for route in piece.routes],
    )


def piece_from(message: reads_pb.ExtentPlan) -> ExtentPlan | Hole:
    """Return a piece of a plan to read."""
    if message.hole is not None:
        return hole_from(message.hole)
    if message.extent is None:
        raise UsageError("A piece of a file is an extent or a hole.")
    return ExtentPlan(extent_from(message.extent), [route_from(route) for route in message.routes])


def read_plan_from(messages: Iterable[reads_pb.ExtentPlan], *, is_more: bool) -> ReadPlan:
    """Return a plan to read."""
    return ReadPlan([piece_from(message) for message in messages], is_more)
