"""``python -m collective``: calls the command line."""

from __future__ import annotations

import gc
import sys

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
    gc.freeze()  # the interpreter looks for garbage once more on its way out
    sys.exit(code)


if __name__ == "__main__":
    main()
