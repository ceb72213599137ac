"""Run every target for some seconds: by atheris where it is installed, else by Hypothesis.

Atheris runs in a process of its own for each target (libFuzzer ends its process).  Either way the
process's memory is watched: a decoder that keeps what it was given fails like one that raises.
"""

from __future__ import annotations

import argparse
import importlib.util
import subprocess
import sys
from pathlib import Path

from tests.fuzz.engine import GREW, run_atheris, run_hypothesis
from tests.fuzz.targets import TARGETS, seeds

_SPARE_S = 120.0


def main() -> int:
    """Return 0 if no target failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("--seconds", type=float, default=60.0, help="for each target")
    parser.add_argument("--target", action="append", choices=sorted(TARGETS))
    parser.add_argument("--engine", choices=("atheris", "hypothesis"))
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    engine = options.engine or ("atheris" if importlib.util.find_spec("atheris") else "hypothesis")
    names = options.target or list(TARGETS)
    if options.inside:
        run_atheris(names[0], options.seconds, seeds()[names[0]])
        return 0
    failed = []
    for name in names:
        print(f"{name}: {options.seconds:g} s by {engine}", flush=True)  # noqa: T201
        ok = (
            _atheris(name, options.seconds)
            if engine == "atheris"
            else _plain(name, options.seconds)
        )
        if not ok:
            failed.append(name)
    print(f"failed: {', '.join(failed)}" if failed else "nothing was found")  # noqa: T201
    return 1 if failed else 0


def _plain(name: str, seconds: float) -> bool:
    done = run_hypothesis(TARGETS[name], seconds, seeds()[name])
    print(f"  {done.inputs} inputs, memory grew by {done.grown_bytes >> 10} KiB")  # noqa: T201
    if done.failure:
        print(f"  FAILED: {done.failure}")  # noqa: T201
    if done.grown_bytes > GREW:
        print("  FAILED: memory grew")  # noqa: T201
    return not done.failure and done.grown_bytes <= GREW


def _atheris(name: str, seconds: float) -> bool:
    command = [
        sys.executable, "-m", "tests.fuzz",
        "--inside", "--target", name, "--seconds", str(seconds),
    ]  # fmt: skip
    done = subprocess.run(
        command,
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=seconds + _SPARE_S,
        check=False,
    )
    lines = (done.stderr + done.stdout).splitlines()
    shown = lines[-30:] if done.returncode else lines[-1:]
    print("\n".join(f"  {line}" for line in shown))  # noqa: T201
    return done.returncode == 0


if __name__ == "__main__":
    sys.exit(main())
