"""Values with everything that a test does not care about."""

from __future__ import annotations

import dataclasses
from typing import Any

from collective.core.ids import Domain, GlobalId, MemberId, NodeId, SpiffeId
from collective.model.nodes import NodeStatus, ShownState, Standing
from collective.model.people import InviteKind, InviteStatus
from collective.model.status import Space, Status, Totals

ALICE = Domain("home.alice")
OPERATOR = SpiffeId.coordinator(ALICE)


def user(name: str) -> SpiffeId:
    """Return the identity of a user of alice's."""
    return SpiffeId.user(ALICE, GlobalId.parse(f"{name}@{ALICE}"))


def a_node(**given: Any) -> NodeStatus:
    """Return a node of which nothing is known but ``given``."""
    known: dict[str, Any] = {
        "node": NodeId("nas"),
        "address": "",
        "capacity_bytes": 0,
        "used_bytes": 0,
        "chunk_count": 0,
        "is_healthy": False,
        "state": ShownState.UP,
        "last_seen_ms": 0,
        "certificate_expires_ms": 0,
        "version": "",
        "copies_left": 0,
        "standing": Standing.APPROVED,
        "standing_reason": "",
        "is_new": False,
        "quarantined_bytes": 0,
        "disk": None,
    }
    return NodeStatus(**(known | given))


def a_status(**given: Any) -> Status:
    """Return the status of a member without anything but ``given``."""
    empty = Status(
        member=MemberId("alice"),
        domain=ALICE,
        address="127.0.0.1:8001",
        version="1",
        uptime_s=0.0,
        nodes=(),
        space=Space(0, 0),
        totals=Totals(0, 0, None),
        caller=OPERATOR,
        grants=(),
        node_code=None,
        warnings=(),
        workers=(),
    )
    return dataclasses.replace(empty, **given)


def an_invite(**given: Any) -> InviteStatus:
    """Return an open invite for a user, made by the operator, with ``given``."""
    usual = InviteStatus(
        id="1234",
        kind=InviteKind.USER,
        state="open",
        grants=(),
        uses_total=1,
        uses_left=1,
        created_ms=0,
        expires_ms=4_000_000_000_000,
        created_by=OPERATOR,
        description="",
        uses=(),
    )
    return dataclasses.replace(usual, **given)
