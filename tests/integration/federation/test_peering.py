"""Two members peer, and their people reach each other's files."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from typing import Any

import pytest

from collective.client.collective import Collective
from collective.rpc.tls_links import TlsLinks
from tests.integration.federation.houses import Houses, Person, running_houses
from tests.integration.federation.no_nodes import NoNodes
from tests.worlds import REAL

CONTENT = random.Random(1).randbytes(9 * 1024 * 1024 + 5)


@pytest.fixture(scope="module")
def houses(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Houses]:
    with running_houses(tmp_path_factory.mktemp("houses"), "alice", "bob") as made:
        made.peer("alice", "bob")
        for cluster in made.members.values():
            cluster.wait_heartbeats(2)  # with which nodes hear of peers
        yield made


@pytest.fixture(scope="module")
def una(houses: Houses) -> Person:
    """Of alice's, with a grant at bob's."""
    houses["alice"].cli("mkdir", "/shared")
    bob = houses["bob"]
    bob.cli("mkdir", "/media")
    bob.cli("write", "/media/film", stdin=CONTENT)
    una = houses.person("alice", "una", "/shared:read+write")
    bob.cli("grant", "add", "/media:read+write", "una@home.alice")
    return una


def test_the_root_shows_each_peer(houses: Houses, una: Person) -> None:
    assert "@home.bob/" in una.cli("ls", "/").text.split()
    assert "@home.alice/" in houses["bob"].cli("ls", "/").text.split()


def test_a_file_of_a_peer_is_listed_read_and_told_of(una: Person) -> None:
    assert una.cli("ls", "/@home.bob/media").text.split() == ["film"]
    assert una.cli("read", "/@home.bob/media/film").out == CONTENT
    facts = una.cli("stat", "/@home.bob/media/film", "--json").json()
    assert facts["path"] == "/@home.bob/media/film"
    assert facts["size"] == len(CONTENT)


def test_a_file_is_written_at_a_peer(houses: Houses, una: Person) -> None:
    una.cli("write", "/@home.bob/media/from-una", stdin=CONTENT[:5_000_000])
    assert houses["bob"].read("/media/from-una") == CONTENT[:5_000_000]
    una.cli("mv", "/@home.bob/media/from-una", "/@home.bob/media/renamed")
    assert houses["bob"].read("/media/renamed") == CONTENT[:5_000_000]
    una.cli("rm", "/@home.bob/media/renamed")
    assert houses["bob"].cli("stat", "/media/renamed", check=False).code == 3


def test_absence_is_3_and_refusal_is_4_there_as_here(una: Person) -> None:
    assert una.cli("read", "/@home.bob/media/nothing", check=False).code == 3
    assert una.cli("read", "/@home.bob/other/nothing", check=False).code == 4
    assert una.cli("ls", "/@home.nobody/x", check=False).code == 3


def test_the_owner_audits_who_was_refused(houses: Houses, una: Person) -> None:
    una.cli("stat", "/@home.bob/secret", check=False)
    audit = houses["bob"].cli("audit", "--json").json()
    [peer] = houses["bob"].status()["peers"]
    assert peer["refused"] >= 1
    actors = [row["actor"] for row in audit if row["target"] == "/secret"]
    assert actors, audit[-5:]
    assert "user/home.alice/una" in actors[-1]
    assert "spiffe://home.alice/coordinator" in actors[-1]


def test_a_file_is_copied_between_members_and_within_one(houses: Houses, una: Person) -> None:
    una.cli("cp", "/@home.bob/media/film", "/shared/film")
    assert houses["alice"].read("/shared/film") == CONTENT
    una.cli("cp", "/shared/film", "/shared/again")
    assert houses["alice"].read("/shared/again") == CONTENT
    una.cli("cp", "/shared/film", "/@home.bob/media/back")
    assert houses["bob"].read("/media/back") == CONTENT
    chunks = houses["alice"].status()["chunks"]
    assert chunks["total"] == 3, "both files at alice's are made of the same chunks"


def test_a_tree_is_copied_and_a_second_run_carries_nothing(houses: Houses, una: Person) -> None:
    una.cli("mkdir", "-p", "/shared/album/deep")
    una.cli("write", "/shared/album/one", stdin=b"one")
    una.cli("write", "/shared/album/deep/two", stdin=CONTENT[:300_000])
    done = una.cli("cp", "-r", "/shared/album", "/@home.bob/media/album", "--json").json()
    assert (done["files"], done["directories"], done["left_out"]) == (2, 2, [])
    assert houses["bob"].read("/media/album/deep/two") == CONTENT[:300_000]
    again = una.cli("cp", "-r", "/shared/album", "/@home.bob/media/album", "--json").json()
    assert (again["files"], again["unchanged"]) == (0, 2)


def test_a_copy_needs_what_reading_and_writing_need(houses: Houses, una: Person) -> None:
    houses["bob"].cli("mkdir", "-p", "/private")
    houses["bob"].cli("write", "/private/diary", stdin=b"secret")
    assert una.cli("cp", "/@home.bob/private/diary", "/shared/diary", check=False).code == 4
    assert una.cli("cp", "/shared/film", "/@home.bob/private/film", check=False).code == 4
    assert una.cli("cp", "/@home.bob/media/none", "/shared/none", check=False).code == 3
    assert una.cli("cp", "/shared/film", "/shared/film", check=False).code == 8
    assert una.cli("cp", "/shared/album", "/shared/copy", check=False).code == 2


def test_a_file_of_a_peer_is_got(houses: Houses, una: Person) -> None:
    assert una.cli("get", "/@home.bob/media/film", str(houses["alice"].folder / "film")).code == 0
    assert (houses["alice"].folder / "film").read_bytes() == CONTENT


def test_a_grant_to_a_whole_member_is_for_its_people(houses: Houses) -> None:
    vic = houses.person("alice", "vic", "/shared:read")
    assert vic.cli("ls", "/@home.bob/media", check=False).code == 4
    given = houses["bob"].cli("grant", "add", "/media:read", "@home.alice", "--json").json()
    assert "film" in vic.cli("ls", "/@home.bob/media").text.split()
    assert vic.cli("rm", "/@home.bob/media/film", check=False).code == 4
    assert "@home.alice" in houses["bob"].cli("grant", "list").text
    houses["bob"].cli("grant", "remove", given["id"])
    assert vic.cli("ls", "/@home.bob/media", check=False).code == 4


def test_bytes_go_straight_to_the_owners_nodes_where_they_can(houses: Houses, una: Person) -> None:
    before = relayed(houses)
    assert una.cli("read", "/@home.bob/media/film").out == CONTENT
    una.cli("write", "/@home.bob/media/straight", stdin=CONTENT)
    assert houses["bob"].read("/media/straight") == CONTENT
    assert relayed(houses) == before


def test_bytes_go_through_the_coordinators_where_no_node_can_be_reached(
    houses: Houses, una: Person
) -> None:
    before, fresh = relayed(houses), CONTENT[::-1]  # of which no chunk is there yet

    async def work(home: Collective) -> bytes:
        await home.write("/@home.bob/media/relayed", fresh)
        return await home.read("/@home.bob/media/relayed")

    assert una.use(work, links=NoNodes(TlsLinks(REAL))) == fresh
    assert houses["bob"].read("/media/relayed") == fresh
    after = relayed(houses)
    assert after[0] > before[0], "at the coordinator of the reader"
    assert after[1] > before[1], "and at the owner's"
    for name, other in (("alice", "home.bob"), ("bob", "home.alice")):
        [peer] = houses[name].status()["peers"]
        assert peer["domain"] == other
        assert min(peer["sent_bytes"], peer["received_bytes"]) >= len(fresh)


def relayed(houses: Houses) -> tuple[int, ...]:
    """Return how many chunks the coordinators of alice and bob passed on."""
    return tuple(
        houses[name].coordinator.log_text().count('"transfer served"') for name in ("alice", "bob")
    )


def test_a_grant_at_a_peer_is_passed_on_and_ends_with_its_root(houses: Houses) -> None:
    bob = houses["bob"]
    wil, xia = (houses.person("alice", name, "/shared:read") for name in ("wil", "xia"))
    root = bob.cli("grant", "add", "/media:read+share", "wil@home.alice", "--json").json()["id"]
    passed = wil.cli("grant", "add", "/@home.bob/media:read", "xia@home.alice", "--json").json()
    assert passed["path"] == "/@home.bob/media"
    assert passed["id"].endswith("@home.bob")
    assert "film" in xia.cli("ls", "/@home.bob/media").text.split()
    more = wil.cli("grant", "add", "/@home.bob/media:write", "xia@home.alice", check=False)
    assert more.code == 4, "no more than one's own rights"
    listed = wil.cli("grant", "list", "--at", "home.bob", "--json").json()
    assert {one["id"] for one in listed} == {f"{root}@home.bob", passed["id"]}
    bob.cli("grant", "remove", root)
    assert wil.cli("ls", "/@home.bob/media", check=False).code == 4
    assert xia.cli("ls", "/@home.bob/media", check=False).code == 4


def test_a_peer_makes_no_invitations(una: Person) -> None:
    done = una.cli("invite", "generate", "--grant", "/@home.bob/media:read", check=False)
    assert done.code == 3


def test_status_shows_peers_and_their_nodes(houses: Houses, una: Person) -> None:
    def told(status: Any) -> bool:
        return len(status["remote_nodes"]) == 3

    houses["alice"].wait_status(told, "nodes of the peer")
    status = una.cli("status", "--json").json()
    assert [one["domain"] for one in status["peers"]] == ["home.bob"]
    assert status["peers"][0]["is_healthy"]
    assert status["peers"][0]["latency_ms"] > 0
    bob, alice = houses["bob"], houses["alice"]
    here = len(bob.cli("grant", "list", "--json").json())
    assert bob.cli("peer", "show", "home.alice", "--json").json()["grants_here"] == here > 0

    def heard() -> bool:
        facts = alice.cli("peer", "show", "home.bob", "--json").json()
        return bool(facts["grants_there"] == here)

    until_s = time.monotonic() + 60
    while not heard():
        assert time.monotonic() < until_s
    assert status["peers"][0]["grants_here"] is None, "una is no admin"
    assert status["peers"][0]["version"]
    shown = alice.cli("peer", "show", "home.bob", "--json").json()
    there = bob.cli("peer", "show", "home.alice", "--json").json()
    paths = sorted(f"/@home.bob{one['path']}" for one in there["granted_here"])
    assert sorted(one["path"] for one in shown["granted_there"]) == paths
    assert len(paths) == here
    assert (shown["why_not_there"], shown["not_taken"]) == ("", [])
    text = alice.cli("peer", "show", "home.bob").text
    assert "/@home.bob/media: read+write to una@home.alice" in text
    assert "healthy" in text
    assert {one["id"] for one in status["remote_nodes"]} == {f"bob-node-0{n}" for n in (1, 2, 3)}


def test_a_removed_peer_is_shut_out_at_once_on_both_sides(houses: Houses, una: Person) -> None:
    alice, bob = houses["alice"], houses["bob"]
    alice.cli("mkdir", "/for-bob")
    alice.cli("grant", "add", "/for-bob:read", "@home.bob")
    bob.cli("peer", "remove", "home.alice", "--yes")
    assert una.cli("ls", "/@home.bob/media", check=False).code != 0
    alice.wait_status(lambda status: not status["peers"], "end of the peering at the other side")
    assert una.cli("ls", "/@home.bob/media", check=False).code == 3
    assert bob.cli("grant", "list", "--json").json() == []
    left = [one["principal"] for one in alice.cli("grant", "list", "--json").json()]
    assert not any("home.bob" in one for one in left)
    assert "home.bob has ended the peering" in alice.cli("status").text
    told = alice.cli("peer", "list", "--all", "--json").json()
    assert [(one["domain"], one["state"]) for one in told] == [("home.bob", "removed")]


def test_members_peer_again_and_no_grant_revives(houses: Houses, una: Person) -> None:
    houses.peer("bob", "alice")
    assert una.cli("ls", "/@home.bob/media", check=False).code == 4
    houses["bob"].cli("grant", "add", "/media:read", "una@home.alice")
    assert "film" in una.cli("ls", "/@home.bob/media").text.split()


def test_names_given_out_before_are_told_of_and_who_accepts_is_told_to_wait(houses: Houses) -> None:
    """An inviter that confirms, and that had given out a name in the other's domain."""
    alice, bob = houses["alice"], houses["bob"]
    bob.cli("peer", "remove", "home.alice", "--yes")
    alice.wait_status(lambda status: not status["peers"], "end of the peering at the other side")
    code = alice.cli("invite", "generate", "--grant", "/shared:read").text.splitlines()[-1]
    ivy = Person(alice, "ivy")
    ivy.cli("identity", "init", "--global-id", "ivy@home.bob")
    ivy.cli("invite", "redeem", code)
    code = alice.cli("peer", "invite", "home.bob", "--confirm").text.splitlines()[-1]
    accepted = bob.cli("peer", "accept", code, "--yes")
    assert "collective peer confirm home.alice" not in accepted.text
    assert "collective peer confirm home.bob" in accepted.text
    assert "is a peer" not in accepted.text
    [told] = [one for one in alice.status()["warnings"] if "ivy@home.bob" in one]
    assert "collective identity revoke NAME" in told
    confirmed = alice.cli("peer", "confirm", "home.bob")
    assert "ivy@home.bob" in confirmed.err
    houses.wait_peer(bob, "home.alice", lambda peer: bool(peer["is_healthy"]))
    shown = alice.cli("peer", "show", "home.bob", "--json").json()
    assert shown["names_here"] == ["spiffe://home.alice/user/home.bob/ivy"]
    alice.cli("identity", "revoke", "ivy@home.bob", "--yes")
    listed = alice.cli("peer", "list").text
    assert shown["fingerprint"] in listed
    assert alice.cli("peer", "list", "--json").json()[0]["fingerprint"] == shown["fingerprint"]
    assert not [one for one in alice.status()["warnings"] if "ivy@home.bob" in one]


def test_who_accepts_with_names_given_out_is_told_until_they_were_seen(houses: Houses) -> None:
    alice, bob = houses["alice"], houses["bob"]
    alice.cli("peer", "remove", "home.bob", "--yes")
    bob.wait_status(lambda status: not status["peers"], "end of the peering at the other side")
    bob.cli("mkdir", "-p", "/media")
    bob.cli("grant", "add", "/media:read", "jon@home.alice")
    code = alice.cli("peer", "invite", "home.bob").text.splitlines()[-1]
    accepted = bob.cli("peer", "accept", code, "--yes")
    assert "is a peer; its files are at /@home.alice" in accepted.text
    assert "jon@home.alice" in accepted.err
    assert [one for one in bob.status()["warnings"] if "jon@home.alice" in one]
    assert "jon@home.alice" in bob.cli("peer", "list").err
    assert not [one for one in bob.status()["warnings"] if "jon@home.alice" in one]
