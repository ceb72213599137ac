"""A client of the demo: someone whom a member invites, with a configuration folder of their own."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from collective.cli.demo.member import DemoError, Member, run_command
from collective.core.errors import ExitCode
from collective.core.limits import KIB, MIB
from collective.core.units import format_size

WELCOME: Final = b"Welcome to the collective!\n"
README: Final = "/shared/README.txt"
MOVIE: Final = "/shared/media/movie.bin"
SIZES: Final = (
    ("/shared/documents/notes.bin", 64 * KIB + 1),
    ("/shared/media/photo.bin", 3 * MIB + 17),
    (MOVIE, 9 * MIB + 1),
)


@dataclass(slots=True)
class Client:
    """One person on one machine, and the files that they keep at one member."""

    member: Member
    folder: Path
    global_id: str
    grant: str = "/shared:read+write"
    """What they may do at their member."""
    digests: dict[str, str] = field(default_factory=dict)

    @property
    def variables(self) -> dict[str, str]:
        """What tells the command line whose configuration to use."""
        return {"COLLECTIVE_CONFIG_DIR": str(self.folder / "config")}

    def command(
        self,
        *arguments: str,
        stdin: bytes | Path = b"",
        ends_with: ExitCode = ExitCode.DONE,
    ) -> bytes:
        """Run one command with their own identity, which no option names."""
        return run_command(arguments, self.variables, stdin, ends_with=ends_with)

    def join(self) -> str:
        """Make a key, be invited by the operator, redeem the invite."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.command("identity", "init", "--global-id", self.global_id)
        printed = self.member.command(
            *("invite", "generate", "--grant", self.grant),
            *("--max-uses", "1", "--validity", "24h"),
        )
        self.command("invite", "redeem", printed.decode().split()[-1])
        path, _, rights = self.grant.partition(":")
        return f"{self.global_id} may {rights} {path}"

    def write(self) -> str:
        """Write one file by ``write`` from a pipe, one from a file, the others by ``put``."""
        local = self.folder / "outgoing" / "shared"
        shutil.rmtree(local, ignore_errors=True)
        total = 0
        for path, size in SIZES:
            content = random.Random(f"{self.member.name}{path}").randbytes(size)  # noqa: S311 - test data
            source = local.parent / path.lstrip("/")
            source.parent.mkdir(parents=True, exist_ok=True)
            source.write_bytes(content)
            self.digests[path] = digest(content)
            total += size
        movie = local / "movie.bin"
        (local.parent / MOVIE.lstrip("/")).rename(movie)
        self.command("mkdir", "/shared")
        for name in ("documents", "media"):
            self.command("put", str(local / name), f"/shared/{name}")
        self.command("write", MOVIE, stdin=movie)
        self.command("write", README, stdin=WELCOME)
        self.digests[README] = digest(WELCOME)
        shutil.rmtree(local.parent)
        size_text = format_size(total + len(WELCOME))
        return f"{len(self.digests)} files, {size_text}, three copies each"

    def list_all(self) -> str:
        """List by ``ls -R``; raise :class:`DemoError` if a file is missing."""
        listing = self.command("ls", "-R", "/shared").decode()
        for path in self.digests:
            if path.rpartition("/")[2] not in listing:
                raise DemoError(f"ls at {self.member.name} does not show {path}:\n{listing}")
        return f"{len(listing.splitlines())} names"

    def read_all(self) -> str:
        """Read one file by ``read`` and all by ``get``, and compare their hashes."""
        self._compare(README, self.command("read", README))
        local = self.folder / "incoming"
        shutil.rmtree(local, ignore_errors=True)
        self.command("get", "/shared", str(local))
        for path in self.digests:
            found = local / path.removeprefix("/shared/")
            self._compare(path, found.read_bytes() if found.is_file() else b"")
        shutil.rmtree(local)
        return f"{len(self.digests)} files identical (SHA-256)"

    def _compare(self, path: str, content: bytes) -> None:
        found, wanted = digest(content), self.digests[path]
        if found != wanted:
            raise DemoError(f"{path} of {self.member.name} reads back as {found}, not {wanted}.")

    def status(self) -> str:
        """Return what their own ``status`` says; raise :class:`DemoError` if files are missing."""
        status: dict[str, Any] = json.loads(self.command("status", "--json"))
        files, chunks, storage = status["files"], status["chunks"], status["storage"]
        if files["total"] != len(self.digests) or chunks["unavailable"]:
            raise DemoError(f"status of {self.member.name} shows {files} and {chunks}.")
        return (
            f"{files['total']} files, {chunks['total']} chunks, "
            f"{chunks['under_replicated']} short of copies, "
            f"{format_size(storage['used_bytes'])} of {format_size(storage['total_bytes'])} used"
        )


def digest(content: bytes) -> str:
    """Return the SHA-256 by which contents are compared."""
    return hashlib.sha256(content).hexdigest()
