"""A container engine for the tests: the machine's own, or one of our own that touches nothing else.

Our own runs in a network namespace, so that its bridges, its NAT and its published ports are nobody else's; a
client outside of the containers is a process in that namespace.  Where no registry is reached, the base image is
made of Debian itself, and Prometheus' of the program that is installed here.  What cannot be had is left out, by
an override of the Compose file, and :attr:`Engine.left_out` says so.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
COMPOSE: Final = ROOT / "compose"
LAB: Final = Path(os.environ.get("COLLECTIVE_COMPOSE_LAB", "/var/tmp/collective-compose"))
"""Where what is slow to make is kept between runs; not below /tmp, which a client gets anew."""
NAMESPACE: Final = "collective-compose"
PATIENCE_S: Final = 300.0
PROMETHEUS_PROGRAMS: Final = ("prometheus", "wget")
"""What our own image of Prometheus has: itself, and what its health check calls."""
PROGRAMS_LABEL: Final = "collective.programs"


class NoEngineError(Exception):
    """No engine can be had here; says why."""


@dataclass(frozen=True, slots=True)
class Done:
    """What a command did."""

    code: int
    out: str
    err: str


@dataclass(slots=True)
class Engine:
    """A running engine, and how a person on its host types commands."""

    inside: Sequence[str]
    """What leads to the host's network: nothing, or into the namespace."""
    environment: dict[str, str]
    left_out: list[str] = field(default_factory=list)

    def docker(self, *arguments: str, check: bool = True, timeout_s: float = PATIENCE_S) -> Done:
        return self._run(["docker", *arguments], check=check, timeout_s=timeout_s)

    def compose(self, *arguments: str, check: bool = True) -> Done:
        return self._run([*self.compose_command, *arguments], check=check, timeout_s=PATIENCE_S * 2)

    @property
    def compose_command(self) -> list[str]:
        return compose_command(self.environment)

    def _run(self, command: Sequence[str], *, check: bool, timeout_s: float) -> Done:
        done = subprocess.run(
            [*self.inside, *command],
            env=self.environment,
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=timeout_s,
            check=False,
        )
        result = Done(done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode())
        assert not check or result.code == 0, (
            f"{shlex.join(command)}: {result.code}\n{result.out}{result.err}"
        )
        return result


def compose_command(environment: Mapping[str, str]) -> list[str]:
    """Return ``docker compose``, or ``docker-compose`` where that is all there is.

    Raises:
        NoEngineError: there is neither.
    """
    path = environment.get("PATH")
    if shutil.which("docker", path=path) is None:
        raise NoEngineError("docker is not installed.")
    done = subprocess.run(
        ["docker", "compose", "version"], env=environment, capture_output=True, check=False
    )
    if done.returncode == 0:
        return ["docker", "compose"]
    if shutil.which("docker-compose", path=path) is None:
        raise NoEngineError("neither docker compose nor docker-compose is installed.")
    return ["docker-compose"]


@contextlib.contextmanager
def running_engine() -> Iterator[Engine]:
    """Yield an engine that has the images; end it, if it is ours.

    Raises:
        NoEngineError: none can be had.
    """
    compose_command(os.environ)
    if os.environ.get("DOCKER_HOST") or _answers({**os.environ}):
        engine = Engine((), _environment({}))
        _have_images(engine)
        yield engine
        return
    with _own_engine() as engine:
        _have_images(engine)
        yield engine


def _environment(more: Mapping[str, str]) -> dict[str, str]:
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("COLLECTIVE_", "COMPOSE_"))
    }
    return {**kept, "COMPOSE_FILE": str(COMPOSE / "docker-compose.yml"), **more}


def _answers(environment: Mapping[str, str]) -> bool:
    done = subprocess.run(["docker", "info"], env=environment, capture_output=True, check=False)
    return done.returncode == 0 and b"Server Version" in done.stdout


@contextlib.contextmanager
def _own_engine() -> Iterator[Engine]:
    if os.getuid() != 0 or shutil.which("dockerd") is None or shutil.which("ip") is None:
        raise NoEngineError(
            "no engine runs, and root, dockerd and iproute2 are needed to start one."
        )
    LAB.mkdir(parents=True, exist_ok=True)
    socket, log = LAB / "d.sock", LAB / "dockerd.log"
    subprocess.run(["ip", "netns", "add", NAMESPACE], capture_output=True, check=False)
    inside = ("nsenter", f"--net=/run/netns/{NAMESPACE}")
    up = subprocess.run(
        [*inside, "ip", "link", "set", "lo", "up"], capture_output=True, check=False
    )
    if up.returncode != 0:
        raise NoEngineError("no network namespace may be made here.")
    engine = Engine(inside, _environment({"DOCKER_HOST": f"unix://{socket}"}))
    with log.open("wb") as out:
        daemon = subprocess.Popen(
            [
                *(
                    *inside,
                    "dockerd",
                    "--host",
                    f"unix://{socket}",
                    "--data-root",
                    str(LAB / "data"),
                ),
                *("--exec-root", str(LAB / "exec"), "--pidfile", str(LAB / "d.pid")),
            ],
            stdout=out,
            stderr=out,
        )
    try:
        deadline = time.monotonic() + PATIENCE_S
        while not _answers(engine.environment):
            if daemon.poll() is not None or time.monotonic() > deadline:
                raise NoEngineError("dockerd does not start here: " + log.read_text()[-300:])
            time.sleep(0.2)
        yield engine
    finally:
        daemon.terminate()
        daemon.wait(PATIENCE_S)
        subprocess.run(["ip", "netns", "delete", NAMESPACE], capture_output=True, check=False)


# --- images ------------------------------------------------------------------------------------------


def _have_images(engine: Engine) -> None:
    base = re.search(r"^ARG BASE=(\S+)$", (COMPOSE / "Dockerfile").read_text(), re.MULTILINE)
    file = (COMPOSE / "docker-compose.yml").read_text()
    prometheus = re.search(r"image: (\S*prometheus\S*)", file)
    grafana = re.search(r"image: (\S*grafana\S*)", file)
    assert base
    assert prometheus
    assert grafana
    if not _has(engine, base[1]):
        _import_base(engine, base[1])
    if not _has(engine, prometheus[1]) or _is_outdated(engine, prometheus[1]):
        _import_prometheus(engine, prometheus[1])
    if not _has(engine, grafana[1]):
        engine.left_out.append("grafana: its image is in a registry that is not reached from here")
        override = LAB / "no-grafana.yml"
        override.write_text('services:\n  grafana:\n    profiles: ["left-out"]\n')
        engine.environment["COMPOSE_FILE"] += f":{override}"
    _have_wheels()
    engine.compose("build", "-q", "alice-coordinator")


def _has(engine: Engine, image: str) -> bool:
    if engine.docker("image", "inspect", image, check=False).code == 0:
        return True
    if engine.inside:  # a namespace of our own leads nowhere
        return False
    return engine.docker("pull", "-q", image, check=False, timeout_s=600).code == 0


def _is_outdated(engine: Engine, image: str) -> bool:
    """Tell whether ``image`` was made here, of other programs than today."""
    form = f'{{{{index .Config.Labels "{PROGRAMS_LABEL}"}}}}'
    made_of = engine.docker("image", "inspect", "-f", form, image).out.strip()
    return bool(engine.inside) and made_of != ",".join(PROMETHEUS_PROGRAMS)


def _import_base(engine: Engine, image: str) -> None:
    tree = LAB / "base"
    if not (tree / "complete").exists():
        if shutil.which("debootstrap") is None:
            raise NoEngineError(f"{image} is not to be had, and debootstrap is not installed.")
        shutil.rmtree(tree, ignore_errors=True)
        packages = "python3,python3-venv,python3-pip,ca-certificates"
        command = ["debootstrap", "--variant=minbase", f"--include={packages}", "bookworm"]
        done = subprocess.run([*command, str(tree)], capture_output=True, check=False, timeout=900)
        if done.returncode != 0:
            raise NoEngineError(f"debootstrap fails: {done.stdout.decode()[-300:]}")
        for folder in ("var/cache/apt/archives", "var/lib/apt/lists"):
            shutil.rmtree(tree / folder)
        (tree / "complete").touch()
    _import(engine, tree, image, ["CMD python3"])


def _import_prometheus(engine: Engine, image: str) -> None:
    tree = LAB / "prometheus"
    shutil.rmtree(tree, ignore_errors=True)
    for folder in ("bin", "etc/prometheus", "prometheus", "tmp"):
        (tree / folder).mkdir(parents=True, exist_ok=True)
    for name in PROMETHEUS_PROGRAMS:
        program = shutil.which(name)
        if program is None:
            raise NoEngineError(f"{image} is not to be had, and {name} is not installed.")
        shutil.copy(program, tree / "bin" / name)
        needed = subprocess.run(["ldd", program], capture_output=True, text=True, check=False)
        for source in re.findall(r"(/\S+)", needed.stdout):
            (tree / source[1:]).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, tree / source[1:])
    (tree / "etc" / "passwd").write_text("nobody:x:65534:65534:nobody:/:/bin/false\n")
    os.chown(tree / "prometheus", 65534, 65534)
    label = f"LABEL {PROGRAMS_LABEL}={','.join(PROMETHEUS_PROGRAMS)}"
    path = "ENV PATH=/bin"
    _import(engine, tree, image, ["USER 65534", 'ENTRYPOINT ["/bin/prometheus"]', path, label])


def _import(engine: Engine, tree: Path, image: str, changes: Sequence[str]) -> None:
    options = " ".join(f"--change {shlex.quote(change)}" for change in changes)
    subprocess.run(
        ["sh", "-c", f"tar -C {shlex.quote(str(tree))} -c . | docker import {options} - {image}"],
        env=engine.environment,
        capture_output=True,
        check=True,
        timeout=PATIENCE_S,
    )


def _have_wheels() -> None:
    """Put the wheels of the lock where a build without a network finds them."""
    lock = ROOT / "requirements.lock"
    folder = COMPOSE / "wheels"
    stamp = folder / ".complete"
    if stamp.exists() and stamp.stat().st_mtime >= lock.stat().st_mtime:
        return
    shutil.rmtree(folder, ignore_errors=True)
    command = ["-m", "pip", "download", "-q", "--require-hashes", "--only-binary", ":all:"]
    target = ["--python-version", "3.11", "-r", str(lock), "-d", str(folder)]
    subprocess.run([sys.executable, *command, *target], check=True, timeout=PATIENCE_S)
    stamp.touch()
