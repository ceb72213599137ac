"""Containers of the example hang, die, are cut off and run out of room: what was acknowledged is there after."""

from __future__ import annotations

from typing import Final

import pytest

from tests.compose.engine import LAB
from tests.compose.person import Person

pytestmark = [pytest.mark.compose, pytest.mark.slow, pytest.mark.timeout(1800)]

MEMBERS: Final = ("alice", "bob", "carol")
NODE_VOLUME: Final = "160m"  # less than a container may have of memory, which it counts as
FILLED: Final = "small-volume.yml"
"""Carol's node volume on a file system of that size, so that it can be filled; it lives as long as it is in use."""


@pytest.fixture(scope="module")
def client(person: Person) -> Person:
    """Somebody who joined all three members, with a file at each."""
    override = LAB / FILLED
    override.write_text(
        "volumes:\n  carol-nodes:\n    driver_opts:\n      type: tmpfs\n      device: tmpfs\n"
        f'      o: "size={NODE_VOLUME},uid=10001,gid=10001,mode=0700"\n'
    )
    before = person.engine.environment["COMPOSE_FILE"]
    person.engine.environment["COMPOSE_FILE"] = f"{before}:{override}"
    person.types("docker compose up -d", timeout_s=900)
    person.waits_healthy()
    person.types("collective identity init --global-id me@homelab.collective.local")
    for member in MEMBERS:
        made = person.types(
            f"collective invite generate --grant /shared:read+write {person.operator(member)}"
        )
        person.types(f"collective invite redeem {made.out.split()[-1]}")
        person.types(f"collective mkdir /shared --collective {member}-homelab")
        person.types(
            f"collective put ~/Downloads/movie.mp4 /shared/m --collective {member}-homelab"
        )
    return person


def reads(person: Person, member: str) -> None:
    person.types(
        f"collective read /shared/m --collective {member}-homelab | cmp - ~/Downloads/movie.mp4"
    )


def writes(person: Person, member: str) -> None:
    def written() -> bool:
        done = person.types(
            f"date +%s.%N | collective write /shared/new --collective {member}-homelab",
            codes=(0, 1, 5, 6, 8),
        )
        return done.code == 0

    person.waits(written, f"write at {member}")


@pytest.mark.parametrize("how", ["pause", "kill", "disconnect"])
def test_a_node_fails_and_comes_back(client: Person, how: str) -> None:
    for member in MEMBERS:
        node = client.containers(f"{member}-node")[0]
        fail(client, node, how)
        reads(client, member)
        writes(client, member)
        mend(client, node, how)
        client.waits(lambda member=member: len(client.nodes(member)) == 3, "three nodes")  # type: ignore[misc]


@pytest.mark.parametrize("how", ["pause", "kill", "disconnect"])
def test_a_coordinator_fails_alone_and_comes_back(client: Person, how: str) -> None:
    for number, member in enumerate(MEMBERS):
        other = MEMBERS[(number + 1) % 3]
        fail(client, f"{member}-coordinator", how)
        reads(client, other)
        writes(client, other)
        mend(client, f"{member}-coordinator", how)
        writes(client, member)
        reads(client, member)

        def peers(member: str = member) -> bool:
            status = client.status(member)
            return bool(status) and sum(one["is_healthy"] for one in status["peers"]) == 2

        client.waits(peers, f"peers of {member}")


def test_prometheus_fails_alone(client: Person) -> None:
    for how in ("pause", "kill"):
        fail(client, "prometheus", how)
        reads(client, "alice")
        mend(client, "prometheus", how)
    client.waits(
        lambda: (
            client.types("curl -s http://localhost:9090/-/ready", codes=(0, 7, 52, 56)).code == 0
        ),
        "Prometheus",
    )


def test_a_full_volume_is_told_and_got_over(client: Person) -> None:
    node = client.containers("carol-node")[0]
    fill = "dd if=/dev/zero of=/nodes/filler bs=1M; true"
    client.engine.docker("exec", node, "sh", "-c", fill)

    def full() -> bool:
        status = client.status("carol")
        return bool(status) and all(one["disk"] == "full" for one in status["local_nodes"])

    client.waits(full, "nodes that say that their disk is full")
    done = client.types(
        "head -c 5000000 /dev/urandom | collective write /shared/more --collective carol-homelab",
        codes=(6,),
    )
    assert done.err
    reads(client, "carol")
    client.waits(lambda: client.health("carol-coordinator") == "unhealthy" or None, "a sign of it")
    writes(client, "bob")
    client.engine.docker("exec", node, "rm", "/nodes/filler")
    writes(client, "carol")
    client.waits_healthy(("carol-coordinator", "carol-node"))


def network(person: Person) -> str:
    form = "{{range $name, $_ := .NetworkSettings.Networks}}{{$name}}{{end}}"
    return person.engine.docker("inspect", "-f", form, "prometheus").out.strip()


def fail(person: Person, container: str, how: str) -> None:
    if how == "disconnect":
        person.engine.docker("network", "disconnect", network(person), container)
    else:
        person.engine.docker(how, container)


def mend(person: Person, container: str, how: str) -> None:
    match how:
        case "pause":
            person.engine.docker("unpause", container)
        case "kill":  # by hand it stays down, whatever its policy says
            person.engine.docker("start", container)
        case _:
            address = [
                option
                for member, last in (("alice", 10), ("bob", 20), ("carol", 30))
                if container == f"{member}-coordinator"
                for option in ("--ip", f"172.20.0.{last}")
            ]
            person.engine.docker("network", "connect", *address, network(person), container)
