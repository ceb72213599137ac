"""Three members, one of which is killed, hangs, moves, is restored from a backup, or replaces its CA."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from collective.client.collective import Collective
from collective.core.errors import UnreachableError
from tests.integration.cluster import Cluster
from tests.integration.federation.houses import Houses, Person, running_houses
from tests.integration.ports import free_port

CONTENT = b"a file of bob's\n" * 1000
DETECTED_S = 5.0
"""A dead peer is known within so long."""
AT_ONCE_S = 0.1
"""Then calls to it fail within so long."""
BUSY = 3.0
"""How much slower this machine may be than it should: others run beside this."""


@pytest.fixture(scope="module")
def houses(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Houses]:
    folder = tmp_path_factory.mktemp("houses")
    settings = {"COLLECTIVE_COPIES": "1", "COLLECTIVE_SNAPSHOT_INTERVAL": "0.5"}
    with running_houses(folder, "alice", "bob", "carol", nodes=1, extra=settings) as made:
        made.peer("alice", "bob")
        made.peer("bob", "carol")
        made.peer("carol", "alice")
        yield made


@pytest.fixture(scope="module")
def una(houses: Houses) -> Person:
    houses["alice"].cli("mkdir", "/shared")
    houses["bob"].cli("mkdir", "/media")
    houses["bob"].write("/media/file", CONTENT)
    una = houses.person("alice", "una", "/shared:read+write")
    houses["bob"].cli("grant", "add", "/media:read", "una@home.alice")
    assert una.cli("read", "/@home.bob/media/file").out == CONTENT
    return una


def wait_away(houses: Houses) -> float:
    """Return how many seconds it took until alice knew that bob is away."""
    began_s = time.monotonic()
    houses.wait_peer(houses["alice"], "home.bob", lambda peer: not peer["is_healthy"])
    return time.monotonic() - began_s


def wait_back(houses: Houses) -> None:
    for one, other in (("alice", "bob"), ("bob", "alice"), ("carol", "bob"), ("bob", "carol")):
        houses.wait_peer(houses[one], f"home.{other}", lambda peer: peer["is_healthy"])


def fails_at_once(una: Person) -> None:
    """Check that a call to a peer that is away fails quickly, and says since when it is."""

    async def work(home: Collective) -> float:
        await home.stat("/shared")
        began_s = time.monotonic()
        with pytest.raises(UnreachableError, match=r"home\.bob is away since \d{4}-"):
            await home.stat("/@home.bob/media/file")
        with pytest.raises(UnreachableError, match=r"home\.bob is away since \d{4}-"):
            await home.read("/@home.bob/media/file")
        with pytest.raises(UnreachableError, match=r"home\.bob is away since \d{4}-"):
            await home.copy("/@home.bob/media/file", "/shared/copy")
        return (time.monotonic() - began_s) / 3

    assert una.use(work) < AT_ONCE_S * BUSY
    assert una.cli("stat", "/@home.bob/media/file", check=False).code == 5


def local_calls_go_on(una: Person) -> None:
    async def work(home: Collective) -> None:
        async with asyncio.timeout(DETECTED_S):
            await home.write("/shared/meanwhile", b"x")
            names = {entry.path.name async for entry in home.list("/")}
            assert {"shared", "@home.bob"} <= names

    una.use(work)


def test_a_killed_peer_is_known_and_comes_back(houses: Houses, una: Person) -> None:
    bob = houses["bob"].coordinator
    bob.kill()
    assert wait_away(houses) < DETECTED_S * BUSY
    fails_at_once(una)
    local_calls_go_on(una)
    bob.start()
    bob.wait_ready()
    wait_back(houses)
    assert una.cli("read", "/@home.bob/media/file").out == CONTENT


def test_a_peer_that_hangs_keeps_nobody_waiting(houses: Houses, una: Person) -> None:
    bob = houses["bob"].coordinator
    bob.pause()
    try:
        assert wait_away(houses) < DETECTED_S * BUSY
        fails_at_once(una)
        local_calls_go_on(una)
    finally:
        bob.resume()
    wait_back(houses)
    assert una.cli("read", "/@home.bob/media/file").out == CONTENT


def test_a_peer_that_moved_is_found_through_a_common_one(houses: Houses, una: Person) -> None:
    """Alice is down meanwhile, so bob cannot tell her; carol can."""
    alice, bob, carol = (houses[name] for name in ("alice", "bob", "carol"))
    alice.coordinator.kill()
    move(bob)
    for one, other in ((bob, "home.carol"), (carol, "home.bob")):
        houses.wait_peer(one, other, lambda peer: peer["is_healthy"])
    bob.coordinator.kill()  # now only carol knows where bob will be
    alice.coordinator.start()
    alice.coordinator.wait_ready()
    houses.wait_peer(alice, "home.carol", lambda peer: peer["is_healthy"])
    wanted = f"127.0.0.1:{bob.coordinator_port}"
    houses.wait_peer(alice, "home.bob", lambda peer: peer["address"] == wanted)
    bob.coordinator.start()
    bob.coordinator.wait_ready()
    wait_back(houses)
    assert una.cli("read", "/@home.bob/media/file").out == CONTENT


def move(member: Cluster) -> None:
    """Restart a coordinator at another address; its node hears of it by its settings."""
    for service in member.services.values():
        service.kill()
    member.coordinator_port = free_port()
    where = f"127.0.0.1:{member.coordinator_port}"
    for service in member.services.values():
        service.environment["COLLECTIVE_COORDINATOR_ADDRESS"] = where
    member.start()


def test_a_peer_restored_from_a_backup_is_believed_again(
    houses: Houses, una: Person, tmp_path: Path
) -> None:
    """Its bundle's number is lower than the one that the others have seen: it resumes above that."""
    bob = houses["bob"]
    bob.coordinator.terminate()  # which writes a last snapshot: the newest that a copy starts from
    shutil.copytree(bob.data_dir("coordinator"), tmp_path / "backup")
    bob.coordinator.start()
    bob.coordinator.wait_ready()
    wait_back(houses)
    for _ in range(2):  # two newer bundles, of which the backup knows nothing
        move(bob)
        wait_back(houses)
    seen = peer_of(houses["alice"])["bundle_sequence"]
    bob.coordinator.kill()
    shutil.rmtree(bob.data_dir("coordinator"))
    shutil.copytree(tmp_path / "backup", bob.data_dir("coordinator"))
    bob.coordinator.start()
    bob.coordinator.wait_ready()
    wait_back(houses)
    until_s = time.monotonic() + 60
    while peer_of(houses["alice"])["bundle_sequence"] <= seen:
        assert time.monotonic() < until_s, peer_of(houses["alice"])
        time.sleep(0.2)
    while bob.cli("node", "adopt", "--all", "--yes", check=False).code:  # until its node is back
        assert time.monotonic() < until_s
        time.sleep(0.2)
    bob.wait_healthy(1)
    assert una.cli("read", "/@home.bob/media/file").out == CONTENT


def peer_of(member: Cluster) -> dict[str, int]:
    found: dict[str, int] = member.cli("peer", "show", "home.bob", "--json").json()
    return found


def test_a_peer_replaces_its_ca_while_the_others_look_on(houses: Houses, una: Person) -> None:
    rotate(houses["bob"])
    wait_back(houses)
    assert una.cli("read", "/@home.bob/media/file").out == CONTENT


def test_a_peer_replaces_its_ca_while_another_is_away(houses: Houses, una: Person) -> None:
    """Alice meets a CA that she has never heard of, and finds its predecessor's word at the bootstrap."""
    alice = houses["alice"].coordinator
    before = peer_of(houses["alice"])["fingerprint"]
    alice.kill()
    houses["carol"].coordinator.kill()  # who could tell her
    try:
        rotate(houses["bob"])
        alice.start()
        alice.wait_ready()
        houses.wait_peer(houses["alice"], "home.bob", lambda peer: peer["is_healthy"])
    finally:
        houses["carol"].coordinator.start()
        houses["carol"].coordinator.wait_ready()
    assert peer_of(houses["alice"])["fingerprint"] != before
    wait_back(houses)
    assert una.cli("read", "/@home.bob/media/file").out == CONTENT


def rotate(member: Cluster) -> None:
    """Replace a member's CA, from the beginning to the end."""
    member.cli("pki", "rotate-ca", "--yes")
    member.wait_heartbeats(3)
    member.cli("pki", "rotate-ca", "--finish", "--force", "--yes")
    member.wait_healthy(1)
