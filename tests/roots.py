"""A ticket root for a key ring, which a test may replace and end."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Roots:
    ticket_root: bytes
    rotations_ended: int = 0
