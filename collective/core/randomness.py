"""Randomness as something passed in."""

from __future__ import annotations

import os
import random
from typing import Final, Protocol


class Randomness(Protocol):
    """Where unpredictable bytes and choices come from."""

    @property
    def is_seeded(self) -> bool:
        """Whether a seed decides all of it, so that private keys are derived from it as well."""
        ...

    def token(self, size_bytes: int) -> bytes:
        """Return ``size_bytes`` random bytes."""
        ...

    def uniform(self) -> float:
        """Return a float in [0, 1)."""
        ...


class SystemRandomness:
    """The operating system's generator."""

    is_seeded: Final = False

    def token(self, size_bytes: int) -> bytes:
        """Return bytes fit for keys."""
        return os.urandom(size_bytes)

    def uniform(self) -> float:
        """Return a float in [0, 1)."""
        return (int.from_bytes(os.urandom(7)) >> 3) / (1 << 53)


class SeededRandomness:
    """Repeatable, for tests and the simulator; its keys are worth nothing."""

    is_seeded: Final = True

    def __init__(self, seed: int) -> None:
        """Derive everything from ``seed``."""
        self._random = random.Random(seed)  # noqa: S311 - repeatability is the purpose

    def token(self, size_bytes: int) -> bytes:
        """Return the next ``size_bytes`` bytes of the sequence."""
        return self._random.randbytes(size_bytes)

    def uniform(self) -> float:
        """Return the next float in [0, 1)."""
        return self._random.random()


def hex_id(randomness: Randomness) -> str:
    """Return a fresh id: 32 lower-case hex digits, 128 bits."""
    return randomness.token(16).hex()
