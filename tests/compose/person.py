"""Somebody at the engine's host who types the text's commands: a home, a folder, a /tmp of their own."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

from tests.compose.engine import LAB, PATIENCE_S, ROOT, Done, Engine

T = TypeVar("T")

MOVIE: Final = bytes(range(251)) * 40_000
"""About 10 MB: three chunks."""
NODE_COUNT: Final = 9


@dataclass(slots=True)
class Person:
    """Types commands and remembers what they printed."""

    engine: Engine
    folder: Path
    printed: list[tuple[str, Done]] = field(default_factory=list)

    @classmethod
    def at(cls, engine: Engine, name: str) -> Person:
        """Come to the host of ``engine`` for the first time."""
        folder = LAB / "people" / name
        shutil.rmtree(folder, ignore_errors=True)
        for part in ("home/Downloads", "tmp", "bin", "tools"):
            (folder / part).mkdir(parents=True)
        (folder / "home/Downloads/movie.mp4").write_bytes(MOVIE)
        program = f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m collective "$@"\n'
        person = cls(engine, folder)
        person._tool("bin/collective", program)
        person._tool("tools/collective", program)
        if engine.compose_command == ["docker-compose"]:
            docker = shlex.quote(shutil.which("docker") or "docker")
            person._tool(
                "tools/docker",
                '#!/bin/sh\n[ "$1" != compose ] || { shift; exec docker-compose "$@"; }\n'
                f'exec {docker} "$@"\n',
            )
        return person

    def _tool(self, name: str, text: str) -> None:
        path = self.folder / name
        path.write_text(text)
        path.chmod(0o755)

    def _own_tmp(self) -> str:
        """Return commands that put a folder of this person's in the place of /tmp, in a mount namespace.

        A clone below /tmp, from which the program runs, stays where it is.
        """
        own = self.folder / "tmp"
        told = f"mount --rbind {shlex.quote(str(own))} /tmp"
        if not ROOT.is_relative_to("/tmp"):
            return told
        kept = own / ROOT.relative_to("/tmp")
        kept.mkdir(parents=True, exist_ok=True)
        return f"mount --bind {shlex.quote(str(ROOT))} {shlex.quote(str(kept))} && {told}"

    def types(
        self, command: str, *, codes: tuple[int, ...] = (0,), timeout_s: float = PATIENCE_S
    ) -> Done:
        """Run ``command`` in a shell; it must end with one of ``codes`` and show no traceback."""
        environment = {
            **self.engine.environment,
            "HOME": str(self.folder / "home"),
            "PATH": f"{self.folder / 'tools'}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
        }
        environment.pop("XDG_CONFIG_HOME", None)
        shell = f"{self._own_tmp()} && exec /bin/bash -o pipefail -c {shlex.quote(command)}"
        ran = subprocess.run(
            [*self.engine.inside, "unshare", "--mount", "sh", "-c", shell],
            cwd=self.folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout_s,
            check=False,
        )
        done = Done(
            ran.returncode, ran.stdout.decode(errors="replace"), ran.stderr.decode(errors="replace")
        )
        self.printed.append((command, done))
        assert "Traceback" not in done.err, done.err
        assert done.code in codes, f"{command}: {done.code}\n{done.out}{done.err}"
        return done

    def waits(self, look: Callable[[], T | None], what: str) -> T:
        """Return what ``look`` returns once it is something."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            if found := look():
                return found
            time.sleep(0.5)
        raise AssertionError(f"No {what} within {PATIENCE_S} s.")

    # --- the example ---------------------------------------------------------------------------------

    def operator(self, member: str) -> str:
        """Return the options that make a command the operator's of ``member``, by copies in /tmp."""
        certs = "/collective/certs"
        for kind, path in (
            ("ca.crt", f"ca/{member}-ca.crt"),
            ("coordinator.crt", f"coordinators/{member}-coordinator.crt"),
            ("coordinator.key", f"coordinators/{member}-coordinator.key"),
        ):
            self.types(
                f"umask 077; docker exec {member}-coordinator cat {certs}/{path} >/tmp/{member}-{kind}"
            )
        stem = f"/tmp/{member}"
        return f"--ca {stem}-ca.crt --cert {stem}-coordinator.crt --key {stem}-coordinator.key"

    def status(self, member: str) -> Any:
        """Return what the operator of ``member`` sees; None while nobody answers."""
        done = self.types(
            f"collective status --json {self.operator(member)}", codes=(0, 1, 5, 6, 8)
        )
        return json.loads(done.out) if done.code == 0 else None

    def nodes(self, member: str) -> dict[str, str]:
        """Return the standing of each node that is up, by id."""
        status = self.status(member)
        shown = status["local_nodes"] if status else []
        return {one["id"]: one["standing"] for one in shown if one["is_healthy"]}

    def containers(self, service: str) -> list[str]:
        """Return the ids of the containers of a service that run."""
        return self.engine.compose("ps", "-q", service).out.split()

    def health(self, container: str) -> str:
        """Return what the engine says of a container's health."""
        form = "{{if .State.Health}}{{.State.Health.Status}}{{end}}"
        return self.engine.docker("inspect", "-f", form, container, check=False).out.strip()

    def waits_healthy(self, services: tuple[str, ...] = ()) -> None:
        """Return when every container of ``services`` is healthy; of all with a check by default."""
        wanted = services or tuple(
            f"{member}-{kind}"
            for member in ("alice", "bob", "carol")
            for kind in ("coordinator", "node")
        )

        def all_are() -> bool:
            found = [one for service in wanted for one in self.containers(service)]
            return len(found) >= len(wanted) and all(self.health(one) == "healthy" for one in found)

        self.waits(lambda: all_are() or None, "health of every container")
