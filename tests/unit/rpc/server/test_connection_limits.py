"""Who is let in, who gives way, and who has been there for too long."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import cast

import pytest
from grpclib.server import Handler

from collective.core.errors import BusyError
from collective.core.ids import Domain, GlobalId, SpiffeId
from collective.pki.certificates import Certified
from collective.rpc.server.connection_limits import Bounds, Crowd, OpenConnection, source_of
from collective.rpc.tls.contexts import ALPN_GRPC

HOME = Domain("home.alice")
NAT = "192.0.2.1"


class Transport:
    """Closed when it is said to be."""

    def __init__(self) -> None:
        self.is_closed = False

    def is_closing(self) -> bool:
        return self.is_closed


@dataclass
class Calls:
    """As much of grpclib's handler as is asked."""

    running: bool = False

    def check_closed(self) -> bool:
        return not self.running


class Time:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def user(name: str) -> Certified:
    return Certified(SpiffeId.user(HOME, GlobalId(name, HOME)), "01", 0.0, 4e9, ())


class Doorman:
    """Lets connections in as the listener does."""

    def __init__(self, bounds: Bounds) -> None:
        self.time = Time()
        self.crowd = Crowd(bounds, self.time)

    def come(
        self,
        peer: Certified | None,
        source: str = NAT,
        *,
        running: bool = False,
        member: str = "",
    ) -> tuple[OpenConnection, OpenConnection | None]:
        out = self.crowd.make_room(peer, source, member)
        transport = cast("asyncio.Transport", Transport())
        handler = cast("Handler", Calls(running))
        protocol = asyncio.Protocol()
        made = OpenConnection(transport, peer, ALPN_GRPC, protocol, source, member, handler=handler)
        self.time.now_s += 0.001
        self.crowd.add(made)
        return made, out


def test_the_people_of_another_member_are_one_holder() -> None:
    """It could invent any number of them."""
    door = Doorman(Bounds(in_all=100, per_holder=20, per_member=10))
    for number in range(10):
        door.come(user(f"b{number}"), f"192.0.2.{number}", member="home.bob")
    with pytest.raises(BusyError, match=r"home\.bob"):
        door.come(user("b10"), "192.0.2.10", member="home.bob")
    for _ in range(20):
        door.come(user("ann"), "192.0.2.77")
    door.come(user("c"), member="home.carol")


def test_a_flood_without_certificates_pushes_out_itself() -> None:
    door = Doorman(Bounds(in_all=8, per_holder=8))
    guest, _ = door.come(None, "198.51.100.7")
    for _ in range(100):
        assert door.come(None)[1] is not guest
        assert len(door.crowd) <= 8
    assert door.crowd.get(guest.transport) is guest


def test_whoever_comes_during_a_flood_of_his_own_address_is_let_in_and_may_finish_his_call() -> (
    None
):
    door = Doorman(Bounds(in_all=8, per_holder=8))
    for _ in range(20):
        door.come(None)
    guest, _ = door.come(None, running=True)
    for _ in range(20):
        door.come(None)
    assert door.crowd.get(guest.transport) is guest


def test_calls_that_never_end_keep_nobody_out() -> None:
    door = Doorman(Bounds(in_all=8, per_holder=8))
    held = [door.come(None, running=True)[0] for _ in range(8)]
    assert door.come(None)[1] is held[0]


def test_four_identities_of_one_user_shut_out_nobody() -> None:
    """A user may invite himself: each of his identities may have its 256, and there are 1,024."""
    door = Doorman(Bounds(in_all=1024, per_holder=256))
    for name in ("mallory", "mallory2", "mallory3", "mallory4"):
        for _ in range(256):
            door.come(user(name))
        with pytest.raises(BusyError):
            door.come(user(name))
    for _ in range(10):  # from behind the same NAT
        _, out = door.come(user("bob"))
        assert out is not None
        assert out.holder.startswith("spiffe://home.alice/user/home.alice/mallory")


def test_a_thousand_identities_from_one_address_push_out_nobody_elsewhere() -> None:
    door = Doorman(Bounds(in_all=100, per_holder=50))
    guests = [door.come(user("bob"), "198.51.100.7")[0] for _ in range(4)]
    for number in range(1000):
        door.come(user(f"mallory{number}"))
    guests += [door.come(user("bob"), "198.51.100.7")[0] for _ in range(4)]
    for number in range(1000):
        door.come(user(f"mallory{number}"))
    assert all(door.crowd.get(one.transport) is one for one in guests)


def test_a_household_behind_one_address_has_all_the_room_there_is() -> None:
    door = Doorman(Bounds(in_all=100, per_holder=50))
    for number in range(100):
        assert door.come(user(f"u{number % 10}"))[1] is None


def test_equals_do_not_push_each_other_out_in_turn() -> None:
    door = Doorman(Bounds(in_all=40, per_holder=40))
    for number in range(40):
        door.come(user("ann" if number % 2 else "bob"))
    for name in ("ann", "bob"):
        with pytest.raises(BusyError):
            door.come(user(name))


def test_nobody_makes_room_for_himself() -> None:
    """What he has goes on; it is the new connection that has to wait."""
    door = Doorman(Bounds(in_all=3, per_holder=9))
    for _ in range(3):
        door.come(user("ann"))
    with pytest.raises(BusyError):
        door.come(user("ann"))


def test_what_is_not_in_use_gives_way_first() -> None:
    door = Doorman(Bounds(in_all=3, per_holder=3))
    door.come(user("ann"), running=True)
    idle, _ = door.come(user("ann"))
    door.come(user("ann"), running=True)
    assert door.come(user("bob"))[1] is idle


def test_idle_and_long_lived_connections_are_overdue() -> None:
    door = Doorman(Bounds(in_all=9, per_holder=9, idle_s=10, life_s=60))
    idle, _ = door.come(None)
    busy, _ = door.come(None, running=True)
    door.time.now_s = 9
    assert door.crowd.overdue() == []
    door.time.now_s = 11
    assert door.crowd.overdue() == [idle]
    door.crowd.forget(idle.transport)
    door.time.now_s = 59
    assert door.crowd.overdue() == []
    door.time.now_s = 61
    assert door.crowd.overdue() == [busy]


def test_closed_connections_count_no_longer() -> None:
    door = Doorman(Bounds(in_all=1, per_holder=1))
    one, _ = door.come(user("ann"))
    cast("Transport", one.transport).is_closed = True
    assert door.come(user("ann"))[1] is None


@pytest.mark.parametrize(
    ("host", "source"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
    ],
)
def test_one_site_is_one_source(host: str, source: str) -> None:
    assert source_of(host) == source
