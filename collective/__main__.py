"""``python -m collective``: calls the command line."""

from __future__ import annotations

import sys
from typing import Final

INTERRUPTED: Final = 130
UNUSED: Final = ("rich",)
"""Optional to libraries that we use, never used by them here, and slow to import."""


def main() -> None:
    """Run the command line and exit with its code."""
    for name in UNUSED:
        sys.modules.setdefault(name, None)  # type: ignore[arg-type]  # makes the import fail
    try:
        from collective.cli.app import run  # noqa: PLC0415 - keeps ``import collective`` free

        code = run(sys.argv[1:])
    except KeyboardInterrupt:  # while the program still loads, or once more on the way out
        code = INTERRUPTED
    sys.exit(code)


if __name__ == "__main__":
    main()
