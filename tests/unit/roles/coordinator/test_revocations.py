"""What nodes say was revoked: a restored catalogue learns it back, a rogue node shuts nobody out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from collective.catalog.model import Position
from collective.core.errors import UsageError
from collective.core.ids import NodeId, SpiffeId
from collective.roles.coordinator.registry_service import RegistryService
from collective.rpc.gen.collective import v1 as pb
from tests.unit.roles.coordinator.farm import OPERATOR, Scene, scene
from tests.unit.roles.coordinator.parts import DOMAIN, OWN, record
from tests.unit.roles.coordinator.test_registry import (
    OWN_KEY,
    OWN_SERIAL,
    Gate,
    beat,
    service,
    speak_as,
)

EVE = "spiffe://home.alice/user/home.alice/eve"
BEN = "spiffe://home.alice/user/home.alice/ben"


async def say(
    registry: RegistryService, name: str, revoked: Sequence[str], epoch: int = 0
) -> pb.HeartbeatResponse:
    speak_as(SpiffeId.node(DOMAIN, NodeId(name)))
    return await registry.heartbeat(beat(revoked=list(revoked), revocation_epoch=epoch))


async def restore(here: Scene) -> None:
    ours = await here.catalog.position()
    await here.catalog.observe_position(Position(ours.catalog_id, ours.epoch, ours.sequence + 1000))
    assert await here.catalog.is_restored()


async def test_a_rogue_node_revokes_everybody(tmp_path: Path) -> None:
    """While the catalogue is the authority, what nodes say changes nothing, however many say it."""
    async with scene(tmp_path) as here:
        gate = Gate()
        registry = service(here, gate)
        for name in ("a", "b", "c"):
            answer = await say(registry, name, [EVE, str(OWN), OWN_SERIAL, "serial:ab"])
            assert answer.revoked == []
        assert gate.revocations.entries == frozenset()
        assert list((await here.catalog.revocations())[1]) == []


async def test_a_rogue_node_says_it_saw_a_newer_catalogue_and_revokes(tmp_path: Path) -> None:
    """One node can make the catalogue restored; it takes a second one to revoke anybody."""
    async with scene(tmp_path) as here:
        await restore(here)
        registry = service(here)
        for _ in range(3):
            assert (await say(registry, "a", [EVE])).revoked == []
        assert (await say(registry, "b", [BEN])).revoked == []


async def test_rogue_nodes_revoke_the_coordinator(tmp_path: Path) -> None:
    async with scene(tmp_path) as here:
        await restore(here)
        registry = service(here)
        own = [str(OWN), OWN_SERIAL, OWN_SERIAL.upper().replace("SERIAL", "serial")]
        for name in ("a", "b", "c"):
            answer = await say(
                registry, name, [*own, "serial:00C0FFEE", "spiffe://x.y/coordinator"]
            )
            assert answer.revoked == []


async def test_a_restored_catalogue_learns_back_what_two_nodes_say(tmp_path: Path) -> None:
    async with scene(tmp_path) as here:
        gate = Gate()
        registry = service(here, gate)
        await say(registry, "a", [EVE, "serial:0AB"])  # said before the restore is noticed
        await restore(here)
        assert set((await say(registry, "b", [EVE, "serial:ab", BEN])).revoked) == {
            EVE,
            "serial:ab",
        }
        assert gate.revocations.entries == {EVE, "serial:ab"}
        assert set((await say(registry, "c", [BEN])).revoked) == {EVE, "serial:ab", BEN}


async def test_a_restored_catalogue_learns_back_keys_and_never_its_own(tmp_path: Path) -> None:
    key = "key:" + "a1" * 32
    async with scene(tmp_path) as here:
        await restore(here)
        gate = Gate()
        registry = service(here, gate)
        await say(registry, "a", [key.upper().replace("KEY", "key"), OWN_KEY])
        assert (await say(registry, "b", [key, OWN_KEY])).revoked == [key]
        assert gate.revocations.entries == {key}
        with pytest.raises(UsageError):
            await say(registry, "c", ["key:ab"])


async def test_what_a_node_said_before_it_was_removed_does_not_count(tmp_path: Path) -> None:
    async with scene(tmp_path) as here:
        registry = service(here)
        await say(registry, "a", [EVE])
        await here.catalog.set_node_flags(OPERATOR, NodeId("a"), draining=None, removed=True)
        await registry.reload()
        await restore(here)
        assert (await say(registry, "b", [EVE])).revoked == []


async def test_the_only_node_is_believed_after_a_restore(tmp_path: Path) -> None:
    async with scene(tmp_path) as here:
        here.world.table.load([record("a")])
        registry = service(here)
        assert (await say(registry, "a", [EVE])).revoked == []
        await restore(here)
        here.world.table.load([record("a")])
        assert (await say(registry, "a", [EVE])).revoked == [EVE]


async def test_the_epoch_catches_up_once_and_a_rogue_node_does_not_drive_it(tmp_path: Path) -> None:
    async with scene(tmp_path) as here:
        registry = service(here)
        assert (await say(registry, "a", [], epoch=7)).revocation_epoch == 7
        assert here.world.keys.epoch == 7
        for epoch in (8, 9, 1 << 60):
            assert (await say(registry, "a", [], epoch=epoch)).revocation_epoch == 7
        huge = (await say(registry, "b", [], epoch=(1 << 62) - 1)).revocation_epoch
        assert 7 < huge <= 7 + (1 << 32)
        assert await here.catalog.revoke(OPERATOR, EVE) == huge + 1


async def test_junk_and_floods_of_revocations(tmp_path: Path) -> None:
    async with scene(tmp_path) as here:
        registry = service(here)
        for junk in (["serial:"], ["serial:zz"], ["x"], [""], ["serial:ab"] * 10_001):
            with pytest.raises(UsageError):
                await say(registry, "a", junk)
