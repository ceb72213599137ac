"""Where a client keeps its identity and the collectives that it joined; paths only.

``identity.json``; ``key.pem`` (0600); ``key.pub``; ``current``; ``lock``; and for each collective
``collectives/<name>/`` with ``collective.json``, ``ca.crt``, ``client.crt`` and ``renewing`` (a
lock).  A collective is joined once its ``collective.json`` is there, which is written last.
"""

from __future__ import annotations

import os
import posixpath
import stat
from collections.abc import Mapping
from typing import Final, NamedTuple

DIR_VARIABLE: Final = "COLLECTIVE_CONFIG_DIR"
_OTHERS: Final = 0o077


class ConfigDir(NamedTuple):
    """The files of one client below ``path`` (absolute)."""

    path: str

    @property
    def identity(self) -> str:
        """Global id and display name; there is an identity where this is."""
        return posixpath.join(self.path, "identity.json")

    @property
    def key(self) -> str:
        """The key of the identity on this machine."""
        return posixpath.join(self.path, "key.pem")

    @property
    def public_key(self) -> str:
        """The public half of it, so that a key with a passphrase can be told from others."""
        return posixpath.join(self.path, "key.pub")

    @property
    def current(self) -> str:
        """The name of the current collective."""
        return posixpath.join(self.path, "current")

    @property
    def lock(self) -> str:
        """Held while any of these files is changed."""
        return posixpath.join(self.path, "lock")

    @property
    def collectives(self) -> str:
        """The folder that holds one folder for each collective."""
        return posixpath.join(self.path, "collectives")

    def collective(self, name: str) -> str:
        """Return the folder of the collective called ``name``."""
        return posixpath.join(self.collectives, name)

    def facts(self, name: str) -> str:
        """Return the path of what is known about a collective."""
        return posixpath.join(self.collective(name), "collective.json")

    def authority(self, name: str) -> str:
        """Return the path of a collective's CA certificate."""
        return posixpath.join(self.collective(name), "ca.crt")

    def certificate(self, name: str) -> str:
        """Return the path of our certificate for a collective."""
        return posixpath.join(self.collective(name), "client.crt")

    def renewing(self, name: str) -> str:
        """Return the path of the lock of the process that renews our certificate for a collective."""
        return posixpath.join(self.collective(name), "renewing")


def config_dir(environment: Mapping[str, str]) -> ConfigDir:
    """Return where the configuration is: $COLLECTIVE_CONFIG_DIR, else the XDG folder."""
    chosen = environment.get(DIR_VARIABLE)
    if not chosen:
        base = environment.get("XDG_CONFIG_HOME") or os.path.join(
            environment.get("HOME") or os.path.expanduser("~"), ".config"
        )
        chosen = os.path.join(base, "collective")
    return ConfigDir(os.path.abspath(chosen))


def is_exposed(path: str) -> bool:
    """Tell whether others than the owner may read or change the file at ``path``."""
    try:
        return bool(stat.S_IMODE(os.stat(path).st_mode) & _OTHERS)
    except OSError:
        return False
