from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import pytest

from collective.client.joining import Joined
from collective.core.clock import ManualClock
from collective.core.errors import (
    CannotListenError,
    ConflictError,
    SettingsError,
    UnreachableError,
)
from collective.core.ids import Domain, MemberId, NodeId, SpiffeId
from collective.core.randomness import SeededRandomness
from collective.core.settings import ServeSettings
from collective.core.units import Address
from collective.pki import certificates
from collective.pki.ca import CertificateAuthority
from collective.pki.invite_code import InviteCode
from collective.roles.node.enrolment import Enrolment
from collective.roles.node.enrolment_notes import NodeNotes
from tests.worlds import LINKS, world_of

DOMAIN = Domain("home.alice")
BOOTSTRAP = (Address("127.0.0.1", 9001),)
COORDINATOR = (Address("127.0.0.1", 8001),)


class Bootstrap:
    """What the other side of a join does, without a network."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.authority = CertificateAuthority.create(MemberId("alice"), DOMAIN, world_of(clock))
        self.failures = 0
        self.keys: list[bytes] = []
        self.gives: str | None = None
        self.role = "node"
        self.code = InviteCode(BOOTSTRAP, bytes(32), "0" * 16, bytes(16)).encode()

    async def redeem(
        self, code: InviteCode, key: Any, *, links: Any, clock: Any, wish: str = ""
    ) -> Joined:
        self.keys.append(certificates.public_key_der(key.public_key()))
        if self.failures:
            self.failures -= 1
            raise UnreachableError("No connection.")
        node = NodeId(self.gives or wish or "alice-node-01")
        identity = SpiffeId.node(DOMAIN, node)
        if self.role == "user":
            identity = SpiffeId.parse("spiffe://home.alice/user/home.alice/eve")
        certificate = self.authority.issue(identity, key.public_key())
        return Joined(
            identity=identity,
            certified=certificates.describe(certificate),
            certificate=certificate,
            authority=self.authority.certificate,
            trusted=(self.authority.certificate,),
            member=MemberId("alice"),
            domain=DOMAIN,
            collective_name="alice-homelab",
            coordinator_addresses=COORDINATOR,
            granted_by="",
            grants=(),
            grants_expire_ms=0,
        )


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def bootstrap(clock: ManualClock) -> Bootstrap:
    return Bootstrap(clock)


class Waits:
    """Sleeps that only count; the code file appears after some of them."""

    def __init__(self) -> None:
        self.count = 0
        self.then: dict[int, Any] = {}

    async def __call__(self, _seconds: float) -> None:
        self.count += 1
        act = self.then.get(self.count)
        if act is not None:
            act()
        assert self.count < 100, "waits for ever"


def enrolment(
    tmp_path: Path, bootstrap: Bootstrap, waits: Waits | None = None, **settings: Any
) -> Enrolment:
    made = ServeSettings(roles=frozenset({"node"}), cert_dir=str(tmp_path / "certs"), **settings)
    return Enrolment(
        made,
        world_of(bootstrap.clock, SeededRandomness(1)),
        LINKS,
        sleep=waits or Waits(),
        redeem_code=bootstrap.redeem,
    )


async def test_a_node_enrols_once_and_never_needs_the_code_again(
    tmp_path: Path, bootstrap: Bootstrap
) -> None:
    first = await enrolment(tmp_path, bootstrap, join_code=bootstrap.code).enrol()
    assert first.node == "alice-node-01"
    again = await enrolment(tmp_path, bootstrap).enrol()
    assert again.credentials.certificate == first.credentials.certificate
    assert again.notes == NodeNotes(None, COORDINATOR, BOOTSTRAP)
    assert len(bootstrap.keys) == 1


async def test_the_key_is_private_and_was_kept_before_it_was_used(
    tmp_path: Path, bootstrap: Bootstrap
) -> None:
    bootstrap.failures = 2
    found = await enrolment(tmp_path, bootstrap, join_code=bootstrap.code).enrol()
    assert len(bootstrap.keys) == 3
    assert len(set(bootstrap.keys)) == 1, "a repeated join must be the same join"
    assert os.stat(found.credentials.key_path).st_mode & 0o777 == 0o600
    assert not list((tmp_path / "certs" / "nodes").glob(".joining*"))


async def test_a_node_waits_for_a_code_file_that_is_not_there_yet(
    tmp_path: Path, bootstrap: Bootstrap
) -> None:
    file = tmp_path / "node.code"
    waits = Waits()
    waits.then = {2: lambda: file.write_text(""), 4: lambda: file.write_text(bootstrap.code)}
    found = await enrolment(tmp_path, bootstrap, waits, join_code_file=str(file)).enrol()
    assert found.node == "alice-node-01"
    assert waits.count == 4


async def test_without_certificate_and_code_the_error_names_the_setting(
    tmp_path: Path, bootstrap: Bootstrap
) -> None:
    with pytest.raises(SettingsError, match="COLLECTIVE_JOIN_CODE"):
        await enrolment(tmp_path, bootstrap).enrol()


async def test_a_node_whose_address_is_taken_uses_no_code(
    tmp_path: Path, bootstrap: Bootstrap
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = Address("127.0.0.1", taken.getsockname()[1])
        with pytest.raises(CannotListenError, match=f"Cannot listen on {address}: .*in use"):
            await enrolment(
                tmp_path, bootstrap, join_code=bootstrap.code, node_address=address
            ).enrol()
    assert not bootstrap.keys


async def test_a_garbled_code_is_refused_and_not_waited_for(
    tmp_path: Path, bootstrap: Bootstrap
) -> None:
    waits = Waits()
    with pytest.raises(SettingsError, match="join code"):
        await enrolment(tmp_path, bootstrap, waits, join_code="nonsense").enrol()
    assert waits.count == 0


async def test_a_users_code_makes_no_node(tmp_path: Path, bootstrap: Bootstrap) -> None:
    bootstrap.role = "user"
    with pytest.raises(SettingsError, match="--for node"):
        await enrolment(tmp_path, bootstrap, join_code=bootstrap.code).enrol()


async def test_another_id_than_the_one_set_is_refused(tmp_path: Path, bootstrap: Bootstrap) -> None:
    bootstrap.gives = "alice-node-07"
    with pytest.raises(ConflictError, match="alice-node-07"):
        await enrolment(
            tmp_path, bootstrap, join_code=bootstrap.code, node_id=NodeId("nas")
        ).enrol()


async def test_a_cert_dir_of_two_nodes_asks_which_one(tmp_path: Path, bootstrap: Bootstrap) -> None:
    for name in ("one", "two"):
        await enrolment(tmp_path, bootstrap, join_code=bootstrap.code, node_id=NodeId(name)).enrol()
    with pytest.raises(SettingsError, match="COLLECTIVE_NODE_ID"):
        await enrolment(tmp_path, bootstrap).enrol()
    found = await enrolment(tmp_path, bootstrap, node_id=NodeId("two")).enrol()
    assert found.node == "two"
