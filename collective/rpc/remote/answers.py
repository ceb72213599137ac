"""What coordinators and bootstraps answer, as a client takes it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Generic, TypeVar, overload

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


class AllTaken(Sequence[Value], Generic[Message, Value]):
    """The values in messages, each taken when it is looked at, and anew each time.

    So whoever lists asks for the next page before it works through this one.
    """

    def __init__(self, convert: Callable[[Message], Value], messages: Sequence[Message]) -> None:
        """Hold ``messages``; looking at one raises as :func:`taken` does."""
        self._messages = messages
        self._take: Callable[[Message], Value] = partial(taken, convert)

    def __len__(self) -> int:
        return len(self._messages)

    def __iter__(self) -> Iterator[Value]:
        return map(self._take, self._messages)

    @overload
    def __getitem__(self, index: int) -> Value: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Value]: ...

    def __getitem__(self, index: int | slice) -> Value | Sequence[Value]:
        if isinstance(index, slice):
            return [self._take(one) for one in self._messages[index]]
        return self._take(self._messages[index])
