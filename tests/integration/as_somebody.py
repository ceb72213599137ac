"""Runs one command as a user whom file modes hold: ``python -m tests.integration.as_somebody UID COMMAND…``.

The interpreter may lie where that user may not read, so all that a command may need is loaded first.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import pkgutil
import sys

import collective.client
from collective.cli.app import run

if __name__ == "__main__":
    with contextlib.redirect_stdout(io.StringIO()):
        assert run(["ls", "/"]) == 0
    for module in pkgutil.walk_packages(collective.client.__path__, "collective.client."):
        importlib.import_module(module.name)
    user = int(sys.argv[1])
    if os.geteuid() == 0:
        os.setgroups([user])
        os.setegid(user)
        os.seteuid(user)
    sys.exit(run(sys.argv[2:]))
