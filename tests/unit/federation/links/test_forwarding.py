"""For whom a coordinator calls a peer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import pytest

from collective.core.errors import ConflictError, PermissionDeniedError
from collective.core.ids import Domain, SpiffeId
from collective.federation.links.forwarding import Forwarding
from collective.model.calls import Call

OWN = Domain("home.alice")
PEER = Domain("home.bob")


@dataclass
class Link:
    """A connection that nothing may go over."""

    domain: Domain = PEER


def forwarding() -> Forwarding:
    return Forwarding(cast("Any", Link()), cast("Any", None))


async def test_the_operator_is_told_to_go_there_as_a_person() -> None:
    with pytest.raises(PermissionDeniedError, match=r"opens nothing at home\.bob"):
        async with forwarding().to_owner(Call.own(OWN)):
            pass


async def test_nothing_that_came_from_another_member_is_passed_on() -> None:
    una = SpiffeId.named("una@home.carol", Domain("home.carol"))
    with pytest.raises(ConflictError):
        async with forwarding().to_owner(Call(una, is_operator=False, via=Domain("home.carol"))):
            pass
