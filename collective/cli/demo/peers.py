"""The federation in the demo: the members peer, and people of one reach the files of another.

At alice lie the files of her guest.  Two people of bob's try to read one: alice gave one of them a grant.
They copy it to bob, and read it there while nothing of alice's runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Final

from collective.cli.demo.client import MOVIE, Client, digest
from collective.cli.demo.member import DemoError, Member
from collective.core.errors import ExitCode

READER: Final = "ben"
STRANGER: Final = "eve"
COPIES: Final = "/copies"


def pairs(members: Sequence[Member]) -> Sequence[tuple[Member, Member]]:
    """Return each pair of members once: who invites, and who accepts."""
    return list(combinations(members, 2))


def peer(inviter: Member, accepter: Member) -> str:
    """Peer two members by a code."""
    code = inviter.command("peer", "invite", accepter.domain).decode().split()[-1]
    accepter.command("peer", "accept", code, "--yes")
    return f"peer invite {accepter.domain} there, peer accept CODE here"


def wait_peers(member: Member, members: Sequence[Member]) -> str:
    """Return once ``member`` sees all others as healthy peers."""
    others = [one.domain for one in members if one is not member]
    member.wait_peers(others)
    return " and ".join(others)


@dataclass(frozen=True, slots=True)
class Visit:
    """Two people of one member, and the file of another's guest that they want."""

    owner: Client
    reader: Client
    stranger: Client

    @classmethod
    def to(cls, owner: Client, home: Member, folder: Path) -> Visit:
        """Return the visit of two people of ``home`` to the member of ``owner``; nobody joined yet."""

        def person(name: str) -> Client:
            return Client(home, folder / name, f"{name}@{home.domain}", f"{COPIES}:read+write")

        return cls(owner, person(READER), person(STRANGER))

    @property
    def there(self) -> str:
        """The file, as people of another member call it."""
        return f"/@{self.owner.member.domain}{MOVIE}"

    @property
    def copy(self) -> str:
        """Where it is copied to, at the readers' own member."""
        return f"{COPIES}/{MOVIE.rpartition('/')[2]}"

    def grant(self) -> str:
        """Let one of them read, as the operator of the file's member."""
        self.owner.member.command("grant", "add", "/shared:read", self.reader.global_id)
        return f"{self.reader.global_id} may read /shared"

    def read(self) -> str:
        """Read the file where it is, by the own coordinator."""
        self._compare(self.there)
        return f"{self.there} is identical (SHA-256)"

    def refuse(self) -> str:
        """See that nobody reads it without a grant."""
        self.stranger.command("read", self.there, ends_with=ExitCode.PERMISSION_DENIED)
        return (
            f"exit {ExitCode.PERMISSION_DENIED:d} for {self.stranger.global_id}, who has no grant"
        )

    def fetch(self) -> str:
        """Copy the file from its member to the own one."""
        self.reader.command("mkdir", COPIES)
        self.reader.command("cp", self.there, self.copy)
        return f"cp {self.there} {self.copy}"

    def read_without_owner(self) -> str:
        """Read the copy while the other member is away, and see that the file there cannot be reached."""
        self._compare(self.copy)
        self.reader.command("stat", self.there, ends_with=ExitCode.NOT_REACHABLE)
        return f"{self.copy} is identical; exit {ExitCode.NOT_REACHABLE:d} for {self.there}"

    def _compare(self, path: str) -> None:
        found = digest(self.reader.command("read", path))
        wanted = self.owner.digests[MOVIE]
        if found != wanted:
            raise DemoError(f"{path} reads back as {found}, not {wanted}.")
