"""Where the files of a process go on this machine, and how it is started.

As root everything goes where the units of ``systemd install`` look for it; for others beside the
settings file.  Settings are for everybody to read, codes for nobody else.
"""

from __future__ import annotations

import os
import posixpath
import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from collective.cli.own_command import own_command
from collective.cli.unit_files import SETTINGS_DIR, STATE_ROOT, unit_of
from collective.core.disk import Disk
from collective.core.disk_errors import disk_errors
from collective.core.errors import ConflictError, OperatorError, PermissionDeniedError, UsageError
from collective.core.small_files import write_atomically

_BOOTED: Final = "/run/systemd/system"
"""There while systemd is the service manager; see sd_booted(3)."""
_SUFFIX: Final = ".toml"
_SETTINGS_MODE: Final = 0o644
_CODE_MODE: Final = 0o600
_FOLDER_MODE: Final = 0o755


@dataclass(frozen=True, slots=True)
class Place:
    """Where one process has its files."""

    name: str
    settings: str
    """Absolute path of the settings file."""

    @classmethod
    def at(cls, name: str, output: str) -> Place:
        """Return the place of ``name``, whose settings go to ``output`` if that says anything.

        Raises:
            UsageError: ``output`` is no .toml file; what lies beside it is named after it.
        """
        if output and posixpath.splitext(output)[1] != _SUFFIX:
            raise UsageError(
                f"--output {output} must be a name that ends in {_SUFFIX}, like ./{name}{_SUFFIX}."
            )
        if not output:
            folder = SETTINGS_DIR if os.geteuid() == 0 else "."
            output = posixpath.join(folder, f"{name}{_SUFFIX}")
        return cls(name, posixpath.abspath(output))

    @classmethod
    def of(cls, settings: str) -> Place:
        """Return the place of a process whose settings file is there already."""
        path = posixpath.abspath(settings)
        return cls(posixpath.basename(path).removesuffix(_SUFFIX), path)

    @property
    def stem(self) -> str:
        """The settings file's path without its ending: other files of the process have others."""
        return self.settings.removesuffix(_SUFFIX)

    @property
    def is_for_units(self) -> bool:
        """Whether a unit of ``systemd install`` reads it."""
        return posixpath.dirname(self.settings) == SETTINGS_DIR

    @property
    def kept(self) -> str:
        """Where the settings are kept that were replaced last."""
        return f"{self.settings}.old"

    def present(self) -> bytes | None:
        """Return what the settings file says now; None where there is none."""
        try:
            with open(self.settings, "rb") as file:
                return file.read()
        except FileNotFoundError:
            return None

    @property
    def code(self) -> str:
        """The file with the code by which a node joins."""
        return f"{self.stem}.code"

    @property
    def state(self) -> str:
        """The folder that has data dir and cert dir, unless settings say otherwise."""
        if self.is_for_units:
            return f"{STATE_ROOT}/{self.name}"
        return self.stem

    def folders(self) -> dict[str, str]:
        """Return the settings that lead to :attr:`state`; none where the unit does."""
        if self.is_for_units:
            return {}
        return {"data_dir": f"{self.state}/data", "cert_dir": f"{self.state}/certs"}

    def code_setting(self) -> dict[str, str]:
        """Return the setting that leads to :attr:`code`; none where the unit hands the code over."""
        return {} if self.is_for_units else {"join_code_file": self.code}

    def require_free(self, *, is_replaced: bool) -> None:
        """Return if the settings file may be written.

        Raises:
            ConflictError: it is there already, and is not to be replaced.
            UsageError: it is a folder, or a file is where its folder should be.
            PermissionDeniedError: this user may not write there.
        """
        if os.path.isdir(self.settings):
            raise UsageError(f"{self.settings} is a folder; give a file by --output.")
        folder = posixpath.dirname(self.settings)
        while not os.path.lexists(folder):
            folder = posixpath.dirname(folder)
        if not os.path.isdir(folder):
            raise UsageError(
                f"{folder} is a file, and {self.settings} needs a folder there; give another --output."
            )
        if not os.access(folder, os.W_OK | os.X_OK, effective_ids=True):
            raise PermissionDeniedError(
                f"You may not write in {folder}; run this as its owner (sudo), or give another"
                " --output."
            )
        if os.path.exists(self.settings) and not is_replaced:
            raise ConflictError(
                f"{self.settings} is there already; give --replace to replace it, or another --output."
            )

    def write(self, text: str, code: str | None, disk: Disk) -> None:
        """Write settings, and the code of a node that joins; raises DiskFullError and its kin."""
        folder = posixpath.dirname(self.settings)
        with disk_errors(f"{folder} cannot be written: its"):
            os.makedirs(folder, mode=_FOLDER_MODE, exist_ok=True)
        if code is not None:
            write_atomically(self.code, f"{code}\n".encode(), permissions=_CODE_MODE, disk=disk)
        before = self.present()
        if before is not None:
            write_atomically(self.kept, before, permissions=_SETTINGS_MODE, disk=disk)
        write_atomically(self.settings, text.encode(), permissions=_SETTINGS_MODE, disk=disk)
        if self.is_for_units:  # whatever the umask: the unit's user reads them
            with disk_errors(f"{folder} cannot be written: its"):
                os.chmod(folder, _FOLDER_MODE)
                os.chmod(self.settings, _SETTINGS_MODE)

    @property
    def unit(self) -> str:
        """The unit's name."""
        return unit_of(self.name)

    @property
    def is_managed(self) -> bool:
        """Whether systemd can run it here and now."""
        return self.is_for_units and os.geteuid() == 0 and os.path.isdir(_BOOTED)

    def commands(self) -> list[str]:
        """Return what starts the process, as typed."""
        if not self.is_for_units:
            return [f"collective serve --config {shlex.quote(self.settings)}"]
        return [
            f"collective systemd install --name {self.name}",
            "systemctl daemon-reload",
            f"systemctl enable --now {self.unit}",
        ]

    def start(self, *, is_waited_for: bool) -> None:
        """Start it: by systemd, else in this process, which it becomes.

        Args:
            is_waited_for: return once it serves, where systemd starts it.  A coordinator does by itself;
                a node is ready once its coordinator has answered.

        Raises:
            OperatorError: the service manager refuses; its own words are on stderr.
        """
        own = [sys.executable, "-m", "collective"]
        if not self.is_managed:
            os.execv(own[0], [*own, "serve", "--config", self.settings])  # noqa: S606 - ourselves
        unit = self.unit
        self._run([*own_command(), "systemd", "install", "--name", self.name])
        self._run(["systemctl", "daemon-reload"])
        self._run(["systemctl", "--quiet", "enable", unit])
        self._run(["systemctl", *(() if is_waited_for else ("--no-block",)), "restart", unit])

    def _run(self, command: Sequence[str]) -> None:
        done = subprocess.run(command, check=False, stdout=subprocess.DEVNULL)  # noqa: S603 - fixed
        if done.returncode:
            raise OperatorError(
                f"'{' '.join(command)}' failed; mend what it says, and run it again yourself."
            )
