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
        "a..b:5",
        ".a:5",
        "a..:5",
        ".:5",
        "a" * 64 + ":5",
        "a" * 64 + ".example:5",
        "\u00fc" * 80 + ":5",
        "a\u3002\u3002b:5",
        ".".join(["a" * 63] * 4) + ":5",
        "[::1%a..b]:5",
    ],
)
def test_hosts_and_ports_that_cannot_be_are_refused(text: str) -> None:
    with pytest.raises(UsageError):
        Address.parse(text)


@pytest.mark.parametrize(
    "text",
    [
        "host:5",
        "[::1]:5",
        "127.0.0.1:65535",
        "nas.local.:5",
        "[fe80::1%eth0]:5",
        "a" * 63 + ".example:5",
        "m\u00fcsli.example:5",
    ],
)
def test_addresses_survive_a_round_trip(text: str) -> None:
    assert str(Address.parse(text)) == text


@pytest.mark.parametrize("text", ["a..b:5", "a" * 64 + ".example:5"])
def test_what_was_stored_with_a_host_that_no_name_can_be_is_read_all_the_same(text: str) -> None:
    """Else one word of a peer or a node, once believed, would keep a coordinator from starting."""
    assert str(Address.parse_stored(text)) == text


@pytest.mark.parametrize(
    ("duration_s", "text"),
    [(0.0, "0s"), (0.5, "0.5s"), (90.0, "90s"), (300.0, "5m"), (86400.0, "1d")],
)
def test_durations_survive_a_round_trip(duration_s: float, text: str) -> None:
    assert format_duration(duration_s) == text
    assert parse_duration_s(text) == duration_s
