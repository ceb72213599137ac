"""``python -m collective``: calls the command line."""

from __future__ import annotations

import gc
import os
import sys
import threading
from contextlib import suppress
from typing import NoReturn

from collective.cli.terminal.interrupts import INTERRUPTED, end_at_once
from collective.core.loading import loading


def main() -> None:
    """Run the command line and exit with its code."""
    end_at_once()
    try:
        with loading():
            from collective.cli.app import run  # noqa: PLC0415 - keeps ``import collective`` free

        code = run(sys.argv[1:])
    except KeyboardInterrupt:  # a second Ctrl-C while the first is handled
        code = INTERRUPTED
    _end(code)


def _end(code: int) -> NoReturn:
    """End the process with ``code``.

    All that it had is given back by now, and the interpreter would take apart what the kernel frees at once: a
    twentieth of a short command.  It does where a thread is left to wait for, or the output cannot be written.
    """
    if threading.active_count() == 1:
        with suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    gc.freeze()  # the interpreter looks for garbage once more on its way out
    sys.exit(code)


if __name__ == "__main__":
    main()
