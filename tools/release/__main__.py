"""``python -m tools.release``: see the package's docstring."""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tools.release.building import build
from tools.release.cutting import NotReadyError, cut
from tools.release.targets import PROCESSORS, PYTHONS, Target

ALL: Final = tuple(Target(processor, python) for processor in PROCESSORS for python in PYTHONS)


def main(arguments: Sequence[str]) -> int:
    """Run ``build`` or ``cut``; return the exit code."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--output", type=Path, default=Path("dist"), help="folder for the packages")
    common.add_argument(
        "--target",
        dest="targets",
        action="append",
        type=_target,
        metavar="PROCESSOR:PYTHON",
        help="what one-file packages are for, like x86_64:3.11; repeatable; default: all",
    )
    parser = argparse.ArgumentParser(prog="python -m tools.release")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("build", parents=[common], help="make the packages of HEAD")
    cutting = commands.add_parser("cut", parents=[common], help="release a version")
    cutting.add_argument("version", help="like 0.2.0")
    chosen = parser.parse_args(arguments)
    here, targets = Path.cwd(), chosen.targets or ALL
    try:
        made = (
            build(here, chosen.output, targets)
            if chosen.command == "build"
            else cut(here, chosen.version, chosen.output, targets)
        )
    except (NotReadyError, subprocess.CalledProcessError) as error:
        sys.stderr.write(f"{error}\n{getattr(error, 'stderr', None) or ''}")
        return 1
    for path in made:
        sys.stdout.write(f"{path}\n")
    return 0


def _target(text: str) -> Target:
    processor, _, python = text.partition(":")
    known = [one for one in ALL if (one.processor, one.version) == (processor, python)]
    if not known:
        raise argparse.ArgumentTypeError(f"there is no target {text!r}")
    return known[0]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
