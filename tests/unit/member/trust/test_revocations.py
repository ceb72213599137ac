"""What nodes say was revoked: a restored catalogue learns it back, a rogue node shuts nobody out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from collective.core.errors import UsageError
from collective.core.ids import NodeId, SpiffeId
from collective.member.nodes.statement_macs import StatementMacs, digest_of_revocations
from collective.model.nodes import Position
from collective.roles.coordinator.faces.grpc.node_registry import RegistryService
from collective.roles.node.durable_memory import Remembered, decode, encode, with_revocations
from collective.rpc.gen.collective.v1 import node as pb
from tests.unit.member.cluster import DOMAIN, OWN
from tests.unit.member.farm import OPERATOR, Scene, scene
from tests.unit.member.nodes.test_heartbeats import (
    OWN_KEY,
    OWN_SERIAL,
    Gate,
    beat,
    revocations_of,
    service,
    speak_as,
)

EVE = "spiffe://home.alice/user/home.alice/eve"
BEN = "spiffe://home.alice/user/home.alice/ben"


async def say(
    registry: RegistryService, name: str, revoked: Sequence[str], epoch: int = 0, mac: bytes = b""
) -> pb.HeartbeatResponse:
    speak_as(SpiffeId.node(DOMAIN, NodeId(name)))
    return await registry.heartbeat(
        beat(revoked=list(revoked), revocation_epoch=epoch, revocation_mac=mac)
    )


async def remember(
    here: Scene, registry: RegistryService, name: str, revoked: Sequence[str], epoch: int = 9
) -> pb.HeartbeatResponse:
    """Say what this coordinator told the node once, before it was restored."""
    mac = StatementMacs(here.world.keys).of_digest(digest_of_revocations(epoch, list(revoked)))
    return await say(registry, name, revoked, epoch, mac)


async def restore(here: Scene) -> None:
    ours = await here.catalog.restores.position()
    await here.catalog.restores.observe(Position(ours.catalog_id, ours.epoch, ours.sequence + 1000))
    assert await here.catalog.restores.is_restored()


async def test_a_rogue_node_revokes_everybody(tmp_path: Path) -> None:
    """What nodes say without the coordinator's MAC changes nothing, however many say it."""
    async with scene(tmp_path) as here:
        gate = Gate()
        registry = service(here, gate)
        for name in ("a", "b", "c"):
            answer = await say(registry, name, [EVE, str(OWN), OWN_SERIAL, "serial:ab"])
            assert answer.revoked == []
        assert gate.revocations.entries == frozenset()
        assert list((await here.catalog.revocations.all())[1]) == []


async def test_the_nodes_of_a_stolen_join_code_revoke_everybody_after_a_restore(
    tmp_path: Path,
) -> None:
    """A restored catalogue believes no number of nodes, only its coordinator's own MAC."""
    async with scene(tmp_path) as here:
        await restore(here)
        registry = service(here)
        honest = StatementMacs(here.world.keys).of_digest(digest_of_revocations(9, [BEN]))
        for name in ("a", "b", "c"):
            assert (await say(registry, name, [EVE])).revoked == []
            assert (await say(registry, name, [EVE], 9, b"\0" * 32)).revoked == []
            assert (await say(registry, name, [BEN, EVE], 9, honest)).revoked == []
            assert (await say(registry, name, [EVE], 9, honest)).revoked == []


async def test_nodes_revoke_the_coordinator(tmp_path: Path) -> None:
    """Not even under a MAC."""
    async with scene(tmp_path) as here:
        await restore(here)
        registry = service(here)
        own = [str(OWN), OWN_SERIAL, OWN_SERIAL.upper().replace("SERIAL", "serial")]
        told = [*own, "serial:00C0FFEE", "spiffe://x.y/coordinator"]
        for name in ("a", "b", "c"):
            assert (await say(registry, name, told)).revoked == []
            assert (await remember(here, registry, name, told)).revoked == []


@pytest.mark.parametrize("is_restored", [True, False])
async def test_what_was_revoked_is_learned_back_from_one_node_that_was_told(
    tmp_path: Path, is_restored: bool
) -> None:
    """Also from one that comes back after the operator has confirmed: a revocation is for good."""
    async with scene(tmp_path) as here:
        gate = Gate()
        registry = service(here, gate)
        if is_restored:
            await restore(here)
        answer = await remember(here, registry, "b", [EVE, "serial:ab"])
        assert set(answer.revoked) == {EVE, "serial:ab"}
        assert gate.revocations.entries == {EVE, "serial:ab"}
        assert answer.revocation_epoch >= 9
        answer = await remember(here, registry, "c", [BEN], epoch=2)
        assert set(answer.revoked) == {EVE, "serial:ab", BEN}


async def test_what_a_node_was_told_comes_back_as_it_was_told(tmp_path: Path) -> None:
    """The whole way: the answer of one coordinator, kept by a node, shown to a restored one."""
    async with scene(tmp_path / "before") as before:
        await before.catalog.revocations.revoke(OPERATOR, EVE)
        revocations = revocations_of(before)
        registry = service(before, revocations=revocations)
        await revocations.refresh()
        answer = await say(registry, "a", [])
    kept = with_revocations(
        Remembered(), answer.revocation_epoch, answer.revoked, answer.revocation_mac
    )
    kept = decode(encode(with_revocations(kept, 0, [BEN])))
    async with scene(tmp_path / "after") as after:
        assert kept.revocations.entries == {EVE, BEN}
        told = kept.authenticated_entries
        mac, epoch = kept.revocation_mac, kept.revocations.epoch
        assert (await say(service(after), "a", told, epoch, mac)).revoked == [EVE]


async def test_a_restored_catalogue_learns_back_keys_and_never_its_own(tmp_path: Path) -> None:
    key = "key:" + "a1" * 32
    async with scene(tmp_path) as here:
        await restore(here)
        gate = Gate()
        registry = service(here, gate)
        assert (await remember(here, registry, "b", [key, OWN_KEY])).revoked == [key]
        assert gate.revocations.entries == {key}
        with pytest.raises(UsageError):
            await say(registry, "c", ["key:ab"])


async def test_the_epoch_catches_up_once_and_a_rogue_node_does_not_drive_it(tmp_path: Path) -> None:
    async with scene(tmp_path) as here:
        registry = service(here)
        assert (await say(registry, "a", [], epoch=7)).revocation_epoch == 7
        assert here.world.keys.epoch == 7
        for epoch in (8, 9, 1 << 60):
            assert (await say(registry, "a", [], epoch=epoch)).revocation_epoch == 7
        huge = (await say(registry, "b", [], epoch=(1 << 62) - 1)).revocation_epoch
        assert 7 < huge <= 7 + (1 << 32)
        assert await here.catalog.revocations.revoke(OPERATOR, EVE) == huge + 1


async def test_many_revocations_neither_end_heartbeats_nor_go_with_each(tmp_path: Path) -> None:
    many = [f"serial:{number:x}" for number in range(1, 12_001)]
    async with scene(tmp_path) as here:
        await here.catalog.revocations.learn(many)
        revocations = revocations_of(here)
        registry = service(here, revocations=revocations)
        await revocations.refresh()
        answer = await say(registry, "a", [])
        assert len(answer.revoked) == len(many)
        assert not answer.mac_is_newest

        async def shows_mac(revoked: Sequence[str] = ()) -> pb.HeartbeatResponse:
            return await registry.heartbeat(
                beat(
                    revoked=list(revoked),
                    revoked_left_out=not revoked,
                    revocation_epoch=answer.revocation_epoch,
                    revocation_mac=answer.revocation_mac,
                )
            )

        assert (await shows_mac(answer.revoked)).mac_is_newest
        briefly = await shows_mac()
        assert briefly.mac_is_newest
        assert len(bytes(briefly)) < 2000
        await here.catalog.revocations.revoke(OPERATOR, EVE)
        await revocations.refresh()
        anew = await shows_mac()
        assert not anew.mac_is_newest
        assert EVE in anew.revoked
        assert len(anew.revoked) == len(many) + 1


async def test_who_leaves_revocations_out_is_asked_for_what_a_restored_catalogue_forgot(
    tmp_path: Path,
) -> None:
    async with scene(tmp_path) as here:
        gate = Gate()
        registry = service(here, gate)
        mac = StatementMacs(here.world.keys).of_digest(digest_of_revocations(9, [EVE]))
        speak_as(SpiffeId.node(DOMAIN, NodeId("a")))
        answer = await registry.heartbeat(
            beat(revoked_left_out=True, revocation_epoch=9, revocation_mac=mac)
        )
        assert not answer.mac_is_newest
        await say(registry, "a", [EVE], 9, mac)
        assert gate.revocations.entries == {EVE}


async def test_junk_instead_of_revocations(tmp_path: Path) -> None:
    async with scene(tmp_path) as here:
        registry = service(here)
        for junk in (["serial:"], ["serial:zz"], ["x"], [""]):
            with pytest.raises(UsageError):
                await say(registry, "a", junk)
