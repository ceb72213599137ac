from __future__ import annotations

from typing import Any
from unittest import mock

import pytest

from collective.member.care.expiry import Expiry


@pytest.mark.parametrize("is_short", [False, True])
async def test_uploads_that_stand_still_end_only_where_room_is_short(is_short: bool) -> None:
    upkeep, nodes, revocations = mock.AsyncMock(), mock.AsyncMock(), mock.AsyncMock()
    keys: Any = mock.Mock()
    nodes.is_short_of_room = mock.Mock(return_value=is_short)
    await Expiry(upkeep, nodes, keys, revocations, copies=3).look()
    nodes.is_short_of_room.assert_called_once_with(3)
    upkeep.expire.assert_awaited_once_with(makes_room=is_short)
