"""Finding 6: the catalogue is lost, its nodes are not.

The real registry and desk over a real, new catalogue; each node's memory is the node's own.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast

import pytest

from collective.core.errors import (
    ConflictError,
    NotFoundError,
    PermissionDeniedError,
    UsageError,
)
from collective.core.ids import NodeId, SpiffeId
from collective.member.metrics import node_figures
from collective.member.nodes.adoption import AdoptionDesk
from collective.member.nodes.statement_macs import StatementMacs
from collective.member.nodes.unknown_nodes import REMEMBERED_S, UnknownNodes
from collective.member.nodes.warnings import Situation, warnings
from collective.member.trust.revocations import Revocations
from collective.model.calls import Call
from collective.model.nodes import Position, Replacement, ShownState, StatedPosition
from collective.pki.certificates import Certified
from collective.pki.revocation import RevocationSet
from collective.placement.shortage import Policy
from collective.roles.coordinator.faces.grpc.node_registry import RegistryService
from collective.roles.node.coordinator_keys import CoordinatorKeys
from collective.roles.node.durable_memory import DurableMemory
from collective.rpc.conversions.node_registry import position_from, position_message, stated_from
from collective.rpc.gen.collective.v1 import node as pb
from collective.rpc.server import context
from collective.transfer.tickets.adoptions import open_adoption
from tests.unit.member.cluster import DOMAIN, USER
from tests.unit.member.farm import OPERATOR, Scene, scene
from tests.unit.member.nodes.test_heartbeats import beat, service
from tests.unit.member.own import Revoked
from tests.worlds import REAL

LOST = Position("f" * 32, 4, 700)
OLD_NODE = SpiffeId.node(DOMAIN, NodeId("old"))


@dataclass
class OldNode:
    """A node that obeyed the lost catalogue, with its memory on disk and its keys."""

    identity: SpiffeId
    memory: DurableMemory
    keys: CoordinatorKeys
    key_digest: bytes = b"k" * 32
    store_uuid: str = "ab" * 16

    async def beat(self, registry: RegistryService, **more: object) -> pb.HeartbeatResponse:
        """Do what the node's heartbeat does."""
        peer = Certified(self.identity, "0a", 0.0, 4e9, (), key_digest=self.key_digest)
        context.enter(
            context.CallContext(peer, "r", "/collective.v1.node.NodeRegistry/Heartbeat", {})
        )
        answer = await registry.heartbeat(
            beat(
                1,
                store=self.store_uuid,
                **{"highest_position": position_message(self.memory.kept.position), **more},
            )
        )
        self.keys.learn((key.key_id, key.key) for key in answer.keys)
        adoption = None
        if answer.adoption is not None:
            opened = open_adoption(self.keys, answer.adoption, node=self.identity)
            replaced, successor = position_from(opened.replaced), stated_from(opened.successor)
            assert replaced is not None
            assert successor is not None
            adoption = Replacement(replaced, successor)
        await self.memory.heard(
            stated_from(answer.position), answer.revocation_epoch, answer.revoked, adoption=adoption
        )
        return answer


@dataclass
class Lost:
    """A new catalogue over old nodes."""

    here: Scene
    folder: Path
    waiting: UnknownNodes = field(init=False)
    revoked: Revoked = field(default_factory=Revoked)

    def __post_init__(self) -> None:
        self.waiting = UnknownNodes(self.here.world.clock)
        self.registry = service(self.here, waiting=self.waiting)
        self.desk = AdoptionDesk(
            self.here.catalog,
            self.here.world.table,
            self.waiting,
            self.here.wakes,
            cast("Revocations", self.revoked),
        )

    async def node(self, identity: SpiffeId) -> OldNode:
        memory = DurableMemory(str(self.folder / f"{identity.node_id}.json"), REAL)
        await memory.load()
        seen = StatedPosition(LOST, StatementMacs(self.here.world.keys).of_position(LOST))
        await memory.heard(seen, 0, None)
        return OldNode(identity, memory, CoordinatorKeys(self.here.world.clock, memory))

    async def ahead(self, name: str, *, epoch: int, sequence: int = 0, file: str = "") -> OldNode:
        """Return an enrolled node that was told of a future of this catalogue, under another key."""
        ours = await self.here.catalog.restores.position()
        memory = DurableMemory(str(self.folder / f"{file or name}.json"), REAL)
        await memory.load()
        held = Position(ours.catalog_id, epoch, sequence, "ab" * 16)
        await memory.heard(StatedPosition(held, b"of a key that is gone"), 0, None)
        identity = SpiffeId.node(DOMAIN, NodeId(name))
        return OldNode(identity, memory, CoordinatorKeys(self.here.world.clock, memory))

    async def deletes(self, node: OldNode) -> None:
        """Have the node carry out a delete of the new catalogue; ConflictError where it refuses."""
        position = await self.here.catalog.restores.position()
        mac = StatementMacs(self.here.world.keys).of_position(position)
        await node.memory.admit(StatedPosition(position, mac))

    async def sentences(self) -> list[str]:
        return warnings(
            Situation(
                policy=Policy(3),
                nodes=self.here.world.table.all(),
                outlook=self.here.world.table.outlook(),
                health=None,
                is_restored=await self.here.catalog.restores.is_restored(),
                now_ms=0,
                waiting=[claim.node for claim in self.desk.waiting()],
                position=await self.here.catalog.restores.position(),
            )
        )


@asynccontextmanager
async def lost(folder: Path) -> AsyncIterator[Lost]:
    async with scene(folder) as here:
        yield Lost(here, folder)


async def test_after_a_lost_catalogue_nodes_with_their_certificates_wait_are_adopted_and_delete_again(
    tmp_path: Path,
) -> None:
    async with lost(tmp_path) as member:
        old = await member.node(OLD_NODE)
        with pytest.raises(PermissionDeniedError, match="collective node adopt old"):
            await old.beat(member.registry)
        (told,) = [one for one in await member.sentences() if "does not know" in one]
        assert "collective node adopt old" in told
        figures = node_figures(member.here.world.table, len(member.waiting.all()))
        assert figures.by_state[ShownState.WAITING] == 1
        done = await member.desk.adopt(OPERATOR, ["old"], everything=False)
        assert done.enrolled == (NodeId("old"),)
        assert not member.waiting.all()
        with pytest.raises(ConflictError):
            await member.deletes(old)
        await old.beat(member.registry)
        await member.deletes(old)
        assert (await old.beat(member.registry)).adoption is None, "once is enough"
        assert not any("adopt" in one for one in await member.sentences())


async def test_nodes_that_joined_again_by_a_code_delete_again_and_the_code_stays_good(
    tmp_path: Path,
) -> None:
    async with lost(tmp_path) as member:
        first, second = [
            await member.node(SpiffeId.node(DOMAIN, NodeId(name))) for name in ("a", "b")
        ]
        for _ in range(2):
            assert (await first.beat(member.registry)).adoption is None
        assert not await member.here.catalog.restores.is_restored()
        with pytest.raises(ConflictError):
            await member.deletes(first)
        (told,) = [one for one in await member.sentences() if "Another catalogue" in one]
        assert "collective node adopt a" in told
        done = await member.desk.adopt(OPERATOR, [], everything=True)
        assert (done.enrolled, done.replaced) == ((), 1)
        for node in (first, second):  # the second was away, and comes later
            assert (await node.beat(member.registry)).adoption is not None
            await member.deletes(node)


async def test_only_the_operator_adopts_and_names_must_wait_or_be_known(tmp_path: Path) -> None:
    async with lost(tmp_path) as member:
        old = await member.node(OLD_NODE)
        with pytest.raises(PermissionDeniedError):
            await old.beat(member.registry)
        with pytest.raises(PermissionDeniedError, match="Only the operator"):
            await member.desk.adopt(Call(USER, is_operator=False), ["old"], everything=False)
        with pytest.raises(NotFoundError):
            await member.desk.adopt(OPERATOR, ["nobody"], everything=False)
        for names, everything in (([], False), (["old"], True)):
            with pytest.raises(UsageError):
                await member.desk.adopt(OPERATOR, names, everything=everything)


async def test_a_revoked_node_is_neither_shown_nor_adopted(tmp_path: Path) -> None:
    async with lost(tmp_path) as member:
        old = await member.node(OLD_NODE)
        with pytest.raises(PermissionDeniedError):
            await old.beat(member.registry)
        member.revoked.present = RevocationSet.of(1, [str(OLD_NODE)])
        assert member.desk.waiting() == []
        with pytest.raises(ConflictError, match="revoked"):
            await member.desk.adopt(OPERATOR, ["old"], everything=False)
        with pytest.raises(ConflictError, match="nothing to adopt"):
            await member.desk.adopt(OPERATOR, [], everything=True)


async def test_a_removed_node_does_not_wait(tmp_path: Path) -> None:
    async with lost(tmp_path) as member:
        node = NodeId("a")
        identity = SpiffeId.node(DOMAIN, node)
        await member.here.catalog.nodes.remove(OPERATOR, node, identity, force=True)
        await member.here.world.table.reload()
        with pytest.raises(PermissionDeniedError, match="not enrolled here"):
            await (await member.node(identity)).beat(member.registry)
        assert member.waiting.all() == []


async def test_two_with_different_keys_that_say_they_are_one_node_are_not_adopted(
    tmp_path: Path,
) -> None:
    async with lost(tmp_path) as member:
        for digest in (b"k" * 32, b"x" * 32):
            old = await member.node(OLD_NODE)
            old.key_digest = digest
            with pytest.raises(PermissionDeniedError):
                await old.beat(member.registry)
        with pytest.raises(ConflictError, match="different keys"):
            await member.desk.adopt(OPERATOR, ["old"], everything=False)


async def test_a_node_that_does_not_come_any_more_is_not_waiting(tmp_path: Path) -> None:
    async with lost(tmp_path) as member:
        with pytest.raises(PermissionDeniedError):
            await (await member.node(OLD_NODE)).beat(member.registry)
        member.here.world.clock.advance(REMEMBERED_S + 1)
        assert member.waiting.all() == []


async def test_a_node_that_was_told_a_lost_future_under_a_replaced_key_is_brought_back(
    tmp_path: Path,
) -> None:
    """Seed 1000047: put back from a backup, the CA replaced; no number of its own was high enough."""
    async with lost(tmp_path) as member:
        restores = member.here.catalog.restores
        epoch = (await restores.position()).epoch
        first = await member.ahead("a", epoch=epoch + 2)
        late = await member.ahead("b", epoch=epoch + 2)
        assert (await first.beat(member.registry)).adoption is None, "it may lie"
        assert not await restores.is_restored()
        with pytest.raises(ConflictError):
            await member.deletes(first)
        (told,) = [one for one in await member.sentences() if "newer state" in one]
        assert "collective node adopt a (" in told
        done = await member.desk.adopt(OPERATOR, [], everything=True)
        assert done.brought_back == (NodeId("a"),)
        assert (await first.beat(member.registry)).adoption is not None
        await member.deletes(first)
        assert (await first.beat(member.registry)).adoption is None, "once is enough"
        again = await member.ahead("a", epoch=epoch + 2, file="again")
        assert (await again.beat(member.registry)).adoption is None, "it was for that occasion"
        await first.beat(member.registry)
        assert (await late.beat(member.registry)).adoption is None, "it was not there to be asked"
        with pytest.raises(ConflictError):
            await member.deletes(late)
        done = await member.desk.adopt(OPERATOR, ["b"], everything=False)
        assert done.brought_back == (NodeId("b"),)
        await late.beat(member.registry)
        await member.deletes(late)
        await late.beat(member.registry)
        assert not any("adopt" in one for one in await member.sentences())
        assert (await restores.position()).epoch == epoch


async def test_a_node_that_lies_about_its_position_moves_no_number_and_no_other_node(
    tmp_path: Path,
) -> None:
    async with lost(tmp_path) as member:
        restores = member.here.catalog.restores
        before = await restores.position()
        honest = await member.ahead("b", epoch=before.epoch, sequence=0)
        await honest.beat(member.registry)
        for sequence in ((1 << 63) - 1, 1 << 63, (1 << 64) - 1):
            liar = await member.ahead("a", epoch=(1 << 64) - 1, sequence=sequence)
            await liar.beat(member.registry)
            await member.desk.adopt(OPERATOR, ["a"], everything=False)
            await honest.beat(member.registry)
            await member.deletes(honest)
            after = await restores.position()
            assert (after.epoch, after.life) == (before.epoch, before.life)
            assert not await restores.is_restored()


async def test_a_position_that_says_more_than_any_does_is_refused(tmp_path: Path) -> None:
    """What is adopted is signed whole, and noted."""
    async with lost(tmp_path) as member:
        ours = await member.here.catalog.restores.position()
        for lie in (
            replace(ours, epoch=ours.epoch + 1, life="x" * 4000),
            replace(ours, catalog_id="x" * 4000),
        ):
            node = await member.ahead("a", epoch=1)
            with pytest.raises(UsageError, match="malformed"):
                await node.beat(
                    member.registry, highest_position=position_message(StatedPosition(lie, b""))
                )
