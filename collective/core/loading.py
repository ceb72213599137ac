"""Loading modules at the least cost in time and memory.

What imports make (functions, classes, constants) stays, and there is so much of it that the collector goes
through it again and again: a seventh of what a short command takes.
"""

from __future__ import annotations

import gc
import sys
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


@contextmanager
def as_if_missing(module: str) -> Iterator[None]:
    """Import inside as where ``module`` is not installed, for packages that use it only if it is there.

    A module that was imported before stays for those who have it.
    """
    before = {name: found for name, found in sys.modules.items() if name == module}
    sys.modules[module] = None  # type: ignore[assignment] # has an import of it fail
    try:
        yield
    finally:
        del sys.modules[module]
        sys.modules.update(before)
