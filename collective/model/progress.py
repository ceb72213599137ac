"""How something long tells how far it is."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[int], None]
"""Called with how much more is done: bytes that are safe or were delivered, or names that went; returns at once."""
