"""What a file is made of."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Hole:
    """A piece of a file that reads as zeros and is stored nowhere."""

    offset: int
    length: int
