"""Two members that peer, of two versions, each with nodes and clients of both."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.integration.cluster import Cluster, Result, Service, command
from tests.integration.commands import HERE, Host
from tests.integration.federation.houses import Houses, Person, running_houses
from tests.skew.newer import Version

MEMBERS: Final = ("alice", "bob")
SETTINGS: Final = {"COLLECTIVE_COPIES": "2", "COLLECTIVE_HEARTBEAT_INTERVAL": "0.5"}


@dataclass(slots=True)
class SkewHouses:
    """``alice``'s coordinator is of this version, ``bob``'s of the other."""

    houses: Houses
    other: Version
    people: Mapping[str, Person]
    """By the member that they joined."""

    def __getitem__(self, member: str) -> Cluster:
        return self.houses[member]

    @property
    def versions(self) -> Mapping[str, Host]:
        return {"this": HERE, "other": self.other}

    def cli(
        self, version: str, member: str, *arguments: str, stdin: bytes = b"", check: bool = True
    ) -> Result:
        """Run a command of the person of ``member``, with the client of a version."""
        environment = self.people[member].environment
        done = command(
            *arguments, environment=environment, stdin=stdin, host=self.versions[version]
        )
        assert "Traceback" not in done.err, done.err
        if check:
            assert done.code == 0, f"{arguments}: {done.code}: {done.err}\n{self[member].logs()}"
        return done


def of_version(service: Service, host: Host) -> None:
    """Start the process with another version from now on."""
    service.host = host


@contextmanager
def running_skew_houses(folder: Path, other: Version) -> Iterator[SkewHouses]:
    """Yield both, peered; each member's second node is of the version that its coordinator is not."""

    def prepare(cluster: Cluster) -> None:
        theirs: Host = other if cluster.member == "alice" else HERE
        of_version(cluster.nodes[1], theirs)

    hosts: dict[str, Host] = {"alice": HERE, "bob": other}
    with running_houses(
        folder, *MEMBERS, nodes=2, extra=SETTINGS, prepare=prepare, hosts=hosts
    ) as houses:
        houses.peer("alice", "bob")
        people = {}
        for member in MEMBERS:
            houses[member].cli("mkdir", "/shared")
            people[member] = houses.person(member, f"{member}s-friend", "/shared:read+write")
        for member, guest in (MEMBERS, MEMBERS[::-1]):
            principal = f"{guest}s-friend@home.{guest}"
            houses[member].cli("grant", "add", "/shared:read+write", principal)
        yield SkewHouses(houses, other, people)
