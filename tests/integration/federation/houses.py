"""Several members on loopback, and people of theirs."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from collective.client.collective import Collective
from collective.client.identity.config_dir import config_dir
from collective.client.identity.store import IdentityStore
from collective.core.units import Address
from collective.pki.credentials import Credentials
from tests.integration.cluster import PATIENCE_S, Cluster, Result, command, run_on
from tests.integration.commands import HERE, Host
from tests.worlds import REAL

T = TypeVar("T")


def login_of(home: str) -> tuple[Credentials, Sequence[Address]]:
    """Return with what, and where, whose home directory this is connects to the member joined."""
    store = IdentityStore(config_dir({"HOME": home}), REAL)
    joined = store.selected(None)
    return store.credentials(joined, lambda: b""), joined.coordinator_addresses


@dataclass(slots=True)
class Person:
    """Somebody with an identity who joined one member."""

    member: Cluster
    name: str

    @property
    def environment(self) -> dict[str, str]:
        return self.member.client_environment | {"HOME": str(self.member.folder / self.name)}

    def cli(self, *arguments: str, stdin: bytes = b"", check: bool = True) -> Result:
        done = command(*arguments, environment=self.environment, stdin=stdin, host=self.member.host)
        assert "Traceback" not in done.err, done.err
        if check:
            assert done.code == 0, f"{arguments}: {done.code}: {done.err}\n{self.member.logs()}"
        return done

    def login(self) -> tuple[Credentials, Sequence[Address]]:
        """Return with what, and where, this person connects to the own member."""
        return login_of(self.environment["HOME"])

    def use(self, work: Callable[[Collective], Awaitable[T]], *, links: Any = None) -> T:
        """Return what ``work`` gets from a connection of this person's to the own member."""
        credentials, addresses = self.login()

        async def run() -> T:
            async with Collective.connect(credentials, addresses, links=links) as home:
                return await work(home)

        return run_on(self.member.host, run)


@dataclass(slots=True)
class Houses:
    """Members by id: ``alice`` of ``home.alice``, and so on."""

    members: dict[str, Cluster] = field(default_factory=dict)

    def __getitem__(self, member: str) -> Cluster:
        return self.members[member]

    def peer(self, inviter: str, accepter: str) -> None:
        """Peer two members by a code, and return when each knows that the other is there."""
        one, other = self[inviter], self[accepter]
        code = one.cli("peer", "invite", other.domain).text.splitlines()[-1]
        other.cli("peer", "accept", code, "--yes")
        self.wait_peer(one, other.domain, lambda peer: peer["is_healthy"])
        self.wait_peer(other, one.domain, lambda peer: peer["is_healthy"])

    def wait_peer(
        self, member: Cluster, domain: str, wanted: Callable[[dict[str, Any]], bool]
    ) -> dict[str, Any]:
        """Return what ``status`` of ``member`` says of a peer once ``wanted`` holds."""
        until_s = time.monotonic() + PATIENCE_S
        while True:
            peers: dict[str, dict[str, Any]] = {
                one["domain"]: one for one in member.status()["peers"]
            }
            if domain in peers and wanted(peers[domain]):
                return peers[domain]
            assert time.monotonic() < until_s, f"{peers}\n{member.logs()}"
            time.sleep(0.1)

    def person(self, member: str, name: str, grant: str) -> Person:
        """Return somebody who joined ``member`` with a grant there."""
        cluster = self[member]
        code = cluster.cli("invite", "generate", "--grant", grant).text.splitlines()[-1]
        person = Person(cluster, name)
        person.cli("identity", "init", "--global-id", f"{name}@{cluster.domain}")
        person.cli("invite", "redeem", code)
        return person


@contextlib.contextmanager
def running_houses(
    folder: Path,
    *names: str,
    nodes: int = 3,
    extra: Mapping[str, str] | None = None,
    prepare: Callable[[Cluster], None] = lambda _: None,
    hosts: Mapping[str, Host] | None = None,
) -> Iterator[Houses]:
    """Yield started members, each as ``prepare`` set it up; afterwards nothing of them runs.

    ``extra``: as a :class:`Cluster` takes it.  ``hosts``: where each is, by name; None: all here.
    """
    houses = Houses()
    try:
        for name in names:
            houses.members[name] = Cluster(
                folder / name,
                member=name,
                domain=f"home.{name}",
                node_count=nodes,
                extra=extra or {},
                host=HERE if hosts is None else hosts[name],
            )
        for cluster in houses.members.values():
            prepare(cluster)
            for service in cluster.services.values():
                service.start()
        for cluster in houses.members.values():
            cluster.start()
        yield houses
    finally:
        for cluster in houses.members.values():
            cluster.kill_all()
