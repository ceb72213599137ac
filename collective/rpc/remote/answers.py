"""What coordinators and bootstraps answer, as a client takes it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from collective.core.errors import CollectiveError, RejectedError

Message = TypeVar("Message")
Value = TypeVar("Value")


def taken(convert: Callable[[Message], Value], message: Message) -> Value:
    """Return the value in ``message``; RejectedError where no server of ours would have sent it."""
    try:
        return convert(message)
    except CollectiveError as error:
        reason = error.message.rstrip(".")
        raise RejectedError(
            f"An answer cannot be read here: {reason}. Update this client, or ask the member's operator."
        ) from error
