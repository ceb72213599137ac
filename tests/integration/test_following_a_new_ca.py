"""People and a new CA: who uses the member follows at once, and who was shut out comes back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.cluster import Cluster, running_cluster
from tests.integration.processes import wait_for
from tests.integration.test_ca_rotation import nodes_have_followed, wait_until_over
from tests.integration.test_identities import Machine, invite


@pytest.fixture
def member(tmp_path: Path) -> Iterator[Cluster]:
    extra = {"COLLECTIVE_COPIES": "1", "COLLECTIVE_HEARTBEAT_INTERVAL": "2"}
    with running_cluster(tmp_path / "rotating", node_count=1, extra=extra) as cluster:
        cluster.cli("mkdir", "/shared")
        yield cluster


def joined(member: Cluster, folder: Path, name: str, code: str = "") -> Machine:
    machine = Machine(folder / name)
    machine.run("identity", "init", "--global-id", f"{name}@homelab.collective.local")
    code = code or invite(member, "/shared:read+write")["code"]
    machine.run("invite", "redeem", code)
    return machine


def test_people_follow_with_their_next_command_and_join_the_new_ca(
    member: Cluster, tmp_path: Path
) -> None:
    early = invite(member, "/shared:read")["code"]
    bob, cathy = (joined(member, tmp_path, name) for name in ("bob", "cathy"))
    # the last thing that cathy hears for long
    assert cathy.run("ls", "/shared").code == 0
    member.cli("pki", "rotate-ca", "--yes")
    anna = joined(member, tmp_path, "anna", early)
    status = member.cli("pki", "rotate-ca", "--status", "--json").json()
    assert [who for who in status["waiting"] if "/anna" in who] == []
    assert [who for who in status["waiting"] if "/bob" in who]
    assert bob.run("ls", "/shared").code == 0
    status = member.cli("pki", "rotate-ca", "--status", "--json").json()
    assert [who for who in status["waiting"] if "/bob" in who] == []
    assert [who for who in status["waiting"] if "/cathy" in who]
    wait_for(lambda: nodes_have_followed(member), "the node with the new CA")
    member.cli("pki", "rotate-ca", "--finish", "--force", "--yes")
    wait_until_over(member)
    for machine in (anna, bob):
        assert machine.run("ls", "/shared").code == 0

    # cathy is shut out, is told what to do, and comes back in her place
    assert "ask for a new invitation" in cathy.run("ls", "/shared", code=7).err
    assert "new code" in cathy.run("invite", "redeem", early, code=7).err
    told = cathy.run("invite", "redeem", invite(member, "/shared:read")["code"]).text
    assert "Joined alice-homelab (" in told
    assert "replaced-" in told
    assert cathy.names() == {"alice-homelab": True}
    assert cathy.run("ls", "/shared").code == 0
    assert cathy.run("ls", "/shared", "--collective", "alice").code == 0
