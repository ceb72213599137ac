"""Who may revoke what, decided on values."""

from __future__ import annotations

import pytest

from collective.access.grant_book import GrantBook
from collective.access.permissions import Decider
from collective.catalog.decisions.revocations import require_form, require_revoker
from collective.core.errors import ConflictError, PermissionDeniedError, UsageError
from collective.core.ids import SpiffeId
from collective.model.calls import Call

ANN = SpiffeId.parse("spiffe://home.alice/user/home.alice/ann")
COORDINATOR = SpiffeId.parse("spiffe://home.alice/coordinator")
MINE, LOST, FOREIGN = b"m" * 32, b"l" * 32, b"f" * 32


def decider(who: SpiffeId = ANN, key: bytes = MINE) -> Decider:
    call = Call(who, is_operator=who is COORDINATOR, key_digest=key)
    return Decider(call, GrantBook([]), 0.0)


def test_a_person_revokes_other_devices_of_his_own() -> None:
    require_revoker(decider(), f"key:{LOST.hex()}", LOST, is_own=True, is_ended=False)
    require_revoker(decider(), "serial:0a", LOST, is_own=True, is_ended=False)


def test_a_device_that_was_lost_does_not_shut_out_the_others() -> None:
    with pytest.raises(PermissionDeniedError):
        require_revoker(decider(), f"key:{LOST.hex()}", LOST, is_own=True, is_ended=True)


def test_nobody_shuts_himself_out_by_mistake() -> None:
    for what in (f"key:{MINE.hex()}", "serial:0a"):
        with pytest.raises(ConflictError, match="the key of this machine"):
            require_revoker(decider(), what, MINE, is_own=True, is_ended=False)


@pytest.mark.parametrize(
    ("what", "key"),
    [
        (f"key:{FOREIGN.hex()}", FOREIGN),
        ("serial:0a", FOREIGN),
        ("serial:0a", None),
        (str(ANN), None),
    ],
)
def test_what_is_not_his_only_an_admin_revokes(what: str, key: bytes | None) -> None:
    with pytest.raises(PermissionDeniedError):
        require_revoker(decider(), what, key, is_own=False, is_ended=False)
    require_revoker(decider(COORDINATOR, b""), what, key, is_own=False, is_ended=False)


@pytest.mark.parametrize(
    "what",
    ["key:", "key:AB", f"key:{'A' * 64}", f"key:{'a' * 63}", f"key:{'g' * 64}", "serial:",
     "serial:0A", "serial:xyz", "spiffe://", "ann", ""],
)  # fmt: skip
def test_what_is_written_otherwise_is_refused(what: str) -> None:
    with pytest.raises(UsageError):
        require_form(what)


@pytest.mark.parametrize("what", [f"key:{'a' * 64}", "serial:0f", str(ANN)])
def test_the_three_forms(what: str) -> None:
    require_form(what)
