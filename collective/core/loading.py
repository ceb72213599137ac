"""Loading modules without looking for garbage meanwhile.

What imports make (functions, classes, constants) stays, and there is so much of it that the collector goes
through it again and again: a seventh of what a short command takes.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def loading() -> Iterator[None]:
    """Import inside; what was made till the end is never looked at again."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_on:
            gc.enable()
