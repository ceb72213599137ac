"""``python -m collective``: calls the command line."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line and exit with its code."""
    from collective.cli.app import run  # noqa: PLC0415 - keeps ``import collective`` free

    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
