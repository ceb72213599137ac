"""``/@DOMAIN/…`` by its two ways: through the own member, and straight where the client has joined that one too.

One suite of paths runs for a person of each kind; what follows is about who joined both.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from collective.client.collective import Collective
from collective.client.identity.config_dir import config_dir
from collective.client.identity.renewal import Renewer
from collective.client.identity.store import IdentityStore
from collective.client.identity.stored_logins import StoredLogins
from collective.rpc.tls_links import TlsLinks
from tests.integration.cluster import run_on
from tests.integration.federation.houses import Houses, Person, running_houses
from tests.worlds import REAL

CONTENT = random.Random(9).randbytes(9 * 1024 * 1024 + 7)
BOBS = "home.bob"


@dataclass(slots=True)
class Ways:
    """Two members, and a person for each way to the other one."""

    houses: Houses
    through: Person
    straight: Person

    def granted(self, rights: str, path: str = "/media") -> None:
        """Give the one who goes through alice's member rights at bob's."""
        bob = self.houses["bob"]
        bob.cli("grant", "add", f"{path}:{rights}", "vic@home.alice")


def join_both(houses: Houses, name: str, here: str, there: str) -> Person:
    """Return somebody who joined alice's with one grant and then bob's with another, and stays at alice's."""
    alice, bob = houses["alice"], houses["bob"]
    person = Person(alice, name)
    person.cli("identity", "init", "--global-id", f"{name}@friends.net")
    for member, grant in ((alice, here), (bob, there)):
        made = member.cli("invite", "generate", "--grant", grant)
        told = person.cli("invite", "redeem", made.text.splitlines()[-1]).text
    assert f"/@home.bob/… goes straight there from now on, as {name}@friends.net" in told
    assert person.cli("status", "--json").json()["domain"] == "home.alice"
    return person


@pytest.fixture(scope="module")
def ways(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ways]:
    with running_houses(tmp_path_factory.mktemp("ways"), "alice", "bob") as houses:
        houses.peer("alice", "bob")
        for cluster in houses.members.values():
            cluster.wait_heartbeats(2)  # with which nodes hear of peers
        alice, bob = houses["alice"], houses["bob"]
        alice.cli("mkdir", "/shared")
        bob.cli("mkdir", "/media")
        bob.cli("mkdir", "/private")
        bob.cli("write", "/media/film", stdin=CONTENT)
        bob.cli("write", "/private/diary", stdin=b"secret")
        vic = houses.person("alice", "vic", "/shared:read+write")
        una = join_both(houses, "una", "/shared:read+write", "/media:read+write+share")
        made = Ways(houses, vic, una)
        made.granted("read+write+share")
        yield made


@pytest.fixture(params=["through", "straight"])
def who(ways: Ways, request: pytest.FixtureRequest) -> Person:
    person: Person = getattr(ways, request.param)
    return person


# --- paths, by either way ------------------------------------------------------------------------


def test_the_root_and_the_peer_itself_are_shown(who: Person) -> None:
    assert "@home.bob/" in who.cli("ls", "/").text.split()
    assert who.cli("ls", "/@home.bob").text.split() == ["media/"]
    facts = who.cli("stat", "/@home.bob", "--json").json()
    assert (facts["path"], facts["kind"]) == ("/@home.bob", "peer")


def test_a_file_is_listed_told_of_and_read(who: Person) -> None:
    assert "film" in who.cli("ls", "/@home.bob/media").text.split()
    listed = who.cli("ls", "-R", "/@home.bob/media", "--json").json()
    assert "/@home.bob/media/film" in [one["path"] for one in listed]
    facts = who.cli("stat", "/@home.bob/media/film", "--json").json()
    assert (facts["path"], facts["size"]) == ("/@home.bob/media/film", len(CONTENT))
    assert who.cli("read", "/@home.bob/media/film").out == CONTENT
    part = who.cli("read", "/@home.bob/media/film", "--offset", "5000000", "--length", "9")
    assert part.out == CONTENT[5_000_000:5_000_009]


def test_a_file_is_written_moved_and_removed(ways: Ways, who: Person) -> None:
    bob, at = ways.houses["bob"], f"/@home.bob/media/{who.name}"
    made = who.cli("mkdir", "-p", f"{at}/deep", "--json").json()
    assert made["path"] == f"{at}/deep"
    written = who.cli("write", f"{at}/one", "--json", stdin=CONTENT[:5_000_000]).json()
    assert written["path"] == f"{at}/one"
    moved = who.cli("mv", f"{at}/one", f"{at}/deep/two", "--json").json()
    assert moved["path"] == f"{at}/deep/two"
    assert bob.read(f"/media/{who.name}/deep/two") == CONTENT[:5_000_000]
    assert who.cli("rm", "-r", at, "--json").json() == {"removed": 3}
    assert bob.cli("stat", f"/media/{who.name}", check=False).code == 3


def test_files_and_trees_are_put_and_got(ways: Ways, who: Person, tmp_path: Path) -> None:
    at = f"/@home.bob/media/tree-{who.name}"
    tree = tmp_path / "tree"
    (tree / "deep").mkdir(parents=True)
    (tree / "one").write_bytes(CONTENT[:300])
    (tree / "deep" / "two").write_bytes(CONTENT[:6_000_000])
    (tree / "link").symlink_to("one")
    done = who.cli("put", str(tree), at, "--json").json()
    assert (done["files"], done["links"], done["left_out"]) == (2, 1, [])
    again = who.cli("put", str(tree), at, "--json").json()
    assert (again["files"], again["unchanged"]) == (0, 3)
    who.cli("get", at, str(tmp_path / "back"))
    assert (tmp_path / "back" / "deep" / "two").read_bytes() == CONTENT[:6_000_000]
    assert (tmp_path / "back" / "link").readlink() == Path("one")
    who.cli("put", str(tree / "one"), f"{at}/three")
    who.cli("get", f"{at}/three", str(tmp_path / "three"))
    assert (tmp_path / "three").read_bytes() == CONTENT[:300]
    assert ways.houses["bob"].read(f"/media/tree-{who.name}/one") == CONTENT[:300]


def test_what_get_leaves_out_is_named_as_it_is_called_here(who: Person, tmp_path: Path) -> None:
    at = f"/@home.bob/media/bits-{who.name}"
    who.cli("mkdir", at)
    tool = tmp_path / "tool"
    tool.write_bytes(b"x")
    tool.chmod(0o4755)
    who.cli("put", str(tool), f"{at}/tool")
    done = who.cli("get", at, str(tmp_path / "back"), "--json", check=False)
    assert done.code == 9
    assert [one["name"] for one in done.json()["left_out"]] == [f"{at}/tool"]


def test_a_copy_within_the_other_member_moves_no_byte(ways: Ways, who: Person) -> None:
    bob, to = ways.houses["bob"], f"/@home.bob/media/copy-{who.name}"
    before = bob.status()["chunks"]["total"]
    done = who.cli("cp", "/@home.bob/media/film", to, "--json")
    assert done.json()["path"] == to
    assert "this machine" not in done.err
    assert bob.read(f"/media/copy-{who.name}") == CONTENT
    assert bob.status()["chunks"]["total"] == before


def test_a_file_and_a_tree_are_copied_there_and_back(ways: Ways, who: Person) -> None:
    houses = ways.houses
    here, there = f"/shared/{who.name}", f"/@home.bob/media/from-{who.name}"
    mine = CONTENT[len(who.name) :]  # so that the other's chunks are not these
    who.cli("mkdir", "-p", f"{here}/album/deep")
    who.cli("write", f"{here}/album/one", stdin=mine)
    who.cli("write", f"{here}/album/deep/two", stdin=mine[:100_000])
    done = who.cli("cp", "-r", f"{here}/album", there, "--json").json()
    assert (done["files"], done["directories"], done["left_out"]) == (2, 2, [])
    assert houses["bob"].read(f"/media/from-{who.name}/one") == mine
    again = who.cli("cp", "-r", f"{here}/album", there, "--json").json()
    assert (again["files"], again["unchanged"]) == (0, 2)
    back = who.cli("cp", f"{there}/deep/two", f"{here}/back", "--json").json()
    assert back["path"] == f"{here}/back"
    assert houses["alice"].read(f"{here}/back") == mine[:100_000]


def test_absence_is_3_and_refusal_is_4(who: Person) -> None:
    assert who.cli("read", "/@home.bob/media/nothing", check=False).code == 3
    assert who.cli("read", "/@home.bob/private/diary", check=False).code == 4
    assert who.cli("ls", "/@home.bob/private", check=False).code == 4
    assert who.cli("write", "/@home.bob/media/no/parent", stdin=b"x", check=False).code == 3
    assert who.cli("cp", "/@home.bob/private/diary", "/shared/diary", check=False).code == 4
    assert who.cli("cp", "/shared", "/@home.bob/private/x", "-r", check=False).code == 4
    assert who.cli("cp", "/@home.bob/media/none", "/shared/none", check=False).code == 3
    assert who.cli("mv", "/@home.bob/media/film", "/shared/film", check=False).code == 8
    assert who.cli("ls", "/@home.nobody/x", check=False).code == 3
    assert who.cli("ls", "/@home.bob/@home.alice/shared", check=False).code == 8


def test_a_grant_is_passed_on_listed_and_taken_back(who: Person) -> None:
    given = who.cli("grant", "add", "/@home.bob/media:read", "wil@home.bob", "--json").json()
    assert given["path"] == "/@home.bob/media"
    assert given["id"].endswith("@home.bob")
    listed = who.cli("grant", "list", "--at", BOBS, "--json").json()
    assert given["id"] in [one["id"] for one in listed]
    assert {one["path"] for one in listed} == {"/@home.bob/media"}
    more = who.cli("grant", "add", "/@home.bob/private:read", "wil@home.bob", check=False)
    assert more.code == 4
    who.cli("grant", "remove", given["id"])
    listed = who.cli("grant", "list", "--at", BOBS, "--json").json()
    assert given["id"] not in [one["id"] for one in listed]


# --- who joined both -----------------------------------------------------------------------------


def test_the_owner_sees_who_came_by_which_way(ways: Ways) -> None:
    for person in (ways.through, ways.straight):
        person.cli("stat", "/@home.bob/secret", check=False)
    audit = ways.houses["bob"].cli("audit", "--json").json()
    actors = [row["actor"] for row in audit if row["target"] == "/secret"]
    vic, una = actors[-2:]
    assert "spiffe://home.alice/user/home.alice/vic" in vic
    assert "spiffe://home.alice/coordinator" in vic
    assert una == "spiffe://home.bob/user/friends.net/una"


def test_rights_that_one_has_through_the_own_member_count_for_nothing_straight(ways: Ways) -> None:
    bob, una = ways.houses["bob"], ways.straight
    bob.cli("mkdir", "/through")
    bob.cli("write", "/through/file", stdin=b"x")
    given = bob.cli(
        "grant", "add", "/through:read+write", "una@friends.net via home.alice", "--json"
    ).json()
    assert una.cli("read", "/@home.bob/through/file", check=False).code == 4
    assert una.cli("cp", "/@home.bob/through/file", "/shared/x", check=False).code == 4
    assert una.cli("cp", "/shared", "/@home.bob/through/x", "-r", check=False).code == 4
    place = config_dir(una.environment)
    explicit = (
        *("--ca", place.authority("alice-homelab"), "--cert", place.certificate("alice-homelab")),
        *("--key", place.key),
    )
    alice = ways.houses["alice"].coordinator.environment["COLLECTIVE_COORDINATOR_ADDRESS"]
    read = una.cli("read", "/@home.bob/through/file", *explicit, "--coordinator", alice)
    assert read.out == b"x", "by explicit credentials one speaks as these alone"
    bob.cli("grant", "remove", given["id"])


def test_who_carries_the_bytes_of_a_copy_is_told(ways: Ways) -> None:
    una, bob = ways.straight, ways.houses["bob"]
    una.cli("write", "/shared/carried", stdin=CONTENT[1:])
    done = una.cli("cp", "/shared/carried", "/@home.bob/media/carried")
    assert "pass through this machine" in done.err
    assert bob.read("/media/carried") == CONTENT[1:]
    given = bob.cli(
        "grant", "add", "/media:read+write", "una@friends.net via home.alice", "--json"
    ).json()
    una.cli("write", "/shared/moved", stdin=CONTENT[2:])
    done = una.cli("cp", "/shared/moved", "/@home.bob/media/moved", "--json")
    assert "this machine" not in done.err
    assert done.json()["path"] == "/@home.bob/media/moved"
    assert bob.read("/media/moved") == CONTENT[2:]
    done = una.cli("cp", "/@home.bob/media/moved", "/shared/back")
    assert "this machine" not in done.err
    assert ways.houses["alice"].read("/shared/back") == CONTENT[2:]
    bob.cli("grant", "remove", given["id"])


def test_a_program_reaches_the_other_member_straight(ways: Ways) -> None:
    una = ways.straight
    store = IdentityStore(config_dir(una.environment), REAL)
    links = TlsLinks(REAL)
    logins = StoredLogins(
        store, Renewer(store, REAL, links), REAL, passphrase=lambda: b"", note=lambda _: None
    )

    async def run() -> bytes:
        home = await logins.of(store.selected(None))
        async with Collective.connect(home.credentials, home.addresses, logins=logins) as member:
            await member.write("/@home.bob/media/program", b"straight")
            async with member.open_read("/@home.bob/media/program") as reader:
                return b"".join([bytes(block) async for block in reader])

    assert run_on(una.member.host, run) == b"straight"


def test_one_way_is_down_and_the_other_never_stands_in_for_it(ways: Ways) -> None:
    """Last but one: alice's coordinator is killed, then bob's."""
    una, vic = ways.straight, ways.through
    alice, bob = (ways.houses[name].coordinator for name in ("alice", "bob"))
    alice.kill()
    assert una.cli("read", "/@home.bob/media/film").out == CONTENT, "it needs no way through alice"
    assert vic.cli("read", "/@home.bob/media/film", check=False).code == 5
    alice.start()
    alice.wait_ready()
    ways.houses.wait_peer(ways.houses["alice"], BOBS, lambda peer: bool(peer["is_healthy"]))
    bob.kill()
    done = una.cli("ls", "/@home.bob/media", check=False)
    assert done.code == 5
    assert "You joined home.bob yourself" in done.err
    assert "collective status --collective bob-homelab --coordinator HOST:PORT" in done.err
    bob.start()
    bob.wait_ready()


def test_after_leaving_the_other_member_one_comes_through_the_own_again(ways: Ways) -> None:
    una, houses = ways.straight, ways.houses
    houses.wait_peer(houses["alice"], BOBS, lambda peer: bool(peer["is_healthy"]))
    una.cli("identity", "leave", "bob-homelab", "--yes")
    assert una.cli("ls", "/@home.bob/media", check=False).code == 4
    houses["bob"].cli("grant", "add", "/media:read", "una@friends.net via home.alice")
    assert "film" in una.cli("ls", "/@home.bob/media").text.split()
