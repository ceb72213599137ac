"""Where a node looks for its coordinator: what was set, what was told, what was known."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from collective.core.errors import SettingsError
from collective.core.ids import StoreUuid
from collective.core.settings import ServeSettings
from collective.core.units import Address
from collective.model.nodes import Whereabouts
from collective.roles.node.enrolment_notes import NodeNotes, load_notes
from collective.roles.node.member_addresses import (
    KEPT_MAX,
    MemberAddresses,
    coordinator_addresses,
    followed,
)
from tests.worlds import REAL

HERE, LAN, VPN = Address("127.0.0.1", 8001), Address("nas.lan", 8001), Address("100.64.0.7", 8001)
UUID = StoreUuid("ab" * 16)


class Bench:
    def __init__(self, folder: Path) -> None:
        self.path = folder / "n1.json"
        self.settings = ServeSettings(roles=frozenset({"node"}))
        self.addresses = MemberAddresses(
            self.settings,
            NodeNotes(UUID, (LAN,), (Address("nas.lan", 9001),)),
            str(self.path),
            REAL,
        )

    @property
    def kept(self) -> NodeNotes:
        return load_notes(str(self.path), REAL.disk)


def test_the_coordinator_is_looked_for_where_it_was_set_and_where_it_said() -> None:
    settings = ServeSettings(
        roles=frozenset({"node"}), coordinator_address=Address("0.0.0.0", 8001)
    )
    assert coordinator_addresses(settings, NodeNotes(None, (LAN, HERE))) == (HERE, LAN)
    with pytest.raises(SettingsError, match="COLLECTIVE_COORDINATOR_ADDRESS"):
        coordinator_addresses(ServeSettings(roles=frozenset({"node"})), NodeNotes())


def test_what_is_told_comes_before_what_was_known() -> None:
    assert followed((VPN, LAN), (LAN, Address("old.lan", 1))) == (VPN, LAN, Address("old.lan", 1))


def test_addresses_are_bounded() -> None:
    many = tuple(Address(f"h{n}", 1) for n in range(KEPT_MAX))
    assert followed((VPN,), many) == (VPN, *many[:-2], many[-1])


def test_a_loopback_address_of_another_machine_is_left_out() -> None:
    assert followed((HERE,), (LAN,)) == (LAN,)
    assert followed((HERE,), (Address("127.0.0.1", 9),)) == (HERE, Address("127.0.0.1", 9))


async def test_what_is_new_is_kept_and_used(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    door = Address("100.64.0.7", 9001)
    await bench.addresses.hear(Whereabouts((LAN, VPN), (door,)))
    assert bench.kept == NodeNotes(UUID, (LAN, VPN), (door, Address("nas.lan", 9001)))
    assert bench.addresses.coordinator == (LAN, VPN)
    assert bench.addresses.bootstrap == bench.kept.bootstrap_addresses


async def test_what_is_known_is_not_written_again(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    await bench.addresses.hear(Whereabouts((LAN,), ()))
    await bench.addresses.hear(Whereabouts())
    assert not bench.path.exists()


async def test_a_disk_that_takes_nothing_stops_no_heartbeat(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.path.mkdir()
    await bench.addresses.hear(Whereabouts((VPN,), ()))
    assert bench.addresses.coordinator == (VPN, LAN)
    assert bench.path.is_dir()


async def test_settings_that_change_keep_what_was_told(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    await bench.addresses.hear(Whereabouts((VPN,), ()))
    assert json.loads(bench.path.read_text())["coordinator_addresses"][0] == str(VPN)
    bench.addresses.move(ServeSettings(roles=frozenset({"node"}), coordinator_address=HERE))
    assert bench.addresses.coordinator == (HERE, VPN, LAN)


def test_the_address_that_the_node_joined_by_stays_whatever_is_told() -> None:
    joined = Address("alice.example.org", 8001)
    told = tuple(Address(f"h{n}", 1) for n in range(KEPT_MAX + 4))
    assert followed(told, (joined,))[-1] == joined


def test_a_node_that_knows_no_coordinator_does_not_begin(tmp_path: Path) -> None:
    settings = ServeSettings(roles=frozenset({"node"}))
    with pytest.raises(SettingsError, match="COLLECTIVE_COORDINATOR_ADDRESS"):
        MemberAddresses(settings, NodeNotes(UUID), str(tmp_path / "n1.json"), REAL)
