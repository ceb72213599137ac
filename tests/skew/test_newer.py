"""This version beside one that says what it does not know: between roles, with clients, between peers."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Final

import pytest

from tests.integration.processes import wait_for
from tests.skew.houses import MEMBERS, SkewHouses
from tests.skew.newer import ASKED, KIND_MARK

pytestmark = pytest.mark.smoke

CONTENT: Final = random.Random(5).randbytes(300_000)
MANY: Final = 100
"""More entries than unknown fields were once allowed in one message."""

each_client_at_each_member = pytest.mark.parametrize(
    ("client", "member"),
    [
        ("this", "bob"),
        ("other", "alice"),
        pytest.param("this", "alice", marks=pytest.mark.slow),
        pytest.param("other", "bob", marks=pytest.mark.slow),
    ],
)
"""Where client and coordinator are of one version, only nodes and peers differ: "make test-skew"."""


def other(member: str) -> str:
    return MEMBERS[1 - MEMBERS.index(member)]


@each_client_at_each_member
def test_files_are_written_read_and_listed(
    houses: SkewHouses, client: str, member: str, tmp_path: Path
) -> None:
    folder = f"/shared/by-{client}"
    houses.cli(client, member, "mkdir", folder)
    houses.cli(client, member, "write", f"{folder}/f", stdin=CONTENT)
    for reader in ("this", "other"):
        assert houses.cli(reader, member, "read", f"{folder}/f").out == CONTENT
    for number in range(MANY):
        (tmp_path / f"{number:03}").write_bytes(b"%d" % number)
    houses.cli(client, member, "put", str(tmp_path), f"{folder}/many")
    for reader in ("this", "other"):
        assert (
            len(houses.cli(reader, member, "ls", "-l", f"{folder}/many").text.splitlines()) >= MANY
        )
    houses.cli(client, member, "get", f"{folder}/many", str(tmp_path / "back"))
    assert (tmp_path / "back" / "042").read_bytes() == b"42"
    houses.cli(client, member, "mv", f"{folder}/f", f"{folder}/g")
    houses.cli(client, member, "rm", f"{folder}/g")
    assert houses.cli(client, member, "stat", f"{folder}/f", check=False).code == 3


@each_client_at_each_member
def test_status_shows_both_nodes_and_the_peer(houses: SkewHouses, client: str, member: str) -> None:
    status = houses.cli(client, member, "status", "--json").json()
    assert [node["is_healthy"] for node in status["local_nodes"]] == [True, True]
    assert [(one["domain"], one["is_healthy"]) for one in status["peers"]] == [
        (f"home.{other(member)}", True)
    ]
    (grant,) = status["you"]["grants"]
    assert (grant["path"], grant["rights"]) == ("/shared", ["read", "write"])


@each_client_at_each_member
def test_files_of_the_peer_are_read_written_and_copied(
    houses: SkewHouses, client: str, member: str
) -> None:
    there, name = f"/@home.{other(member)}/shared", f"by-{member}-with-{client}"
    houses.cli(client, member, "write", f"{there}/{name}", stdin=CONTENT)
    assert houses.cli(client, member, "read", f"{there}/{name}").out == CONTENT
    assert name in houses.cli(client, member, "ls", there).text.split()
    houses.cli(client, member, "cp", f"{there}/{name}", f"/shared/{name}")
    assert houses.cli(client, member, "read", f"/shared/{name}").out == CONTENT
    houses.cli(client, member, "cp", f"/shared/{name}", f"{there}/{name}-back")
    assert houses.cli(client, member, "stat", f"{there}/absent", check=False).code == 3
    assert houses.cli(client, member, "ls", f"/@home.{other(member)}/else", check=False).code == 4


def test_an_entry_of_a_kind_that_is_not_known_is_refused_in_a_sentence(
    houses: SkewHouses,
) -> None:
    houses.cli("other", "bob", "mkdir", "/shared/kinds")
    houses.cli("other", "bob", "write", f"/shared/kinds/{KIND_MARK}", stdin=b"x")
    assert KIND_MARK in houses.cli("other", "bob", "ls", "/shared/kinds").text
    for command in (["ls", "/shared/kinds"], ["stat", f"/shared/kinds/{KIND_MARK}"]):
        refused = houses.cli("this", "bob", *command, check=False)
        assert refused.code == 7
        assert "Update this client" in refused.err
    assert "kinds" in houses.cli("this", "bob", "ls", "/shared").text


def test_a_right_that_is_not_known_is_refused_when_given_and_passed_over_when_told(
    houses: SkewHouses,
) -> None:
    alice, bob = houses["alice"], houses["bob"]
    asked = ("grant", "add", "/shared:read", "somebody@home.alice", *alice.operator)
    own_host, alice.host = alice.host, houses.other
    try:
        refused = alice.cli(*asked[:4], check=False)
    finally:
        alice.host = own_host
    assert refused.code == 2, refused.err
    assert "Rights are read, write and share" in refused.err
    own_host, bob.host = bob.host, houses.versions["this"]
    try:
        grants = bob.cli("grant", "list", "--json").json()
    finally:
        bob.host = own_host
    assert any("read" in str(one) for one in grants)


def test_methods_that_are_not_known_are_refused_and_the_connection_goes_on(
    houses: SkewHouses,
) -> None:
    """Of a client, a node and a peer; what was refused is called once for each connection."""
    assert houses.other.code is not None
    log = houses.other.code / ASKED
    wanted = {
        "collective.v1.files.Files RejectedError",
        "collective.v1.status.MemberStatus RejectedError",
        "collective.v1.node.NodeRegistry RejectedError",
        "collective.v1.peering.PeerLink RejectedError",
    }
    wait_for(lambda: wanted <= set(log.read_text().splitlines()), "refusal of each new method")
    for member in MEMBERS:
        houses[member].wait_heartbeats()
