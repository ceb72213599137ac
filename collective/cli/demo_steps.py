"""What the demo does, step by step, and how it tells."""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final, TextIO

from collective.cli.demo_member import DemoError, Member
from collective.core.limits import KIB, MIB
from collective.core.units import format_size

WELCOME: Final = b"Welcome to the collective!\n"
SIZES: Final = (
    ("/shared/documents/notes.bin", 64 * KIB + 1),
    ("/shared/media/photo.bin", 3 * MIB + 17),
    ("/shared/media/movie.bin", 9 * MIB + 1),
)


@dataclass(slots=True)
class Steps:
    """Tells each step and counts how they ended."""

    out: TextIO
    done: int = 0
    failed: int = 0
    _started_s: float = field(default_factory=time.monotonic)

    def say(self, text: str) -> None:
        """Print a line at once."""
        self.out.write(text + "\n")
        self.out.flush()

    def fail(self, text: str) -> None:
        """Print a failure and count it."""
        self.failed += 1
        self.say(f"FAILED: {text}")

    def step(self, what: str, act: Callable[[], str | None]) -> None:
        """Do ``act`` and tell what it returned; :class:`DemoError` ends the demo."""
        note = act()
        self.done += 1
        elapsed_s = time.monotonic() - self._started_s
        self.say(f"[{elapsed_s:6.1f} s] {what}{': ' + note if note else ''}")


@dataclass(slots=True)
class MemberFiles:
    """The files of one member, with the hashes that they must keep."""

    member: Member
    digests: dict[str, str] = field(default_factory=dict)

    def write(self, local: Path) -> str:
        """Write one file by ``write`` and the others by ``put``; return what was written."""
        member = self.member
        for path in ("/shared", "/shared/documents", "/shared/media"):
            member.command("mkdir", path)
        member.command("write", "/shared/README.txt", stdin=WELCOME)
        self.digests["/shared/README.txt"] = _digest(WELCOME)
        total = len(WELCOME)
        for path, size in SIZES:
            content = random.Random(f"{member.name}{path}").randbytes(size)  # noqa: S311 - test data
            source = local / f"{member.name}-{path.rpartition('/')[2]}"
            source.write_bytes(content)
            if size > 5 * MIB:
                member.command("write", path, stdin=source)
            else:
                member.command("put", str(source), path)
            self.digests[path] = _digest(content)
            source.unlink()
            total += size
        return f"{len(self.digests)} files, {format_size(total)}, three copies each"

    def list_all(self) -> str:
        """List by ``ls -R``; raise :class:`DemoError` if a file is missing."""
        listing = self.member.command("ls", "-R", "/shared").decode()
        for path in self.digests:
            if path.rpartition("/")[2] not in listing:
                raise DemoError(f"ls of {self.member.name} does not show {path}:\n{listing}")
        return f"{len(listing.splitlines())} names"

    def read_all(self) -> str:
        """Read every file and compare; raise :class:`DemoError` if one differs."""
        for path, wanted in self.digests.items():
            found = _digest(self.member.command("read", path))
            if found != wanted:
                raise DemoError(
                    f"{path} of {self.member.name} reads back as {found}, not {wanted}."
                )
        return f"{len(self.digests)} files identical (SHA-256)"


def run_steps(members: Sequence[Member], folder: Path, steps: Steps) -> None:
    """Do everything; raises :class:`DemoError` at the first step that fails."""
    files = [MemberFiles(member) for member in members]
    steps.say(f"Three members, a coordinator and three nodes each, in {folder}.")
    for member in members:
        member.start()
    for member in members:
        steps.step(f"{member.name}: started, nodes enrolled and healthy", _up(member))
    for one in files:
        steps.step(f"{one.member.name}: write", partial(one.write, folder))
        steps.step(f"{one.member.name}: list", one.list_all)
        steps.step(f"{one.member.name}: read", one.read_all)
    for one in files:
        victim = one.member.nodes[0]
        steps.step(f"{one.member.name}: kill -9 {victim.name}", _killed(victim.kill))
        steps.step(f"{one.member.name}: read with two nodes", one.read_all)
    steps.step("stop every process", partial(_stop, members))
    for member in members:
        member.start()
    for member in members:
        steps.step(f"{member.name}: started again", _up(member))
    for one in files:
        steps.step(f"{one.member.name}: read after the restart", one.read_all)
        steps.step(f"{one.member.name}: status", partial(_status, one.member))


def _up(member: Member) -> Callable[[], str | None]:
    def act() -> str | None:
        member.wait_healthy()
        return f"coordinator 127.0.0.1:{member.ports.coordinator}"

    return act


def _killed(kill: Callable[[], None]) -> Callable[[], str | None]:
    def act() -> str | None:
        kill()
        return None

    return act


def _stop(members: Sequence[Member]) -> str:
    count = sum(process.is_running for member in members for process in member.processes)
    for member in members:
        member.stop()
    return f"{count} processes"


def _status(member: Member) -> str:
    status = member.status()
    files, chunks, storage = status["files"], status["chunks"], status["storage"]
    if files["total"] != len(SIZES) + 1 or chunks["unavailable"]:
        raise DemoError(f"status of {member.name} shows {files} and {chunks}.")
    return (
        f"{files['total']} files, {chunks['total']} chunks, "
        f"{chunks['under_replicated']} short of copies, "
        f"{format_size(storage['used_bytes'])} of {format_size(storage['total_bytes'])} used"
    )


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
