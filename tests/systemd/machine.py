"""A small Debian that boots systemd in a container without a network of others, with this program in it.

The system is made once, by debootstrap, in a folder that is kept; each boot writes to memory alone
(``--volatile=overlay``).  Its Python runs the program from the tree under test, with the packages of
the environment that runs the tests, so both Pythons must be of one version.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, TypeVar

import pytest

import collective

T = TypeVar("T")

PATIENCE_S: Final = 180.0
PROGRAM: Final = "/usr/local/bin/collective"
_PACKAGES: Final = "python3,systemd,systemd-sysv,dbus,libpam-systemd"
_WRAPPER: Final = """\
#!/usr/bin/python3 -B
import sys
sys.path[:0] = ["/opt/collective/src", "/opt/collective/site"]
from collective.__main__ import main
sys.exit(main())
"""
_TOOLS: Final = ("systemd-nspawn", "debootstrap", "nsenter")


def system() -> Path:
    """Return the folder of the system, made if it is absent; skips where that cannot be."""
    if os.geteuid() != 0:
        pytest.skip("a booted systemd needs root")
    for tool in _TOOLS:
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed (systemd-container, debootstrap)")
    if sys.version_info[:2] != (3, 11):
        pytest.skip("Debian 12 has Python 3.11, and this is another")
    default = Path(os.environ.get("XDG_CACHE_HOME", "/var/cache")) / "collective-tests"
    root = Path(os.environ.get("COLLECTIVE_TEST_ROOT", str(default / "bookworm")))
    if not (root / "usr/lib/systemd/systemd").exists():
        root.parent.mkdir(parents=True, exist_ok=True)
        made = root.with_name(root.name + ".new")
        shutil.rmtree(made, ignore_errors=True)
        subprocess.run(
            ["debootstrap", "--variant=minbase", f"--include={_PACKAGES}", "bookworm", str(made)],
            check=True,
        )
        made.rename(root)
    wrapper = root / PROGRAM.lstrip("/")
    wrapper.write_text(_WRAPPER)
    wrapper.chmod(0o755)
    for name in ("src/collective", "src/tests", "site"):
        (root / "opt/collective" / name).mkdir(parents=True, exist_ok=True)
    return root


class Machine:
    """A booted system; commands run in it as root."""

    def __init__(self, container: subprocess.Popen[bytes], log: Path) -> None:
        """Use what ``container`` boots."""
        self._container = container
        self._log = log
        self._init = self.wait(self._find_init, "an init")

    def _find_init(self) -> int | None:
        assert self._container.poll() is None, self._log.read_text(errors="replace")
        children = Path(f"/proc/{self._container.pid}/task/{self._container.pid}/children")
        found = [int(one) for one in children.read_text().split()]
        for pid in found:
            with contextlib.suppress(OSError):
                if Path(f"/proc/{pid}/comm").read_text().strip() == "systemd":
                    return pid
        return None

    def end(self) -> None:
        """Power the machine off; after half a minute end it with all that runs in it.

        The signal is for its init: systemd-nspawn itself would die of it, and leave the machine running.
        """
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._init, signal.SIGRTMIN + 4)
        try:
            self._container.wait(30)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._init, signal.SIGKILL)
            self._container.wait()

    def command(self, *arguments: str) -> list[str]:
        """Return what runs ``arguments`` in the machine."""
        return ["nsenter", "-t", str(self._init), "-a", *arguments]

    def run(self, *arguments: str, stdin: str = "", check: bool = True) -> str:
        """Run a command; return what it printed, or what went wrong where ``check`` is False."""
        done = subprocess.run(
            self.command(*arguments),
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE_S,
            env={"PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "HOME": "/root"},
        )
        if check:
            assert done.returncode == 0, (
                f"{arguments}: {done.returncode}\n{done.stdout}{done.stderr}"
            )
            return done.stdout
        return f"{done.returncode}\n{done.stdout}{done.stderr}"

    def shell(self, script: str, *, check: bool = True) -> str:
        """Run a script."""
        return self.run("/bin/sh", "-c", script, check=check)

    def property(self, unit: str, name: str) -> str:
        """Return a property of a unit."""
        return self.run("systemctl", "show", "-P", name, unit).strip()

    def journal(self, unit: str) -> str:
        """Return all that a unit has logged."""
        return self.run("journalctl", "-u", unit, "-o", "cat", "--no-pager")

    def wait(self, found: Callable[[], T | None], what: str) -> T:
        """Return what ``found`` returns once it is not None."""
        deadline_s = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline_s:
            result = found()
            if result is not None:
                return result
            time.sleep(0.1)
        raise AssertionError(
            f"No {what} within {PATIENCE_S} s.\n{self._log.read_text(errors='replace')}"
        )

    def wait_active(self, unit: str) -> None:
        """Return when a unit serves."""
        self.wait(lambda: self.property(unit, "ActiveState") == "active" or None, f"active {unit}")


@contextlib.contextmanager
def booted(folder: Path) -> Iterator[Machine]:
    """Boot a machine, and power it off in the end."""
    root = system()
    log = folder / "console.log"
    source = Path(collective.__file__).parents[1]
    binds = {
        source / "collective": "/opt/collective/src/collective",
        source / "tests": "/opt/collective/src/tests",
        Path(sysconfig.get_path("platlib")): "/opt/collective/site",
    }
    command = ["systemd-nspawn", "-q", "-D", str(root), "--volatile=overlay", "--register=no"]
    command += ["--keep-unit", "--private-network", f"--machine=collective-{os.getpid()}"]
    command += [f"--bind-ro={outside}:{inside}" for outside, inside in binds.items()]
    with log.open("wb") as console:
        container = subprocess.Popen(
            [*command, "-b"], stdin=subprocess.DEVNULL, stdout=console, stderr=console
        )
    machine: Machine | None = None
    try:
        machine = Machine(container, log)
        states = {"running", "degraded"}

        def is_up() -> bool | None:
            told = machine.run("systemctl", "is-system-running", check=False).split()
            return True if states & set(told) else None

        machine.wait(is_up, "system that runs")
        yield machine
    finally:
        if machine is not None:
            machine.end()
        container.kill()  # what never booted
        container.wait()
