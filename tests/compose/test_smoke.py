"""The example comes up, federated, and a client outside of it writes and reads: what CI has time for."""

from __future__ import annotations

import pytest

from tests.compose.engine import COMPOSE, ROOT
from tests.compose.person import Person
from tests.pages.blocks import blocks_of

pytestmark = [pytest.mark.compose, pytest.mark.timeout(1200)]
MEMBERS = {"alice": "home.alice", "bob": "garage.bob", "carol": "office.carol"}


def test_smoke_three_members_come_up_peer_and_serve_a_client(person: Person) -> None:
    person.types("docker compose up -d", timeout_s=900)
    person.waits_healthy()
    for member, domain in MEMBERS.items():
        assert len(person.nodes(member)) == 3
        others = sorted(set(MEMBERS.values()) - {domain})
        person.waits(
            lambda member=member, others=others: healthy_peers(person, member) == others,  # type: ignore[misc]
            f"health of {others} at {member}'s, and of nobody else",
        )
    person.waits_healthy(("prometheus",))
    person.types("collective identity init --global-id me@homelab.collective.local")
    code = person.types(
        f"collective invite generate --grant /shared:read+write {person.operator('alice')}"
    ).out.split()[-1]
    person.types(f"collective invite redeem {code}")
    person.types("collective mkdir /shared && collective put ~/Downloads/movie.mp4 /shared/m")
    person.types("collective read /shared/m | cmp - ~/Downloads/movie.mp4")


def healthy_peers(person: Person, member: str) -> list[str]:
    """Return the domains of the peers that ``member`` reaches, in order; empty while it does not answer."""
    status = person.status(member)
    return sorted(one["domain"] for one in status["peers"] if one["is_healthy"]) if status else []


def test_smoke_a_person_of_a_peer_reads_what_was_granted(person: Person) -> None:
    """The file of the test before, by way of the coordinator of another member."""
    bob = "export COLLECTIVE_CONFIG_DIR=$HOME/ben;"
    person.types(f"{bob} collective identity init --global-id ben@garage.bob")
    code = person.types(
        f"collective invite generate --grant /own:read {person.operator('bob')}"
    ).out.split()[-1]
    person.types(f"{bob} collective invite redeem {code}")
    there = "/@home.alice/shared/m"
    person.types(f"{bob} collective read {there}", codes=(4,))
    person.types(f"collective grant add /shared:read ben@garage.bob {person.operator('alice')}")
    assert "m" in person.types(f"{bob} collective ls /@home.alice/shared").out.split()
    person.types(f"{bob} collective read {there} | cmp - ~/Downloads/movie.mp4")


def test_smoke_the_page_leads_to_a_file_that_two_share(person: Person) -> None:
    """docs/compose.md, typed as it stands; only the folder and the person are others than before."""
    page = blocks_of(ROOT / "docs" / "compose.md")
    typed = [one.text for one in page if "/shared/README.txt" in one.text]
    assert len(typed) == 2
    own, code, said = "export COLLECTIVE_CONFIG_DIR=$HOME/page;", "", ""
    for line in "".join(typed).replace("/shared", "/page").replace("ben@", "pia@").splitlines():
        if line.startswith("collective join -"):
            said = person.types(f"{own} echo {code} | {line}").out
            assert "Joined bob-homelab (garage.bob) as pia@garage.bob." in said
        else:
            said = person.types(own + line).out
        if "invite generate" in line:
            code = said.split()[-1]
    assert said == "Welcome\n"


LOOK = """
id -u
touch /opt/x 2>/dev/null && echo "the root can be written"
touch /tmp/x || echo "/tmp cannot be written"
for tool in cc gcc ld; do which $tool >/dev/null && echo "$tool is in the image"; done
echo --
grep -rl "PRIVATE KEY" /data /collective /nodes /introductions
echo --
find /collective -type f
"""


def test_smoke_containers_can_do_little_and_hold_only_their_own_keys(person: Person) -> None:
    engine = person.engine
    for member in MEMBERS:
        others = [one for one in MEMBERS if one != member]
        coordinator = f"{member}-coordinator"
        for container in (coordinator, *person.containers(f"{member}-node")):
            seen = engine.docker("exec", container, "sh", "-c", LOOK).out.split("--\n")
            assert seen[0] == "10001\n"
            keys = seen[1].split()
            assert keys
            for other in others:
                assert not any(f"/{other}-" in key for key in keys), keys
            if container != coordinator:
                assert all(key.startswith("/nodes/") and "/certs/nodes/" in key for key in keys)
                assert seen[2].split() == ["/collective/certs/join/node.code"]
    check = engine.docker("inspect", "-f", "{{json .Config.Healthcheck.Test}}", "alice-coordinator")
    assert check.out.strip() == '["CMD","collective","healthcheck"]'


def test_smoke_a_domain_that_was_named_at_the_build_has_its_folder(person: Person) -> None:
    """A volume takes the owner of the folder that it is mounted on."""
    engine = person.engine
    named = ("--build-arg", "DOMAINS=my.home", "-t", "collective:my-home")
    engine.docker("build", "-q", *named, "-f", str(COMPOSE / "Dockerfile"), str(ROOT))
    volume = "my-home-introductions:/introductions/my.home"
    shell = ("--rm", "--network", "none", "-v", volume, "--entrypoint", "sh", "collective:my-home")
    touch = "touch /introductions/my.home/x && ls /introductions"
    try:
        assert engine.docker("run", *shell, "-c", touch).out.split() == ["my.home"]
    finally:
        engine.docker("volume", "rm", "my-home-introductions", check=False)
        engine.docker("image", "rm", "collective:my-home", check=False)


def test_smoke_a_container_ends_by_itself_on_sigterm(person: Person) -> None:
    engine = person.engine
    node = person.containers("carol-node")[0]
    for container in (node, "carol-coordinator"):
        engine.docker("stop", "-t", "60", container)
        assert engine.docker("inspect", "-f", "{{.State.ExitCode}}", container).out.strip() == "0"
