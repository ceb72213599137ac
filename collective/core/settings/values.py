"""How the values of settings are read from text; whatever is wrong raises UsageError.

The error's sentence goes on from "The value … is wrong:", which :mod:`loading` puts before it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from collective.core import limits
from collective.core.errors import UsageError
from collective.core.units import parse_duration_s, parse_size

T = TypeVar("T")


def some_text(text: str) -> str:
    """Return ``text`` without spaces around it; it must not be empty."""
    if not text.strip() or "\0" in text:
        raise UsageError("it is empty.")
    return text.strip()


def name_text(text: str) -> str:
    """Return a name for people to read, at most 63 characters."""
    text = some_text(text)
    if len(text) > 63 or not text.isprintable() or "/" in text:  # noqa: PLR2004 - a DNS label's length
        raise UsageError("a name has at most 63 printable characters and no '/'.")
    return text


def join_code_text(text: str) -> str:
    """Return the text of a join code, which is parsed where it is used."""
    text = some_text(text)
    if len(text) > limits.JOIN_CODE_MAX_CHARS:
        raise UsageError("it is too long for a join code.")
    return text


def choice(options: tuple[T, ...]) -> Callable[[str], T]:
    """Return what parses one of ``options``, in any case."""

    def parse(text: str) -> T:
        for option in options:
            if text.strip().lower() == option:
                return option
        raise UsageError("it must be one of " + ", ".join(map(str, options)) + ".")

    return parse


def count(least: int, most: int) -> Callable[[str], int]:
    """Return what parses a whole number from ``least`` to ``most``."""

    def parse(text: str) -> int:
        if not text.strip().isdecimal() or not least <= int(text) <= most:
            raise UsageError(f"it must be a whole number from {least} to {most}.")
        return int(text)

    return parse


def duration_s(least_s: float) -> Callable[[str], float]:
    """Return what parses a duration (``90``, ``15m``, ``7d``) of at least ``least_s`` seconds."""

    def parse(text: str) -> float:
        try:
            seconds = float(text)
        except ValueError:
            seconds = parse_duration_s(text)
        if not least_s <= seconds < float("inf"):
            raise UsageError(f"it must be at least {least_s:g} s.")
        return seconds

    return parse


def certificate_lifetime_s(text: str) -> float:
    """Return a certificate lifetime in seconds."""
    seconds = duration_s(limits.CERTIFICATE_LIFE_LEAST_S)(text)
    if seconds > limits.CERTIFICATE_LIFE_MOST_S:
        raise UsageError("a certificate may be valid for at most 400 days.")
    return seconds


def capacity_bytes(text: str) -> int:
    """Return a size in bytes that holds one chunk at least."""
    size = parse_size(text)
    if size < limits.CHUNK_STORED_MAX_BYTES:
        raise UsageError(f"it must be at least {limits.CHUNK_STORED_MAX_BYTES} bytes.")
    return size
