"""How this program was called, for units and commands that call it again."""

from __future__ import annotations

import os
import posixpath
import shutil
import sys


def own_command() -> tuple[str, ...]:
    """Return what runs ``collective`` as it was run now, by an absolute path."""
    called = shutil.which(sys.argv[0]) or ""
    if posixpath.basename(called) == "collective":
        return (os.path.abspath(called),)
    return (sys.executable, "-m", "collective")
