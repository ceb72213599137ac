"""Rights, and on which path."""

from __future__ import annotations

from enum import IntFlag


class Right(IntFlag):
    """What a grant allows; stored as the integer, written as ``read+write``."""

    NONE = 0
    READ = 1
    WRITE = 2
    SHARE = 4
