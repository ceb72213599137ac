"""Runs one command as a user whom file modes hold: ``python -m tests.integration.as_somebody UID COMMAND…``.

The interpreter may lie where that user may not read, so another command loads what this one needs first.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys

from collective.cli.app import run

if __name__ == "__main__":
    with contextlib.redirect_stdout(io.StringIO()):
        assert run(["ls", "/"]) == 0
        assert run(["put", "--help"]) == 0
    user = int(sys.argv[1])
    if os.geteuid() == 0:
        os.setgroups([user])
        os.setegid(user)
        os.seteuid(user)
    sys.exit(run(sys.argv[2:]))
