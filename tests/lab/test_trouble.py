"""Each member in turn is parted from the others, killed, restored, moved, or gets a new CA, while people write.

After each, the files of every member work again for the people of every other, and nothing that was
acknowledged is lost.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.integration.cluster import Cluster
from tests.integration.processes import wait_for
from tests.lab.houses import PEOPLE, Lab, advertise

pytestmark = pytest.mark.slow

each = pytest.mark.parametrize("member", PEOPLE)


def others_go_on(lab: Lab, member: str) -> None:
    """Require that those who are not in trouble reach each other's files, and their own."""
    one, other = lab.others(member)
    lab.works(one, other)
    lab.works(other, one)


@each
@pytest.mark.parametrize("is_one_way", [False, True], ids=["both ways", "one way"])
def test_a_member_is_parted_from_the_others(lab: Lab, member: str, is_one_way: bool) -> None:
    """One way: it hears the others, and they do not hear it."""
    with lab.everybody_writes():
        lab.network.part(lab.host(member), is_one_way=is_one_way)
        try:
            lab.wait_away(member)
            lab.fails_at_once(member)
            others_go_on(lab, member)
        finally:
            lab.network.heal()
        lab.wait_back(member)
    lab.check()


@each
def test_one_member_is_not_heard_by_one_other(lab: Lab, member: str) -> None:
    """The third reaches both all the time."""
    deaf, third = lab.others(member)
    with lab.everybody_writes():
        lab.network.cut(lab.host(member), lab.host(deaf))
        try:
            lab.wait_away(member, seen_by=[deaf])
            lab.fails_at_once(member, seen_by=[deaf])
            for pair in ((third, member), (member, third), (third, deaf), (deaf, third)):
                lab.works(*pair)
        finally:
            lab.network.heal()
        lab.wait_back(member)
    lab.check()


@each
def test_a_member_is_killed_and_starts_again(lab: Lab, member: str) -> None:
    house = lab.houses[member]
    with lab.everybody_writes():
        house.kill_all()
        lab.wait_away(member)
        lab.fails_at_once(member)
        others_go_on(lab, member)
        house.start()
        lab.wait_back(member)
    lab.check()


@each
def test_a_member_moves_to_another_address(lab: Lab, member: str) -> None:
    """It tells its peers where it is."""
    with lab.everybody_writes():
        move(lab, member)
        lab.wait_back(member)
    address = f"{lab.host(member).address}:{lab.houses[member].coordinator_port}"
    for other in lab.others(member):
        assert address_of(lab, other, member) == address
    lab.check()


@each
def test_a_member_that_moved_is_found_through_a_common_peer(lab: Lab, member: str) -> None:
    """One is down while it moves, and it is down when that one is back: only the third can tell."""
    absent, common = lab.others(member)
    house, asking = lab.houses[member], lab.houses[absent]
    with lab.everybody_writes():
        asking.coordinator.kill()
        move(lab, member)
        address = f"{lab.host(member).address}:{house.coordinator_port}"
        wait_for(lambda: address_of(lab, common, member) == address, "news at the common peer")
        house.coordinator.kill()
        asking.start()
        wait_for(lambda: address_of(lab, absent, member) == address, "news through the common peer")
        house.start()
        lab.wait_back(member)
        lab.wait_back(absent)
    lab.check()


def address_of(lab: Lab, here: str, there: str) -> str:
    """Return where ``here`` believes ``there`` to be."""
    return next(
        str(peer["address"])
        for peer in lab.houses[here].status()["peers"]
        if peer["domain"] == f"home.{there}"
    )


def move(lab: Lab, member: str) -> None:
    """Kill a member, give its host another address, and start it there."""
    house = lab.houses[member]
    house.kill_all()
    lab.host(member).move(lab.network.new_address())
    advertise(house, lab.host(member))
    house.start()


@each
def test_a_member_is_restored_from_an_old_backup(lab: Lab, member: str, tmp_path: Path) -> None:
    """What it acknowledged since is beyond it; what it had then, and all of the others, is there."""
    house = lab.houses[member]
    house.coordinator.terminate()
    data = house.data_dir("coordinator")
    shutil.copytree(data, tmp_path / "backup")
    in_backup = set(lab.acknowledged[member])
    house.start()
    lab.wait_back(member)
    with lab.everybody_writes():
        for _ in range(2):  # two newer bundles, of which its backup knows nothing
            move(lab, member)
            lab.wait_back(member)
    since = lab.acknowledged[member] - in_backup
    numbers = {other: sequence_of(lab, other, member) for other in lab.others(member)}

    house.coordinator.kill()
    lab.wait_away(member)
    shutil.rmtree(data)
    shutil.copytree(tmp_path / "backup", data)
    lab.acknowledged[member] = in_backup
    house.coordinator.start()
    house.coordinator.wait_ready()
    wait_for(lambda: not house.cli("node", "adopt", "--all", "--yes", check=False).code, "adoption")
    house.wait_healthy(len(house.nodes))
    lab.wait_back(member)
    wait_for(
        lambda: all(sequence_of(lab, other, member) > seen for other, seen in numbers.items()),
        "bundle with a number above those that others have seen",
    )
    lost = min(since)
    assert house.cli("stat", f"/shared/{lost}", check=False).code == 3
    with lab.everybody_writes():
        pass
    lab.check()


def sequence_of(lab: Lab, here: str, there: str) -> int:
    facts = lab.houses[here].cli("peer", "show", f"home.{there}", "--json").json()
    return int(facts["bundle_sequence"])


@each
def test_a_member_gets_a_new_ca(lab: Lab, member: str) -> None:
    house = lab.houses[member]
    before = fingerprints(lab, member)
    with lab.everybody_writes():
        house.cli("pki", "rotate-ca", "--yes")
        house.wait_heartbeats(3)
        lab.people[member].cli("ls", "/")  # by which the person follows
        wait_for(lambda: not people_waiting(house), "people with the new CA")
        house.cli("pki", "rotate-ca", "--finish", "--force", "--yes")
        house.wait_healthy(len(house.nodes))
        wait_for(lambda: not before & fingerprints(lab, member), "peers with the new CA")
        lab.wait_back(member)
    lab.check()


def fingerprints(lab: Lab, member: str) -> set[str]:
    """Return what the others hold for the fingerprint of ``member``."""
    shown = (
        lab.houses[other].cli("peer", "show", f"home.{member}", "--json").json()
        for other in lab.others(member)
    )
    return {str(facts["fingerprint"]) for facts in shown}


def people_waiting(house: Cluster) -> list[str]:
    told = house.cli("pki", "rotate-ca", "--status", "--json").json()
    return [who for who in told["waiting"] if "/user/" in who]
