"""What a coordinator answers, as a client takes it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from collective.core.errors import RejectedError, UsageError

Message = TypeVar("Message")
Value = TypeVar("Value")


def taken(convert: Callable[[Message], Value], message: Message) -> Value:
    """Return the value in ``message``; RejectedError where no server of ours would have sent it."""
    try:
        return convert(message)
    except UsageError as error:
        raise RejectedError(
            f"The coordinator's answer is malformed ({error.message}); update this client."
        ) from error
