from __future__ import annotations

from pathlib import Path

from collective.core.disk import OsDisk
from collective.core.ids import Domain, MemberId
from collective.core.settings import ServeSettings
from collective.core.units import Address
from collective.roles.node.advertised_addresses import advertised, default_capacity

BOUND = Address("127.0.0.1", 8101)
TOLD = (Address("nas.lan", 8001), Address("10.0.0.5", 8001))


def test_the_bound_address_is_told_by_default() -> None:
    settings = ServeSettings(roles=frozenset({"node"}))
    assert advertised(settings, BOUND, "nas") == (BOUND,)


def test_a_node_on_every_interface_tells_its_host_name() -> None:
    settings = ServeSettings(roles=frozenset({"node"}))
    assert advertised(settings, Address("0.0.0.0", 8101), "nas") == (Address("nas", 8101),)


def test_advertised_addresses_of_a_node_are_told_as_they_are() -> None:
    settings = ServeSettings(roles=frozenset({"node"}), advertise_addresses=TOLD)
    assert advertised(settings, BOUND, "nas") == TOLD


def test_a_node_beside_a_coordinator_keeps_its_own_port() -> None:
    settings = ServeSettings(
        roles=frozenset({"node", "coordinator"}),
        member_id=MemberId("alice"),
        domain=Domain("home.alice"),
        advertise_addresses=TOLD,
    )
    assert advertised(settings, BOUND, "nas") == (
        Address("nas.lan", 8101),
        Address("10.0.0.5", 8101),
    )


def test_default_capacity_counts_what_the_store_has_already(tmp_path: Path) -> None:
    (tmp_path / "chunks" / "ab").mkdir(parents=True)
    (tmp_path / "chunks" / "ab" / "one").write_bytes(bytes(5000))
    disk = OsDisk()
    before = disk.space(str(tmp_path)).free_bytes
    found = default_capacity(disk, str(tmp_path))
    after = disk.space(str(tmp_path)).free_bytes
    assert min(before, after) + 5000 <= found <= max(before, after) + 5000
