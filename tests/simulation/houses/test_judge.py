"""Each rule about what houses are to each other, broken once: the judge tells."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest

from collective.core.errors import NotFoundError, PermissionDeniedError, UnreachableError
from collective.core.paths import FilePath
from collective.model.peers import PeerState
from collective.model.rights import Right
from collective.rpc.gen.collective.v1 import peering as pb
from tests.simulation.clients import Rights
from tests.simulation.houses import granting
from tests.simulation.houses import hostility as hostile
from tests.simulation.houses import judge as judges
from tests.simulation.houses.abroad import Crossing
from tests.simulation.houses.conftest import READ, UNA
from tests.simulation.houses.federation import Federation
from tests.simulation.houses.hostility import HUGE, Forger, Forgery, PeerLies
from tests.simulation.houses.household import Household
from tests.simulation.houses.judge import AGREE_S, FAREWELL_S, REMOVED_S
from tests.simulation.houses.ledger import Giving
from tests.simulation.houses.people import LOCAL_S, Clerk, Guest, Resident
from tests.simulation.liar import as_sent
from tests.simulation.process import BrokenPromiseError

MALLORY = "home.mallory"


def resident_of(house: Household, kind: type[Resident] = Resident) -> Resident:
    credentials: Any = SimpleNamespace(certified=SimpleNamespace(identity=UNA))
    both = frozenset(("/media",))
    return kind(f"{house.prefix}una", house, credentials, Rights(both, both))


# --- connections of removed peers ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("at_node", "since_s", "calm", "is_wrong"),
    [
        (False, 100.0 - REMOVED_S - 1.0, True, True),
        (False, 100.0 - REMOVED_S + 1.0, True, False),
        (True, 100.0 - REMOVED_S - 1.0, True, False),
        (True, 100.0 - REMOVED_S - 21.0, True, True),
        (True, 100.0 - REMOVED_S - 21.0, False, False),
    ],
    ids=("late", "in time", "a node hears later", "late at a node", "a node that may be cut off"),
)
def test_no_connection_of_a_removed_peer_stands(
    federation: Federation,
    alice: Household,
    bob: Household,
    at_node: bool,
    since_s: float,
    calm: bool,
    is_wrong: bool,
) -> None:
    alice.loop.now_s = 100.0
    host = f"{alice.prefix}n1" if at_node else alice.member.coordinator
    alice.member.machine(host)
    alice.member.started_s[host] = 0.0
    connection: Any = mock.Mock(open=True)
    listener: Any = SimpleNamespace(
        host=host,
        process=SimpleNamespace(alive=True),
        _connections={connection: SimpleNamespace(identity=UNA)},
    )
    federation.around.network.listeners[host, 7000] = listener
    with mock.patch.object(alice, "is_calm_since", return_value=calm):
        if is_wrong:
            with pytest.raises(BrokenPromiseError, match="of a removed peer is connected"):
                federation.judge._check_connections(alice, bob, since_s)
        else:
            federation.judge._check_connections(alice, bob, since_s)


# --- what a house does for its own people waits for no peer ----------------------------------------


@pytest.mark.parametrize(
    ("took_s", "calm", "is_wrong"),
    [(LOCAL_S + 1.0, True, True), (LOCAL_S / 2, True, False), (LOCAL_S + 1.0, False, False)],
    ids=("slow", "quick", "disturbed"),
)
def test_a_local_call_of_a_calm_house_waits_for_nobody(
    alice: Household, bob: Household, took_s: float, calm: bool, is_wrong: bool
) -> None:
    clerk = resident_of(alice, Clerk)

    async def status() -> Any:
        await asyncio.sleep(took_s)
        return SimpleNamespace(peers=[SimpleNamespace(domain=str(bob.domain))])

    home: Any = SimpleNamespace(status=status)
    with (
        mock.patch.object(alice, "is_calm_since", return_value=calm),
        mock.patch.object(clerk.chance, "choice", return_value=1),
    ):
        if is_wrong:
            with pytest.raises(BrokenPromiseError, match="took"):
                alice.loop.run(clerk.act(home))
        else:
            alice.loop.run(clerk.act(home))


@pytest.mark.parametrize(("since_s", "is_calm"), [(33.0, True), (31.0, False)])
def test_a_house_is_calm_once_its_nodes_are_known_to_a_coordinator_that_started(
    alice: Household, since_s: float, is_calm: bool
) -> None:
    alice.loop.now_s = 40.0
    alice._disturbed_s = alice.nodes_came_s = -100.0
    alice.member.started_s[alice.member.coordinator] = 0.0
    with mock.patch.object(alice.member, "is_ready", return_value=True):
        assert alice.is_calm_since(since_s) is is_calm, "a heartbeat is 20 s, and 12 s are allowed"


@pytest.mark.parametrize("what", ["_root", "_status"])
@pytest.mark.parametrize("shown", ["bob", "nobody", "a stranger too"])
def test_the_root_and_the_status_show_each_peer_and_nobody_else(
    alice: Household, bob: Household, what: str, shown: str
) -> None:
    clerk = resident_of(alice, Clerk)
    domains = {"bob": [str(bob.domain)], "nobody": []}.get(shown, [str(bob.domain), MALLORY])

    async def listed(_: str) -> AsyncIterator[Any]:
        for domain in domains:
            yield SimpleNamespace(path=FilePath((f"@{domain}",)))

    async def status() -> Any:
        return SimpleNamespace(peers=[SimpleNamespace(domain=domain) for domain in domains])

    home: Any = SimpleNamespace(list=listed, status=status)
    look: Callable[[Any], Any] = getattr(clerk, what)
    if shown == "bob":
        alice.loop.run(look(home))
    else:
        with pytest.raises(BrokenPromiseError, match="as peers"):
            alice.loop.run(look(home))


# --- what a catalogue has --------------------------------------------------------------------------


def wired(
    house: Household, *, state: PeerState = PeerState.ACTIVE, grants: tuple[Any, ...] = ()
) -> Any:
    """Return what the judge looks at of a coordinator that knows its neighbour as ``state`` says."""
    domain = house.neighbours[0].domain
    peer = SimpleNamespace(state=state, sequence=3, since_ms=1, body=b"body", signature=b"")
    known = SimpleNamespace(peer=peer, bundle=SimpleNamespace(authorities=("its CA",)))
    book = SimpleNamespace(
        all={domain: known}, is_peer=lambda one: one == domain and state is PeerState.ACTIVE
    )
    writer = SimpleNamespace(book=SimpleNamespace(live=lambda _: grants))
    own = SimpleNamespace(authority=SimpleNamespace(certificate="its CA"))
    signed = SimpleNamespace(body=b"body")
    bundle = SimpleNamespace(_signed=signed, _sequence=3, _own=own)
    health = SimpleNamespace(is_healthy=True, why="")
    return SimpleNamespace(
        links=SimpleNamespace(to=lambda _: SimpleNamespace(health=health)),
        ground=SimpleNamespace(
            federation=SimpleNamespace(book=book, bundle=bundle),
            catalog=SimpleNamespace(_engine=SimpleNamespace(writer=writer)),
        ),
    )


def test_nobody_else_is_a_peer(federation: Federation, alice: Household) -> None:
    made = wired(alice)
    made.ground.federation.book.all[MALLORY] = made.ground.federation.book.all[
        alice.neighbours[0].domain
    ]
    with (
        mock.patch.object(alice, "wired", return_value=made),
        pytest.raises(BrokenPromiseError, match="strangers"),
    ):
        federation.judge.look(alice)


def test_no_grant_is_there_that_nobody_gave(federation: Federation, alice: Household) -> None:
    def grant(path: str) -> Any:
        return SimpleNamespace(
            path=path, principal=UNA, granted_by=alice.coordinator, rights=Right(READ)
        )

    made = wired(alice, grants=(grant("/media"), grant("/docs")))
    federation.judge._genuine.add((b"body", b""))
    with (
        mock.patch.object(alice, "wired", return_value=made),
        pytest.raises(BrokenPromiseError, match="nobody gave"),
    ):
        federation.judge.look(alice)


@pytest.mark.parametrize("amiss", ["", "away", "older bundle", "no peer"])
def test_in_the_end_all_peers_see_each_other_with_the_newest_bundles(
    federation: Federation, alice: Household, bob: Household, amiss: str
) -> None:
    ours, theirs = wired(alice), wired(bob)
    if amiss == "away":
        ours.links.to("").health.is_healthy = False
    elif amiss == "older bundle":
        theirs.ground.federation.bundle._signed.body = b"newer"
    elif amiss == "no peer":
        ours.ground.federation.book.all[bob.domain].peer.state = PeerState.REMOVED
    federation.judge._houses = [alice, bob]
    with (
        mock.patch.object(alice, "wired", return_value=ours),
        mock.patch.object(bob, "wired", return_value=theirs),
    ):
        if amiss:
            with pytest.raises(BrokenPromiseError, match="after the last fault"):
                alice.loop.run(federation.judge.agree())
            assert alice.loop.now_s > AGREE_S
        else:
            alice.loop.run(federation.judge.agree())


@pytest.mark.parametrize(
    "why_not",
    ["", "cut", "clock", "rotation", "restored", "other CA", "cannot follow", "just peered"],
)
def test_a_removed_peer_hears_of_it_where_it_can(
    federation: Federation, alice: Household, bob: Household, why_not: str
) -> None:
    alice.ledger.begin(alice.ledger.without(bob.domain)).done()
    ours, theirs = wired(alice, state=PeerState.REMOVED), wired(bob)
    if why_not == "cut":
        federation.around.network.link(bob.member.coordinator, alice.member.coordinator).cut = True
    elif why_not == "clock":
        bob.member.machines[bob.member.coordinator].clock.offset_s = -3600.0
    elif why_not == "rotation":
        alice.rotates = True
    elif why_not == "other CA":
        theirs.ground.federation.bundle._own.authority.certificate = "another CA"
    elif why_not == "just peered":
        now_ms = round(bob.member.machines[bob.member.coordinator].clock.wall_s() * 1000)
        theirs.ground.federation.book.all[alice.domain].peer.since_ms = now_ms + 60_000

    def look() -> None:
        with (
            mock.patch.object(alice, "wired", return_value=ours),
            mock.patch.object(bob, "wired", return_value=theirs),
            mock.patch.object(judges, "cannot_follow", return_value=why_not == "cannot follow"),
        ):
            federation.judge.look(alice)

    look()
    if why_not == "restored":  # to before the peering: no tombstone is there to answer
        alice.desk.restores += 1
        ours.ground.federation.book.all.clear()
    alice.loop.now_s = FAREWELL_S - 1.0
    look()
    alice.loop.now_s = 2 * FAREWELL_S
    if why_not:
        look()
    else:
        with pytest.raises(BrokenPromiseError, match="has not heard"):
            look()


def test_a_tombstone_that_is_forgotten_is_no_excuse(
    federation: Federation, alice: Household, bob: Household
) -> None:
    alice.ledger.begin(alice.ledger.without(bob.domain)).done()
    ours, theirs = wired(alice, state=PeerState.REMOVED), wired(bob)
    with (
        mock.patch.object(alice, "wired", return_value=ours),
        mock.patch.object(bob, "wired", return_value=theirs),
        mock.patch.object(judges, "cannot_follow", return_value=False),
    ):
        federation.judge.look(alice)
        ours.ground.federation.book.all.clear()  # as after a start that left it out
        alice.loop.now_s = FAREWELL_S + 1.0
        with pytest.raises(BrokenPromiseError, match="has not heard"):
            federation.judge.look(alice)


# --- calls across houses ---------------------------------------------------------------------------


def guest_at(alice: Household, bob: Household) -> Guest:
    resident = resident_of(bob)
    resident.visit(alice)
    return resident.guests[0]


def test_a_copy_that_the_grants_allow_is_not_refused(alice: Household, bob: Household) -> None:
    guest = guest_at(alice, bob)

    async def copy(*_: Any) -> None:
        raise PermissionDeniedError("No.")

    home: Any = SimpleNamespace(copy=copy)
    resident = guest.resident
    with pytest.raises(BrokenPromiseError, match="a copy is refused"):
        alice.loop.run(resident._crossing(home, guest, "/media/a", resident, "/media/b"))


def test_a_copy_beyond_the_grants_is_not_served(alice: Household, bob: Household) -> None:
    guest = guest_at(alice, bob)

    async def copy(*_: Any) -> None:
        """Succeed."""

    home: Any = SimpleNamespace(copy=copy)
    resident = guest.resident
    with pytest.raises(BrokenPromiseError, match="beyond what its grants"):
        alice.loop.run(resident._crossing(home, resident, "/media/a", guest, "/media/b"))


@pytest.mark.parametrize("act", ["read", "stat", "remove", "write"])
@pytest.mark.parametrize("meanwhile", [False, True], ids=("never granted", "granted meanwhile"))
def test_a_trespass_that_is_served_is_told(
    alice: Household, bob: Household, act: str, meanwhile: bool
) -> None:
    guest = guest_at(alice, bob)
    giving = Giving("/docs", UNA, alice.coordinator)
    alice.ledger.expect([], [giving])
    bob.member.machine(f"{bob.prefix}una").begin()
    alice.desk.check_acknowledged = lambda *_: None

    async def served(*_: Any) -> bytes:
        if meanwhile:
            alice.ledger.begin({giving.key: int(Right.READ | Right.WRITE)}).done()
        return b""

    home: Any = SimpleNamespace(read=served, stat=served, remove=served, write=served)
    with mock.patch.object(
        guest.chance, "choice", side_effect=lambda among: act if act in among else among[0]
    ):
        if meanwhile:
            alice.loop.run(guest._trespass(home))
        else:
            with pytest.raises(BrokenPromiseError, match="which no grant allows"):
                alice.loop.run(guest._trespass(home))


def test_a_right_is_passed_on_by_who_has_it_alone(alice: Household, bob: Household) -> None:
    guest = guest_at(alice, bob)
    needs = [("/media", Right.READ), ("/media", Right.SHARE)]
    with pytest.raises(BrokenPromiseError, match="beyond what its grants"):
        granting._judge(Crossing(guest, needs), None, judged=True)
    held = Crossing(guest, needs[:1])
    granting._judge(held, None, judged=True)
    with pytest.raises(BrokenPromiseError, match="refused that the owner's grants allow"):
        granting._judge(held, PermissionDeniedError("No."), judged=True)


@pytest.mark.parametrize(
    ("error", "is_wrong", "counts"),
    [
        (None, True, False),
        (NotFoundError("Nothing is there."), True, False),
        (PermissionDeniedError("No."), False, True),
        (UnreachableError("The connection broke."), False, False),
    ],
    ids=("served", "absence told", "refused", "not heard"),
)
def test_nobody_is_spoken_for_by_another_member(
    alice: Household, bob: Household, error: Exception | None, is_wrong: bool, counts: bool
) -> None:
    forger, call = Forger(bob, alice, bob.chance), Forgery("stat", str(UNA), "/media/a")
    with mock.patch.object(hostile, "_made", side_effect=error):
        made = forger._try(mock.Mock(), call)
        if is_wrong:
            with pytest.raises(BrokenPromiseError, match="made for"):
                alice.loop.run(made)
        else:

            async def tell() -> None:
                assert await made is counts

            alice.loop.run(tell())


def test_a_coordinator_that_lies_tells_others_what_is_not_so(
    alice: Household, bob: Household
) -> None:
    process: Any = SimpleNamespace(lies=PeerLies(bob, bob.chance))
    word = pb.PeerWord(newest_of_yours=3, granted_to_you=1)
    told = as_sent(process, "exchange", word)
    assert str(alice.coordinator) in told.record.revoked
    assert {one.sequence for one in told.known.members} == {HUGE}
    assert word.record is None, "the program's own word stays as it is"
    other = pb.ListPeersRequest()
    assert as_sent(process, "list", other) is other
