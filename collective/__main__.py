"""``python -m collective``: calls the command line."""

from __future__ import annotations

import gc
import sys
from typing import Final

from collective.core.loading import loading

INTERRUPTED: Final = 130


def main() -> None:
    """Run the command line and exit with its code."""
    try:
        with loading():
            from collective.cli.app import run  # noqa: PLC0415 - keeps ``import collective`` free

        code = run(sys.argv[1:])
    except KeyboardInterrupt:  # while the program still loads, or once more on the way out
        code = INTERRUPTED
    gc.freeze()  # the interpreter looks for garbage once more on its way out
    sys.exit(code)


if __name__ == "__main__":
    main()
