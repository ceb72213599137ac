"""The example comes up, federated, and a client outside of it writes and reads: what CI has time for."""

from __future__ import annotations

import pytest

from tests.compose.person import Person

pytestmark = [pytest.mark.compose, pytest.mark.timeout(1200)]
MEMBERS = {"alice": "home.alice", "bob": "garage.bob", "carol": "office.carol"}


def test_smoke_three_members_come_up_peer_and_serve_a_client(person: Person) -> None:
    person.types("docker compose up -d", timeout_s=900)
    person.waits_healthy()
    for member in MEMBERS:
        assert len(person.nodes(member)) == 3
        peers = person.waits(
            lambda member=member: [  # type: ignore[misc]
                one["domain"] for one in person.status(member)["peers"] if one["is_healthy"]
            ],
            "peers",
        )
        assert set(peers) <= set(MEMBERS.values())
    person.types("collective identity init --global-id me@homelab.collective.local")
    code = person.types(
        f"collective invite generate --grant /shared:read+write {person.operator('alice')}"
    ).out.split()[-1]
    person.types(f"collective invite redeem {code}")
    person.types("collective mkdir /shared && collective put ~/Downloads/movie.mp4 /shared/m")
    person.types("collective read /shared/m | cmp - ~/Downloads/movie.mp4")


def test_smoke_containers_can_do_little_and_hold_only_their_own_keys(person: Person) -> None:
    engine = person.engine
    for member in MEMBERS:
        others = [one for one in MEMBERS if one != member]
        coordinator = f"{member}-coordinator"
        for container in (coordinator, *person.containers(f"{member}-node")):
            assert engine.docker("exec", container, "id", "-u").out.strip() == "10001"
            assert engine.docker("exec", container, "touch", "/opt/x", check=False).code != 0
            engine.docker("exec", container, "touch", "/tmp/x")
            for tool in ("cc", "gcc", "ld"):
                found = engine.docker("exec", container, "which", tool, check=False)
                assert found.code != 0, f"{tool} is in the image"
            places = ("/data", "/collective", "/nodes", "/introductions")
            keys = engine.docker(
                "exec", container, "grep", "-rl", "PRIVATE KEY", *places, check=False
            ).out.split()
            assert keys
            for other in others:
                assert not any(f"/{other}-" in key for key in keys), keys
            if container != coordinator:
                assert all(key.startswith("/nodes/") and "/certs/nodes/" in key for key in keys)
                files = engine.docker("exec", container, "find", "/collective", "-type", "f").out
                assert files.split() == ["/collective/certs/join/node.code"]
            check = engine.docker("inspect", "-f", "{{json .Config.Healthcheck.Test}}", container)
            assert check.out.strip() == '["CMD","collective","healthcheck"]'


def test_smoke_a_container_ends_by_itself_on_sigterm(person: Person) -> None:
    engine = person.engine
    node = person.containers("carol-node")[0]
    for container in (node, "carol-coordinator"):
        engine.docker("stop", "-t", "60", container)
        assert engine.docker("inspect", "-f", "{{.State.ExitCode}}", container).out.strip() == "0"
