"""What is taken from answers, and when."""

from __future__ import annotations

import pytest

from collective.core.errors import RejectedError, UsageError
from collective.rpc.remote.answers import AllTaken


def test_a_value_is_taken_when_it_is_looked_at() -> None:
    looked_at: list[str] = []

    def convert(message: str) -> int:
        looked_at.append(message)
        if not message.isdigit():
            raise UsageError("It is no number.")
        return int(message)

    values = AllTaken(convert, ["1", "2", "x", "4"])
    assert len(values) == 4
    assert not looked_at
    entries = iter(values)
    assert (next(entries), next(entries)) == (1, 2)
    assert looked_at == ["1", "2"]
    with pytest.raises(RejectedError, match="cannot be read here: It is no number"):
        next(entries)
    assert values[-1] == 4
    assert values[:2] == [1, 2]
    with pytest.raises(IndexError):
        values[4]
