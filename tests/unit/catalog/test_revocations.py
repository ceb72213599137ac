"""Who may revoke what, decided on values."""

from __future__ import annotations

import pytest

from collective.access.grant_book import GrantBook
from collective.access.permissions import Decider
from collective.catalog.decisions.revocations import (
    MadeCode,
    ended_with,
    ends_with,
    identities_in,
    is_out,
    keys_in,
    require_form,
    require_revoker,
    with_its_key,
)
from collective.core.errors import ConflictError, PermissionDeniedError, UsageError
from collective.core.ids import SpiffeId
from collective.core.paths import FilePath
from collective.model.calls import Call
from collective.model.grants import Grant
from collective.model.rights import Right
from tests.values import user

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


def test_what_is_revoked_is_read_as_identities_and_keys() -> None:
    entries = [str(ANN), f"key:{LOST.hex()}", "serial:0a"]
    assert identities_in(entries) == {ANN}
    assert keys_in(entries) == {LOST}


def test_a_certificate_goes_with_its_key() -> None:
    assert with_its_key("serial:0a", LOST) == ["serial:0a", f"key:{LOST.hex()}"]
    assert with_its_key("serial:0a", None) == ["serial:0a"]
    assert with_its_key(f"key:{LOST.hex()}", LOST) == [f"key:{LOST.hex()}"]


@pytest.mark.parametrize("revoked", ["serial:0a", f"key:{LOST.hex()}"])
def test_a_certificate_is_out_by_its_serial_or_its_key_or_its_identity(revoked: str) -> None:
    assert is_out("0a", LOST, {revoked}, is_revoked=False)
    assert not is_out("0b", MINE, {revoked}, is_revoked=False)
    assert not is_out("0b", b"", {revoked}, is_revoked=False)
    assert is_out("0b", MINE, set(), is_revoked=True)


BEN, CAS = user("ben"), user("cas")
READ = Right.READ | Right.SHARE


def test_with_an_identity_ends_what_it_has_and_gave_and_what_came_from_that() -> None:
    path = FilePath.parse("/a")
    book = GrantBook(
        [
            Grant("own", path, READ, ANN, COORDINATOR, None),
            Grant("given", path, READ, BEN, ANN, None, ("own",)),
            Grant("passed", path, READ, CAS, BEN, None, ("given",)),
            Grant("over", path, READ, user("dan"), ANN, 5.0, ("own",)),
            Grant("lapsed", path, READ, user("dan"), ANN, None, ("ended before",)),
            Grant("other", path, READ, user("eve"), COORDINATOR, None),
        ]
    )
    ended = ended_with({ANN}, book, 10.0)
    assert ended.grants == {"own", "given", "passed", "over", "lapsed"}
    assert ended.losers == (BEN, CAS)
    assert ended_with(frozenset(), book, 10.0) == (frozenset(), ())


def test_a_code_ends_with_its_maker_their_key_or_what_it_passes_on() -> None:
    code = MadeCode(ANN, MINE, [[], ["g"]])
    nobody: frozenset[SpiffeId] = frozenset()
    assert ends_with(code, {ANN}, set(), set())
    assert ends_with(code, nobody, {MINE}, set())
    assert ends_with(code, nobody, set(), {"g"})
    assert not ends_with(code, {BEN}, {LOST}, {"h"})
    assert not ends_with(MadeCode(ANN, None, []), nobody, {LOST}, {"h"})
