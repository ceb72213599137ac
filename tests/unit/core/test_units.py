"""Addresses as text; what fuzzing found."""

from __future__ import annotations

import pytest

from collective.core.errors import UsageError
from collective.core.units import Address, format_duration, parse_duration_s


@pytest.mark.parametrize(
    "text",
    [
        "[\n;\x0e1]:5",
        "a\0b:5",
        "a b:5",
        "[[::1]:5",
        "a/b:5",
        "me@host:5",
        "h\x1b[2J:5",
        "h:" + "5" * 5000,
    ],
)
def test_hosts_and_ports_that_cannot_be_are_refused(text: str) -> None:
    with pytest.raises(UsageError):
        Address.parse(text)


@pytest.mark.parametrize("text", ["host:5", "[::1]:5", "127.0.0.1:65535"])
def test_addresses_survive_a_round_trip(text: str) -> None:
    assert str(Address.parse(text)) == text


@pytest.mark.parametrize(
    ("duration_s", "text"),
    [(0.0, "0s"), (0.5, "0.5s"), (90.0, "90s"), (300.0, "5m"), (86400.0, "1d")],
)
def test_durations_survive_a_round_trip(duration_s: float, text: str) -> None:
    assert format_duration(duration_s) == text
    assert parse_duration_s(text) == duration_s
