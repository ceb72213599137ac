from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from collective.core.errors import ConflictError, PermissionDeniedError, UsageError
from collective.core.ids import NodeId, SpiffeId
from collective.core.units import Address
from collective.member.nodes.bad_copy_reports import BadCopyReports
from collective.member.nodes.enrolled import Enrolled
from collective.member.nodes.heartbeats import Heartbeats
from collective.member.nodes.inventories import Inventories
from collective.member.nodes.live_nodes import REFUSAL_KEPT_S
from collective.member.nodes.statement_macs import StatementMacs
from collective.member.nodes.statements import Statements
from collective.member.nodes.unknown_nodes import UnknownNodes
from collective.member.trust.certificates_seen import CertificatesSeen
from collective.member.trust.revocations import Revocations
from collective.model.nodes import NodeState, Position, StatedPosition, Whereabouts
from collective.pki.certificates import Certified
from collective.pki.revocation import RevocationSet
from collective.roles.coordinator.faces.grpc.node_registry import Contacts, RegistryService
from collective.rpc.conversions.node_registry import position_message
from collective.rpc.server import context
from tests import protocol as pb
from tests.unit.member.alone import no_peers
from tests.unit.member.cluster import DOMAIN, OWN, USER, instance
from tests.unit.member.farm import Scene, scene
from tests.unit.member.own import Own

OWN_SERIAL = "serial:c0ffee"
OWN_KEY = "key:" + "c0" * 32


class Gate:
    """Remembers the revocations that count."""

    def __init__(self) -> None:
        self.revocations = RevocationSet()

    def replace(self, *, revocations: RevocationSet) -> int:
        self.revocations = revocations
        return 0


class SeesAll:
    """Stands for the catalogue where certificates that are seen are of no interest."""

    async def see(self, *_: object) -> None:
        """Note nothing."""


@dataclass
class Told:
    """A coordinator that has no CAs to tell of."""

    identity: SpiffeId = OWN

    def trusted_ders(self) -> list[bytes]:
        return []

    def link_ders(self) -> list[bytes]:
        return []


class Findable:
    whereabouts = Whereabouts((Address("nas.lan", 8001),), (Address("nas.lan", 9001),))


def revocations_of(here: Scene, gate: Gate | None = None) -> Revocations:
    keys, table = here.world.keys, here.world.table
    return Revocations(
        here.catalog.revocations, gate or Gate(), keys, StatementMacs(keys), table, Own(OWN)
    )


def service(
    here: Scene,
    gate: Gate | None = None,
    waiting: UnknownNodes | None = None,
    revocations: Revocations | None = None,
) -> RegistryService:
    keys, table = here.world.keys, here.world.table
    revocations = revocations or revocations_of(here, gate)
    enrolled = Enrolled(
        here.catalog.nodes,
        table,
        waiting or UnknownNodes(here.world.clock),
        revocations,
        CertificatesSeen(DOMAIN, SeesAll()),
    )
    statements = Statements(
        Told(),
        here.catalog.restores,
        keys,
        StatementMacs(keys),
        revocations,
        interval_s=2.0,
    )
    return RegistryService(
        Heartbeats(here.catalog.nodes, table, enrolled, statements, here.wakes),
        Inventories(here.catalog.copies, table, enrolled, here.wakes),
        BadCopyReports(here.catalog.copies, enrolled, here.wakes, here.metrics),
        Contacts(Findable(), no_peers()),
        here.admission(),
        here.metrics,
    )


def speak_as(identity: SpiffeId) -> None:
    peer = Certified(identity, "01", 0.0, 4e9, ())
    context.enter(context.CallContext(peer, "r", "/collective.v1.node.NodeRegistry/Heartbeat", {}))


def beat(number: int = 1, store: str = "ab" * 16, **more: object) -> pb.HeartbeatRequest:
    values: dict[str, object] = {
        "store_uuid": store,
        "instance_id": instance(number),
        "addresses": [pb.Address(host="127.0.0.1", port=7097)],
        "total_capacity": 1 << 30,
    }
    return pb.HeartbeatRequest(**{**values, **more})  # type: ignore[arg-type]


A = SpiffeId.node(DOMAIN, NodeId("a"))


async def test_a_heartbeat_gives_keys_position_and_asks_for_the_inventory(tmp_path: Path) -> None:
    async with scene(tmp_path) as here:
        speak_as(A)
        answer = await service(here).heartbeat(beat(2))
        key = here.world.keys.signing_key(A)
        assert key is not None
        assert [k.key_id for k in answer.keys] == [key.key_id]
        assert answer.send_inventory
        assert answer.position is not None
        assert answer.position.catalog_id
        assert answer.coordinator == str(OWN)
        assert [one.host for one in answer.coordinator_addresses] == ["nas.lan"]
        assert [one.port for one in answer.bootstrap_addresses] == [9001]


async def test_a_user_certificate_cannot_speak_as_a_node(tmp_path: Path) -> None:
    async with scene(tmp_path) as here:
        for identity in (USER, OWN):
            speak_as(identity)
            with pytest.raises(PermissionDeniedError):
                await service(here).heartbeat(beat())


async def test_a_node_that_was_never_enrolled_is_refused(tmp_path: Path) -> None:
    async with scene(tmp_path) as here:
        speak_as(SpiffeId.node(DOMAIN, NodeId("z")))
        with pytest.raises(PermissionDeniedError):
            await service(here).heartbeat(beat())


async def test_another_store_under_the_same_certificate_is_refused(tmp_path: Path) -> None:
    async with scene(tmp_path) as here:
        speak_as(A)
        await service(here).heartbeat(beat())
        with pytest.raises(ConflictError):
            await service(here).heartbeat(beat(store="cd" * 16))
        live = here.world.table.get(NodeId("a"))
        assert live is not None
        assert live.refused


async def test_a_node_that_came_with_another_store_stays_refused_for_minutes(
    tmp_path: Path,
) -> None:
    """Else one that comes with either in turn would have every upload checked again each time."""
    async with scene(tmp_path) as here:
        speak_as(A)
        desk = service(here)
        await desk.heartbeat(beat())
        with pytest.raises(ConflictError):
            await desk.heartbeat(beat(store="cd" * 16))
        live = here.world.table.get(NodeId("a"))
        assert live is not None
        here.world.clock.advance(REFUSAL_KEPT_S - 1)
        await desk.heartbeat(beat())
        assert live.refused
        assert here.world.table.states()[NodeId("a")] is NodeState.REFUSED
        here.world.clock.advance(1)
        await desk.heartbeat(beat())
        assert not live.refused


async def test_a_node_that_saw_a_newer_catalogue_makes_this_one_restored(tmp_path: Path) -> None:
    async with scene(tmp_path) as here:
        speak_as(A)
        ours = await here.catalog.restores.position()
        seen = Position(ours.catalog_id, ours.epoch, ours.sequence + 1000)
        answer = await service(here).heartbeat(
            beat(
                highest_position=position_message(
                    StatedPosition(seen, StatementMacs(here.world.keys).of_position(seen))
                ),
            )
        )
        assert await here.catalog.restores.is_restored()
        assert answer.position is not None
        assert answer.position.epoch > ours.epoch
        assert await here.catalog.collection.claim(10, 0.0) == []


async def test_a_node_that_saw_another_life_of_this_catalogue_makes_it_restored(
    tmp_path: Path,
) -> None:
    """As after a backup was put back that caught up with the numbers of what it lost."""
    async with scene(tmp_path) as here:
        speak_as(A)
        ours = await here.catalog.restores.position()
        macs = StatementMacs(here.world.keys)

        def told(position: Position) -> pb.CatalogPosition:
            return position_message(StatedPosition(position, macs.of_position(position)))

        lost, told_as_ours = told(replace(ours, life="ab" * 16)), told(ours)
        for mac in (b"", told_as_ours.mac):
            lie = replace(lost, mac=mac)
            await service(here).heartbeat(beat(highest_position=lie))
            assert not await here.catalog.restores.is_restored(), (
                "it is not this coordinator's word"
            )
        for known in (told_as_ours, told(replace(ours, life=""))):
            await service(here).heartbeat(beat(highest_position=known))
            assert not await here.catalog.restores.is_restored()
        answer = await service(here).heartbeat(beat(highest_position=lost))
        assert await here.catalog.restores.is_restored()
        assert answer.position is not None
        assert (answer.position.epoch, answer.position.life) == (ours.epoch + 1, ours.life)
        await service(here).heartbeat(beat(highest_position=lost))
        assert (await here.catalog.restores.position()).epoch == ours.epoch + 1


async def test_a_hundred_nodes_of_a_stolen_join_code_invent_a_newer_catalogue(
    tmp_path: Path,
) -> None:
    """None of them makes the catalogue *restored*, ends an open invite, or leaves a row behind."""
    async with scene(tmp_path) as here:
        ours = await here.catalog.restores.position()
        real = position_message(
            StatedPosition(ours, StatementMacs(here.world.keys).of_position(ours))
        )
        lies = [
            pb.CatalogPosition(catalog_id="ee" * 16, epoch=5, sequence=5),
            pb.CatalogPosition(catalog_id=ours.catalog_id, epoch=ours.epoch + 1, sequence=1),
            pb.CatalogPosition(catalog_id=ours.catalog_id, epoch=(1 << 64) - 1, sequence=1 << 63),
            pb.CatalogPosition(
                catalog_id=real.catalog_id,
                epoch=real.epoch,
                sequence=real.sequence + 1_000_000,
                mac=real.mac,
            ),
        ]
        registry = service(here)
        for name in ("a", "b", "c"):
            speak_as(SpiffeId.node(DOMAIN, NodeId(name)))
            for lie in lies:
                answer = await registry.heartbeat(beat(highest_position=lie))
                assert answer.position is not None
                assert answer.position.epoch == ours.epoch
        assert not await here.catalog.restores.is_restored()


async def test_an_address_that_nobody_has_proved_wakes_who_looks_for_it(tmp_path: Path) -> None:
    async with scene(tmp_path) as here:
        speak_as(A)
        registry = service(here)
        await registry.heartbeat(beat(addresses=[pb.Address(host="127.0.0.1", port=7097)]))
        assert not here.wakes.addresses.is_set(), "it was found there"
        await registry.heartbeat(beat(addresses=[pb.Address(host="127.0.0.1", port=7098)]))
        assert here.wakes.addresses.is_set()


async def test_repair_is_woken_when_a_full_node_has_room_again(tmp_path: Path) -> None:
    """It rests for minutes where nothing could be placed."""
    async with scene(tmp_path) as here:
        speak_as(A)
        registry = service(here)
        await registry.heartbeat(beat())
        half, all_of_it = 1 << 29, 1 << 30
        for used, disk, is_woken in (
            (half, "ok", False),
            (all_of_it, "ok", False),
            (half, "ok", True),
            (half, "read-only", False),
            (half, "ok", True),
            (0, "ok", False),
        ):
            here.wakes.repair.clear()
            here.world.table.promise(NodeId("a"), all_of_it)  # which says nothing of the disk
            await registry.heartbeat(beat(used_capacity=used, disk=disk))
            assert here.wakes.repair.is_set() == is_woken


@pytest.mark.parametrize(
    "wrong",
    [
        {"key_ids": list(range(65))},
        {"version": "v" * 65},
        {"instance_id": "nothing"},
        {"store_uuid": ""},
        {"addresses": []},
        {"addresses": [pb.Address(host="224.0.0.1", port=7097)]},
    ],
)
async def test_a_heartbeat_that_cannot_be_right_changes_nothing(
    tmp_path: Path, wrong: dict[str, Any]
) -> None:
    async with scene(tmp_path) as here:
        speak_as(A)
        live = here.world.table.get(NodeId("a"))
        assert live is not None
        before = live.record
        with pytest.raises(UsageError):
            await service(here).heartbeat(beat(2, **wrong))
        assert live.record == before
