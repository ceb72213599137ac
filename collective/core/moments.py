"""Times of files: nanoseconds since 1970-01-01 UTC, negative before it, as file systems keep them.

A number of any size in Python, and a pair on the wire: seconds, rounded down, and the nanoseconds
after them.  Refused is only what no calendar of ours reaches.
"""

from __future__ import annotations

import datetime as dt
from typing import Final

from collective.core.errors import UsageError

NS_PER_S: Final = 1_000_000_000
NS_PER_MS: Final = 1_000_000
MOST_S: Final = 1 << 52
"""So many seconds before or after 1970, 140 million years, a time may lie."""
_DATES_FROM_S: Final = -62_135_596_800
"""The year 1."""
_DATES_BEFORE_S: Final = 253_402_300_800
"""The year 10,000."""


def check_moment(moment_ns: int) -> int:
    """Return ``moment_ns``, or raise UsageError where it lies too far away."""
    if not -MOST_S <= moment_ns // NS_PER_S <= MOST_S:
        raise UsageError("A modification time lies within 140 million years of 1970.")
    return moment_ns


def moment_of(seconds: int, nanoseconds: int) -> int:
    """Return the time that a pair on the wire means, or raise UsageError."""
    if not 0 <= nanoseconds < NS_PER_S:
        raise UsageError("The nanoseconds of a time are below 1,000,000,000.")
    return check_moment(seconds * NS_PER_S + nanoseconds)


def moment_text(moment_ns: int) -> str:
    """Return a time to the nanosecond: as ISO 8601 in UTC, or ``@SECONDS`` beyond years of 4 digits."""
    seconds, nanoseconds = divmod(moment_ns, NS_PER_S)
    if not _DATES_FROM_S <= seconds < _DATES_BEFORE_S:
        return f"@{seconds}.{nanoseconds:09}"
    moment = dt.datetime(1970, 1, 1) + dt.timedelta(seconds=seconds)  # noqa: DTZ001 - it is UTC
    return f"{moment.isoformat(timespec='seconds')}.{nanoseconds:09}Z"
