"""A rotation's steps: which of them is a change, and what the audit has of each."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from collective.catalog.interface.settings import CatalogSettings
from collective.catalog.sqlite import SqliteCatalog
from collective.core.clock import ManualClock
from collective.core.errors import ConflictError
from collective.core.ids import Domain, MemberId, NodeId, SpiffeId
from collective.core.randomness import SeededRandomness
from collective.core.units import Address
from collective.member.nodes.live_nodes import LiveNodes
from collective.member.trust.followers import Followers
from collective.member.trust.own_certificates import (
    CertificatePlan,
    OwnCertificates,
    load_authorities,
    prepare,
)
from collective.member.trust.rotation import (
    CLOSING_INTERVALS,
    FORCED_INTERVALS_MOST,
    Rotation,
)
from collective.model.calls import Call
from collective.model.trust import Phase
from collective.pki.cert_dir import CertDir
from collective.pki.revocation import RevocationSet
from collective.placement.node_states import Timers
from collective.roles.coordinator.handshake_configs import HandshakeConfigs
from tests.unit.member.cluster import record, report
from tests.worlds import LINKS, world_of

DOMAIN = Domain("home.alice")
OPERATOR = Call(SpiffeId.coordinator(DOMAIN), is_operator=True, request_id="r1")
ANNA = SpiffeId.parse("spiffe://home.alice/user/home.alice/anna")


class NobodyRevoked:
    present = RevocationSet()


@dataclass
class Desk:
    clock: ManualClock
    catalog: SqliteCatalog
    own: OwnCertificates
    table: LiveNodes
    followers: Followers
    rotation: Rotation

    async def rows(self) -> list[tuple[str, str, str, str]]:
        found = await self.catalog.audit.list(since_ms=0, limit=100)
        return [(row.actor, row.action, row.target, row.detail) for row in found]


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    clock = ManualClock()
    world = world_of(clock, SeededRandomness(7))
    catalog = await SqliteCatalog.open(str(tmp_path / "data"), world, CatalogSettings())
    place = CertDir(str(tmp_path / "certs"), MemberId("alice"))
    plan = CertificatePlan(place, DOMAIN, (Address("127.0.0.1", 8001),))
    found = await prepare(plan, await load_authorities(plan, world), world)
    own = OwnCertificates(
        plan, found, HandshakeConfigs(found.credentials, found.trust, LINKS, clock), world
    )
    table = LiveNodes(DOMAIN, catalog.nodes, clock, SeededRandomness(3), Timers(5.0, 10.0, 600.0))
    nobody: Any = NobodyRevoked()
    followers = Followers(own, place.ca_rotation, world)
    rotation = Rotation(own, catalog, table, nobody, followers, interval_s=1.0)
    await followers.load()
    yield Desk(clock, catalog, own, table, followers, rotation)
    await catalog.close()


def follows(desk: Desk, name: str) -> None:
    """Have a node that trusts the newest CA."""
    desk.table.add(record(name))
    live = desk.table.get(NodeId(name))
    assert live is not None
    live.trusted_digests = frozenset((desk.own.authorities.newest.digest,))


async def test_a_node_is_waited_for_until_it_says_that_it_trusts_the_new_ca(desk: Desk) -> None:
    node = NodeId("alice-node-01")
    desk.table.add(record(node))
    await desk.rotation.begin(OPERATOR)
    # heard of since, and by a clock that was ahead long after: no answer need have arrived
    desk.clock.advance(1.0)
    old, new = desk.own.authority.digest, desk.own.authorities.newest.digest
    for trusted, waits in (((old,), True), ((old, new), False)):
        desk.clock.jump_wall(3600.0)
        desk.table.heard(node, replace(report(node), trusted_digests=frozenset(trusted)))
        desk.clock.jump_wall(-3600.0)
        progress = await desk.rotation.progress()
        assert progress.waiting == ([f"spiffe://home.alice/node/{node}"] if waits else [])
        if waits:
            with pytest.raises(ConflictError, match="have no certificate of the new CA"):
                await desk.rotation.finish(OPERATOR, force=False)
    assert (await desk.rotation.finish(OPERATOR, force=False)).phase is Phase.CLOSING


async def test_every_step_of_a_rotation_is_in_the_audit(desk: Desk) -> None:
    old = desk.own.authority.digest.hex()
    await desk.rotation.begin(OPERATOR)
    new = desk.own.authorities.newest.digest.hex()
    await desk.rotation.finish(OPERATOR, force=False)
    desk.clock.advance(CLOSING_INTERVALS + 1)
    await desk.rotation.look()
    assert desk.own.authorities.phase is Phase.NONE
    who = str(OPERATOR.principal)
    assert await desk.rows() == [
        (who, "rotate-ca-begin", old, "this CA is to be replaced"),
        (who, "rotate-ca-finish", old, f"{new} signs from now on"),
        (who, "rotate-ca-end", old, f"this CA counts no longer, only {new}"),
    ]


async def test_a_forced_end_names_in_the_audit_who_was_shut_out(desk: Desk) -> None:
    await desk.rotation.begin(OPERATOR)
    desk.followers.see(ANNA, desk.own.authority.digest)
    with pytest.raises(ConflictError, match=r"anna@home\.alice"):
        await desk.rotation.finish(OPERATOR, force=False)
    await desk.rotation.finish(OPERATOR, force=True)
    _, action, _, detail = (await desk.rows())[-1]
    assert action == "rotate-ca-finish"
    assert detail.endswith("forced, although 1 had not followed: anna@home.alice")


async def test_force_added_while_the_old_ca_ends_is_in_the_audit_once(desk: Desk) -> None:
    await desk.rotation.begin(OPERATOR)
    follows(desk, "alice-node-01")
    await desk.rotation.finish(OPERATOR, force=False)
    before = len(await desk.rows())
    await desk.rotation.finish(OPERATOR, force=True)
    await desk.rotation.finish(OPERATOR, force=True)
    later = (await desk.rows())[before:]
    assert [row[1] for row in later] == ["rotate-ca-force"]


async def forced_while_a_node_follows(desk: Desk) -> None:
    """Force the end of the old CA; one node was there since the beginning, one was not."""
    await desk.rotation.begin(OPERATOR)
    desk.table.add(record("alice-node-01"))
    follows(desk, "alice-node-02")
    progress = await desk.rotation.finish(OPERATOR, force=True)
    assert progress.waiting == ["spiffe://home.alice/node/alice-node-02"]


async def test_force_shuts_out_who_had_not_followed_and_waits_for_the_others(desk: Desk) -> None:
    await forced_while_a_node_follows(desk)
    desk.clock.advance(FORCED_INTERVALS_MOST - 1)
    await desk.rotation.look()
    assert (await desk.rotation.progress()).phase is Phase.CLOSING
    following = desk.table.get(NodeId("alice-node-02"))
    assert following is not None
    following.authority_digest = desk.own.authority.digest
    await desk.rotation.look()
    assert desk.own.authorities.phase is Phase.NONE


async def test_a_forced_end_does_not_wait_for_ever_and_names_who_did_not_follow(desk: Desk) -> None:
    await forced_while_a_node_follows(desk)
    desk.clock.advance(FORCED_INTERVALS_MOST + 1)
    await desk.rotation.look()
    assert desk.own.authorities.phase is Phase.NONE
    _, action, _, detail = (await desk.rows())[-1]
    assert action == "rotate-ca-end"
    assert detail.endswith("1 had not followed: node alice-node-02"), detail


async def test_force_given_again_waits_for_nobody_also_after_a_restart(desk: Desk) -> None:
    await forced_while_a_node_follows(desk)
    assert not (await desk.rotation.finish(OPERATOR, force=True)).waiting
    await desk.followers.load()
    assert not (await desk.rotation.progress()).waiting
    desk.clock.advance(CLOSING_INTERVALS + 1)
    await desk.rotation.look()
    assert desk.own.authorities.phase is Phase.NONE


async def test_looking_begins_nothing_and_beginning_twice_says_how_far_it_is(desk: Desk) -> None:
    assert (await desk.rotation.progress()).phase is Phase.NONE
    assert await desk.rows() == []
    await desk.rotation.begin(OPERATOR)
    desk.followers.see(ANNA, desk.own.authority.digest)
    with pytest.raises(ConflictError, match=r"already \(phase: overlap\).*anna@home\.alice"):
        await desk.rotation.begin(OPERATOR)
    assert len(await desk.rows()) == 1


async def test_many_who_follow_at_the_same_moment_are_all_remembered(desk: Desk) -> None:
    await desk.rotation.begin(OPERATOR)
    people = [SpiffeId.parse(f"{ANNA}-{number}") for number in range(20)]
    async with asyncio.TaskGroup() as group:
        for person in people:
            group.create_task(desk.followers.note(person))
    notes = json.loads(Path(desk.own.place.ca_rotation).read_text())
    assert notes["followed"] == sorted(map(str, people))
