"""One call in a child of this process, which ends without tidying up what the call left.

A run leaves a few hundred thousand objects in cycles.  To collect them took a twelfth of its time, and a
child that ends is rid of them at once; it also begins each time with the same memory.
"""

from __future__ import annotations

import os
import pickle
import signal
import sys
import traceback
from collections.abc import Callable
from typing import Any, NoReturn, TypeVar

T = TypeVar("T")


def in_child(function: Callable[[], T]) -> tuple[T, float]:
    """Return what ``function`` returns in a child, and the CPU seconds that it took.

    Raises:
        ChildProcessError: the child ended without a result, by an exception that it has printed or a signal.
    """
    receiving, sending = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(receiving)
        _tell(function, sending)
    os.close(sending)
    try:
        with os.fdopen(receiving, "rb") as pipe:
            told = pipe.read()
    except BaseException:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        raise
    _, status, used = os.wait4(child, 0)
    code = os.waitstatus_to_exitcode(status)
    if code != 0:
        raise ChildProcessError(f"A run ended with {code}.")
    result: T = pickle.loads(told)
    return result, used.ru_utime + used.ru_stime


def _tell(function: Callable[[], Any], sending: int) -> NoReturn:
    code = 1
    try:
        with os.fdopen(sending, "wb") as pipe:
            pickle.dump(function(), pipe)
        code = 0
    except BaseException:  # noqa: BLE001 - the child's edge
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)
