"""Who may give and end grants, decided over a book."""

from __future__ import annotations

from dataclasses import replace

import pytest

from collective.access.grant_book import GrantBook
from collective.access.permissions import Decider
from collective.catalog.decisions.grants import (
    as_given,
    is_admin,
    require_may_end,
    require_places,
)
from collective.core import limits
from collective.core.errors import ConflictError, NotFoundError, PermissionDeniedError
from collective.core.ids import Domain, GlobalId, SpiffeId
from collective.core.paths import FilePath
from collective.model.calls import Call
from collective.model.grants import Grant
from collective.model.rights import Right

NOW_S = 1000.0
ALL = Right.READ | Right.WRITE | Right.SHARE
COORDINATOR = SpiffeId.parse("spiffe://home.alice/coordinator")


def user(name: str) -> SpiffeId:
    return SpiffeId.parse(f"spiffe://home.alice/user/home.alice/{name}")


ANN, BEN, CAS = user("ann"), user("ben"), user("cas")


def grant(
    name: str,
    path: str,
    to: SpiffeId,
    *,
    by: SpiffeId = COORDINATOR,
    rights: Right = ALL,
    expires_s: float | None = None,
    sources: tuple[str, ...] = (),
) -> Grant:
    return Grant(name, FilePath.parse(path), rights, to, by, expires_s, sources)


def decider(book: GrantBook, who: SpiffeId = ANN, *, is_operator: bool = False) -> Decider:
    return Decider(Call(who, is_operator=is_operator), book, NOW_S)


def test_what_is_passed_on_ends_with_what_it_came_from() -> None:
    book = GrantBook([grant("a", "/d", ANN, expires_s=2000.0)])
    wanted = grant("b", "/d/x", BEN, by=ANN, rights=Right.READ, expires_s=9000.0)
    given = as_given(decider(book), book, wanted, NOW_S)
    assert (given.expires_s, given.sources) == (2000.0, ("a",))
    sooner = as_given(decider(book), book, replace(wanted, expires_s=1500.0), NOW_S)
    assert sooner.expires_s == 1500.0


def test_what_the_operator_gives_comes_from_nothing() -> None:
    book = GrantBook([])
    wanted = grant("b", "/d", BEN)
    assert as_given(decider(book, COORDINATOR, is_operator=True), book, wanted, NOW_S) == wanted


def test_no_more_is_passed_on_than_one_has_and_none_to_the_revoked() -> None:
    book = GrantBook([grant("a", "/d", ANN, rights=Right.READ | Right.SHARE)], frozenset({CAS}))
    wanted = grant("b", "/d", BEN, by=ANN, rights=Right.WRITE)
    with pytest.raises(PermissionDeniedError):
        as_given(decider(book), book, wanted, NOW_S)
    readable = replace(wanted, rights=Right.READ, principal=CAS)
    with pytest.raises(ConflictError, match="was revoked here"):
        as_given(decider(book), book, readable, NOW_S)


def test_who_may_end_a_grant_and_what_others_learn_of_it() -> None:
    given = grant("b", "/d", BEN, by=ANN)
    for who in (ANN, BEN):
        assert require_may_end(given, Call(who, is_operator=False), is_admin=False) is given
    assert require_may_end(given, Call(CAS, is_operator=False), is_admin=True) is given
    with pytest.raises(NotFoundError):
        require_may_end(None, Call(CAS, is_operator=False), is_admin=True)
    messages = set()
    for one in (given, None):
        with pytest.raises(PermissionDeniedError) as refused:
            require_may_end(one, Call(CAS, is_operator=False), is_admin=False)
        messages.add(str(refused.value))
    assert len(messages) == 1, "others do not learn whether there is one"


def test_nobody_revoked_is_an_admin() -> None:
    grants = [grant("a", "/", ANN)]
    assert is_admin(GrantBook(grants), ANN, NOW_S)
    assert not is_admin(GrantBook(grants, frozenset({ANN})), ANN, NOW_S)
    assert not is_admin(GrantBook(grants), BEN, NOW_S)
    assert is_admin(GrantBook([]), COORDINATOR, NOW_S)


def places(
    book: GrantBook,
    giver: SpiffeId = ANN,
    *,
    more: int = 1,
    did_much: bool = False,
    via: Domain | None = None,
) -> None:
    call = Call(giver, is_operator=False, via=via)
    require_places(book, call, BEN, more, now_s=NOW_S, did_much_today=lambda: did_much)


def passed_on(count: int, *, by: SpiffeId = ANN, to: SpiffeId = BEN, **more: float) -> list[Grant]:
    root = grant("root", "/d", ANN)
    return [root] + [
        Grant(f"{by}{to}{number}", FilePath.parse(f"/d/{number}"), Right.READ, to, by,
              more.get("expires_s"), ("root",))
        for number in range(count)
    ]  # fmt: skip


def test_places_of_a_giver_a_pair_a_receiver_and_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "GRANTS_PER_PAIR_MAX", 3)
    places(GrantBook(passed_on(2)))
    with pytest.raises(ConflictError, match=r"has given ben@home\.alice 3 grants"):
        places(GrantBook(passed_on(3)))
    monkeypatch.setattr(limits, "GRANTS_PER_GIVER_MAX", 3)
    with pytest.raises(ConflictError, match="has given 3 grants"):
        places(GrantBook(passed_on(3, to=CAS)))
    monkeypatch.setattr(limits, "GRANTS_PER_RECEIVER_MAX", 2)
    with pytest.raises(ConflictError, match=r"ben@home\.alice has 2 grants"):
        places(GrantBook(passed_on(2, by=CAS)))
    monkeypatch.setattr(limits, "GRANTS_PASSED_ON_MAX", 2)
    with pytest.raises(ConflictError, match="ask the operator to remove some"):
        places(GrantBook(passed_on(1)), more=2)
    places(GrantBook([grant("a", "/", ANN), *passed_on(1)]), more=2)
    monkeypatch.setattr(limits, "GRANTS_MAX", 2)
    with pytest.raises(ConflictError, match="too many grants here; remove some"):
        places(GrantBook([grant("a", "/", ANN), *passed_on(1)]))


def test_the_people_of_a_peer_have_the_places_of_one_giver(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It could invent any number of them."""
    monkeypatch.setattr(limits, "GRANTS_PER_GIVER_MAX", 3)
    bob = Domain("home.bob")
    people = [SpiffeId.user(bob, GlobalId(name, bob)) for name in ("b1", "b2", "b3", "b4")]
    given = [one for who in people[:3] for one in passed_on(1, by=who, to=CAS)[1:]]
    book = GrantBook([*passed_on(0), *given])
    places(book, people[3])
    with pytest.raises(ConflictError, match="has given 3 grants"):
        places(book, people[3], via=bob)
    places(book, ANN)


def test_what_has_ended_gives_way_where_a_place_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "GRANTS_PER_GIVER_MAX", 3)
    places(GrantBook(passed_on(3, to=CAS, expires_s=NOW_S - 1)))


def test_whoever_changed_rights_very_often_today_waits_but_no_admin() -> None:
    with pytest.raises(ConflictError, match="24 hours"):
        places(GrantBook([grant("root", "/d", ANN)]), did_much=True)
    places(GrantBook([grant("root", "/", ANN)]), did_much=True)
