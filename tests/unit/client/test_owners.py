"""Who has ``/@DOMAIN/…``: a member that was joined is reached straight, and no other passes for it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from collective.client.connection import Connection
from collective.client.identity.config_dir import ConfigDir
from collective.client.identity.store import IdentityStore
from collective.client.identity.stored_logins import StoredLogins
from collective.client.logins import Login
from collective.client.names import Names
from collective.client.owners import Owners
from collective.core.clock import ManualClock
from collective.core.errors import AwayError, ConflictError, NotFoundError, UnreachableError
from collective.core.ids import Domain
from collective.core.paths import FilePath
from collective.core.units import Address
from collective.pki.certificates import certificate_der
from collective.rpc.remote.connection import Control, Explain
from collective.rpc.remote.owner_paths import OwnerPaths
from tests.unit.client.identity.bootstrap import BOOTSTRAP, Member
from tests.worlds import world_of

ME = "una@friends.net"
FILM = FilePath.parse("/@garage.bob/media/film")
BOB = Domain("garage.bob")
DAY_S = 86400.0


class Fresh:
    """A renewer that finds nothing to be due."""

    async def fresh(self, _joined: Any, credentials: Any, *_: Any) -> Any:
        return credentials

    async def found(self, joined: Any, addresses: Any, _: Any) -> None:
        self.kept = (joined.name, addresses)

    async def follow(
        self, joined: Any, _credentials: Any, _given: Any, newest: bytes, _: Any
    ) -> None:
        self.followed = (joined.name, newest)


class Line:
    """A connection that is never used."""

    def __init__(self, domain: Domain) -> None:
        self.domain = domain
        self.channel = self
        self.newest_authority = b""
        self.names = cast("Names", object())
        self.is_closed = False
        self.found_at: tuple[Address, ...] = ()
        self.peers = self
        self.asked: list[Domain] = []
        self.answer: Any = NotFoundError("No peer.")

    def names_as(self, paths: OwnerPaths) -> Names:
        return Names(cast("Any", None), cast("Any", None), paths)

    async def authorities(self, domain: Domain) -> Any:
        self.asked.append(domain)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    async def close(self) -> None:
        self.is_closed = True


class World:
    """A client that joined alice's, and whoever else it joins."""

    def __init__(self, folder: Path) -> None:
        self.clock = ManualClock()
        world = world_of(clock=self.clock)
        self.store = IdentityStore(ConfigDir(str(folder / "config")), world)
        self.renewer = Fresh()
        self.logins = StoredLogins(
            self.store,
            cast("Any", self.renewer),
            world,
            passphrase=lambda: b"",
            note=lambda _: None,
        )
        self.home_name = self.join(self.member("alice", "home.alice"))
        self.home = Line(Domain("home.alice"))
        self.opened: list[tuple[Login, Explain, Line]] = []
        self.owners = self.make()

    def member(self, member: str, domain: str) -> Member:
        return Member(member, domain, self.clock)

    def join(self, member: Member) -> str:
        key = self.store.key_for_joining(lambda: b"")
        return self.store.record(member.joined(key, ME), BOOTSTRAP).collective.name

    def make(self) -> Owners:
        """What a further command has."""
        credentials = self.store.credentials(self.store.find(self.home_name), lambda: b"")

        def connect(login: Login, explain: Explain) -> Connection:
            line = Line(login.credentials.domain)
            self.opened.append((login, explain, line))
            return cast("Connection", line)

        login = Login(credentials, ())
        return Owners(cast("Connection", self.home), login, self.logins, connect)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


async def test_what_was_not_joined_goes_through_the_own_member(world: World) -> None:
    for path in ("/x", "/@garage.bob/x", "/@home.alice/x", "/"):
        assert await world.owners.of(FilePath.parse(path)) is world.owners.home
    assert world.home.asked == []


async def test_without_logins_all_goes_through_the_own_member(world: World) -> None:
    world.join(world.member("bob", "garage.bob"))
    owners = Owners(cast("Connection", world.home))
    assert await owners.of(FILM) is owners.home


async def test_a_member_that_was_joined_is_reached_straight_once_the_own_one_said_it_is_its_peer(
    world: World,
) -> None:
    bob = world.member("bob", "garage.bob")
    name = world.join(bob)
    world.home.answer = [certificate_der(bob.authority.certificate)]
    owner = await world.owners.of(FILM)
    assert owner is await world.owners.of(FilePath.parse("/@garage.bob"))
    assert owner.there(FILM) == FilePath.parse("/media/film")
    assert owner.names.shown_above == "/@garage.bob"
    [(login, explain, line)] = world.opened
    assert login.name == name
    assert "una@friends.net" in explain("No.")
    assert f"--collective {name} --coordinator HOST:PORT" in explain("No.")
    line.found_at = (Address("10.0.0.9", 8001),)
    await world.owners.close()
    assert world.renewer.kept == (name, line.found_at)
    assert line.is_closed
    assert world.home.is_closed
    world.home.answer = UnreachableError("Away.")
    assert (await world.make().of(FILM)).names.shown_above == "/@garage.bob"
    assert world.home.asked == [BOB], "asked once, and remembered"


async def test_a_member_that_calls_itself_as_a_peer_does_gets_nothing(world: World) -> None:
    """The attack: a code of mallory's, who claims bob's domain, so that una's files come to him."""
    bob, mallory = (world.member(name, "garage.bob") for name in ("bob", "mallory"))
    name = world.join(mallory)
    world.home.answer = [certificate_der(bob.authority.certificate)]
    for _ in range(2):
        with pytest.raises(ConflictError, match=f"identity leave {name}"):
            await world.owners.of(FILM)
    assert world.opened == []


async def test_a_member_that_no_peer_is_named_after_is_reached_straight_as_long_as_that_is_so(
    world: World,
) -> None:
    name = world.join(world.member("bob", "garage.bob"))
    assert (await world.owners.of(FILM)).names.shown_above == "/@garage.bob"
    other = world.member("bob2", "garage.bob")
    world.home.answer = [certificate_der(other.authority.certificate)]
    with pytest.raises(ConflictError, match=f"identity leave {name}"):
        await world.make().of(FILM)


async def test_until_the_own_member_can_be_asked_nothing_goes_there(world: World) -> None:
    name = world.join(world.member("bob", "garage.bob"))
    world.home.answer = UnreachableError("Away.")
    with pytest.raises(UnreachableError, match=f"--collective {name}"):
        await world.owners.of(FILM)
    assert world.opened == []


async def test_two_members_of_one_domain_are_told_apart_by_leaving_one(world: World) -> None:
    for name in ("bob", "mallory"):
        world.join(world.member(name, "garage.bob"))
    with pytest.raises(ConflictError, match="bob-homelab and mallory-homelab"):
        await world.owners.of(FILM)


async def test_no_path_leads_over_two_members(world: World) -> None:
    bob = world.member("bob", "garage.bob")
    world.join(bob)
    for further in ("/@garage.bob/@home.alice/x", "/@garage.bob/@garage.bob/x"):
        with pytest.raises(ConflictError, match="no further"):
            await world.owners.of(FilePath.parse(further))


async def test_another_ca_of_the_own_member_has_to_say_it_anew(world: World) -> None:
    bob = world.member("bob", "garage.bob")
    world.join(bob)
    world.home.answer = [certificate_der(bob.authority.certificate)]
    await world.owners.of(FILM)
    world.store.leave("home.alice")
    world.home_name = world.join(world.member("alice", "home.alice"))
    await world.make().of(FILM)
    assert world.home.asked == [BOB, BOB]


async def gone_straight_once(world: World) -> Member:
    """Return bob's, which was reached straight once, as alice's said that it is her peer."""
    bob = world.member("bob", "garage.bob")
    world.join(bob)
    world.home.answer = [certificate_der(bob.authority.certificate)]
    await world.owners.of(FILM)
    return bob


@pytest.mark.parametrize("days", [1.01, -1.01])
async def test_a_domain_that_changed_hands_at_the_own_member_is_noticed_within_a_day(
    world: World, days: float
) -> None:
    bob = await gone_straight_once(world)
    world.home.answer = [certificate_der(world.member("bob2", "garage.bob").authority.certificate)]
    assert (await world.make().of(FILM)).names.shown_above == "/@garage.bob"
    world.clock.jump_wall(days * DAY_S)
    for answer in (world.home.answer, UnreachableError("Away.")):
        world.home.answer = answer
        with pytest.raises((ConflictError, UnreachableError)):
            await world.make().of(FILM)
    world.home.answer = [certificate_der(bob.authority.certificate)]
    assert (await world.make().of(FILM)).names.shown_above == "/@garage.bob"


async def test_an_own_member_that_says_so_again_is_not_asked_for_another_day(world: World) -> None:
    await gone_straight_once(world)
    world.clock.jump_wall(1.5 * DAY_S)
    await world.make().of(FILM)
    assert world.home.asked == [BOB, BOB]
    world.clock.jump_wall(0.9 * DAY_S)
    await world.make().of(FILM)
    assert world.home.asked == [BOB, BOB]


async def test_what_the_own_member_said_counts_for_a_week_where_it_cannot_be_asked(
    world: World,
) -> None:
    await gone_straight_once(world)
    world.home.answer = UnreachableError("Away.")
    world.clock.jump_wall(6.9 * DAY_S)
    assert (await world.make().of(FILM)).names.shown_above == "/@garage.bob"
    world.clock.jump_wall(0.2 * DAY_S)
    with pytest.raises(UnreachableError, match="has not said lately"):
        await world.make().of(FILM)


async def test_a_peering_that_ended_is_no_word_for_later(world: World) -> None:
    await gone_straight_once(world)
    world.clock.jump_wall(1.5 * DAY_S)
    world.home.answer = NotFoundError("No peer.")
    assert (await world.make().of(FILM)).names.shown_above == "/@garage.bob"
    world.home.answer = UnreachableError("Away.")
    with pytest.raises(UnreachableError, match="has not said whether"):
        await world.make().of(FILM)


async def test_what_an_earlier_build_noted_without_a_time_is_asked_anew(world: World) -> None:
    bob = world.member("bob", "garage.bob")
    name = world.join(bob)
    facts = Path(world.store.place.facts(name))
    told = json.loads(facts.read_text())
    del told["peer_of_ms"]
    facts.write_text(json.dumps(told | {"peer_of": ["ab" * 32]}))
    world.home.answer = [certificate_der(bob.authority.certificate)]
    await world.owners.of(FILM)
    assert world.home.asked == [BOB]


async def test_every_connection_is_closed_where_keeping_an_address_is_interrupted(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await gone_straight_once(world)
    [(_, _, line)] = world.opened

    async def interrupted(*_: object) -> None:
        raise asyncio.CancelledError

    monkeypatch.setattr(world.renewer, "found", interrupted)
    with pytest.raises(asyncio.CancelledError):
        await world.owners.close()
    assert (line.is_closed, world.home.is_closed) == (True, True)


async def test_every_connection_is_closed_where_closing_another_fails(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await gone_straight_once(world)
    [(_, _, line)] = world.opened

    async def broken() -> None:
        raise UnreachableError("Gone.")

    monkeypatch.setattr(world.home, "close", broken)
    with pytest.raises(UnreachableError):
        await world.owners.close()
    assert line.is_closed


async def test_the_own_member_is_kept_and_followed_as_the_others_are(world: World) -> None:
    login = await world.logins.of(world.store.find(world.home_name))
    owners = Owners(cast("Connection", world.home), login, world.logins)
    world.home.found_at = (Address("10.0.0.1", 8001),)
    world.home.newest_authority = b"new"
    await owners.follow()
    await owners.close()
    assert world.renewer.followed == (world.home_name, b"new")
    assert world.renewer.kept == (world.home_name, world.home.found_at)


async def test_a_new_ca_that_the_other_member_tells_of_is_followed(world: World) -> None:
    name = world.join(world.member("bob", "garage.bob"))
    await world.owners.of(FILM)
    await world.owners.follow()
    assert not hasattr(world.renewer, "followed")
    world.opened[0][2].newest_authority = b"new"
    await world.owners.follow()
    assert world.renewer.followed == (name, b"new")


async def test_what_cannot_be_reached_is_explained_and_what_was_refused_is_not() -> None:
    control = Control(ManualClock(), explain=lambda why: f"{why} So it is.")

    def failing(error: Exception) -> Callable[..., Any]:
        async def method(_message: object, **_: object) -> object:
            raise error

        return method

    with pytest.raises(UnreachableError, match=r"^No\. So it is\.$"):
        await control.call(failing(UnreachableError("No.")), object())
    for error in (ConflictError("No."), AwayError("No.")):
        with pytest.raises(type(error), match=r"^No\.$"):
            await control.call(failing(error), object())
