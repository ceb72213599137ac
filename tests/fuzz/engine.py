"""The two engines: coverage-guided (atheris) and Hypothesis with mutation of good inputs."""

from __future__ import annotations

import random
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

GREW: Final = 64 * 1024 * 1024
"""Resident bytes that a target may grow by."""
INPUT_MAX_BYTES: Final = 4096
_WARM_UP: Final = 500


@dataclass(slots=True)
class Done:
    """How a run went."""

    inputs: int = 0
    grown_bytes: int = 0
    failure: str = ""


def mutate(rng: random.Random, good: Sequence[bytes]) -> bytes:
    """Return random bytes, or a good input with a few things done to it."""
    if not good or rng.random() < 0.2:
        return rng.randbytes(rng.randrange(rng.choice((4, 40, 400, INPUT_MAX_BYTES))))
    raw = bytearray(rng.choice(good))
    for _ in range(rng.randint(0, 6)):
        at = rng.randrange(len(raw) + 1)
        match rng.randrange(6):
            case 0 if raw:
                raw[at % len(raw)] = rng.randrange(256)
            case 1 if raw:
                raw[at % len(raw)] ^= 1 << rng.randrange(8)
            case 2:
                del raw[at : at + rng.randint(1, 8)]
            case 3:
                raw[at:at] = rng.randbytes(rng.randint(1, 8))
            case 4:
                raw[at:at] = raw[at : at + rng.randint(1, 64)]
            case _:
                raw[at:at] = rng.choice((b"\xff" * 10, b"\0" * 8, b"\x7f", b"\x80", b"\n", b"/../"))
    return bytes(raw[:INPUT_MAX_BYTES])


def run_hypothesis(
    target: Callable[[bytes], None],
    seconds: float,
    good: Sequence[bytes],
    *,
    seed: int | None = None,
    inputs_max: int = 1 << 62,
) -> Done:
    """Feed ``target`` mutated inputs for ``seconds``; stop at the first failure."""
    done = Done()
    rng = random.Random(seed)
    process = psutil.Process()
    before = process.memory_info().rss
    end_s = time.monotonic() + seconds
    while time.monotonic() < end_s and done.inputs < inputs_max:
        raw = mutate(rng, good)
        try:
            target(raw)
        except Exception:  # noqa: BLE001 - whatever it is, it was found
            done.failure = f"{raw!r}\n{traceback.format_exc()}"
            break
        done.inputs += 1
        if done.inputs == _WARM_UP:
            before = process.memory_info().rss
    done.grown_bytes = max(0, process.memory_info().rss - before)
    return done


def run_atheris(name: str, seconds: float, good: Sequence[bytes]) -> None:
    """Fuzz the target ``name`` with coverage; ends the process, not 0 for a failure."""
    import atheris  # type: ignore[import-untyped,import-not-found,unused-ignore]  # noqa: PLC0415

    with atheris.instrument_imports(include=["collective"]):
        for module in [
            one for one in sys.modules if one.startswith(("collective", "tests.fuzz.targets"))
        ]:
            del sys.modules[module]
        from tests.fuzz.targets import TARGETS  # noqa: PLC0415
    with tempfile.TemporaryDirectory() as corpus:
        for number, raw in enumerate(good):
            (Path(corpus) / str(number)).write_bytes(raw)
        limits = (
            f"-max_total_time={int(seconds)}",
            "-rss_limit_mb=512",
            "-timeout=5",
            f"-max_len={INPUT_MAX_BYTES}",
        )
        atheris.Setup([sys.argv[0], corpus, *limits, f"-artifact_prefix={corpus}/"], TARGETS[name])
        atheris.Fuzz()
