"""How this program was called, for units and people that call it again."""

from __future__ import annotations

import os
import posixpath
import shutil
import sys


def as_typed(command: str) -> str:
    """Return what this person types to run ``command`` with the rights that they have now."""
    is_lent = os.geteuid() == 0 and bool(os.environ.get("SUDO_USER"))
    return f"sudo {command}" if is_lent else command


def own_command() -> tuple[str, ...]:
    """Return what runs ``collective`` as it was run now, by an absolute path."""
    called = shutil.which(sys.argv[0]) or ""
    if posixpath.basename(called) == "collective":
        return (os.path.abspath(called),)
    return (sys.executable, "-m", "collective")
