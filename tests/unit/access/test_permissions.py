from dataclasses import replace

import pytest

from collective.access.grant_book import GrantBook
from collective.access.permissions import Decider, Visibility, describe
from collective.core.errors import PermissionDeniedError, ShutOutError
from collective.core.ids import Domain, GlobalId, SpiffeId
from collective.core.paths import FilePath
from collective.model.calls import Call
from collective.model.grants import Grant
from collective.model.rights import Right

HOME = Domain("home.alice")
ROOT = SpiffeId.coordinator(HOME)
READ, WRITE, SHARE = Right.READ, Right.WRITE, Right.SHARE


def who(name: str) -> SpiffeId:
    return SpiffeId.user(HOME, GlobalId(name, HOME))


def p(text: str) -> FilePath:
    return FilePath.parse(text)


def grant(
    path: str, rights: int, to: SpiffeId, by: SpiffeId = ROOT, expires: float | None = None
) -> Grant:
    return Grant(f"{path}{rights}{to}{by}", p(path), Right(rights), to, by, expires)


def decide(name: str, *grants: Grant, now: float = 100.0) -> Decider:
    return Decider(Call(who(name), is_operator=False), GrantBook(grants), now)


def test_rights_add_up_and_cover_what_is_below_but_not_names_that_merely_begin_alike() -> None:
    bob = decide("bob", grant("/a", READ, who("bob")), grant("/a/b", WRITE, who("bob")))
    assert bob.rights(p("/a/b/c")) == READ | WRITE
    assert bob.rights(p("/a")) == READ
    assert bob.rights(p("/ab")) == Right.NONE


def test_an_expired_grant_gives_nothing() -> None:
    given = grant("/a", READ, who("bob"), expires=100.0)
    assert decide("bob", given, now=99.9).may(READ, p("/a"))
    assert not decide("bob", given, now=100.0).may(READ, p("/a"))


def test_what_was_passed_on_ends_with_the_right_it_came_from() -> None:
    first = grant("/a", READ | SHARE, who("bob"), expires=50.0)
    second = grant("/a/x", READ, who("eve"), by=who("bob"))
    third = grant("/a", WRITE, who("eve"), by=who("bob"))
    assert decide("eve", first, second, now=10).may(READ, p("/a/x"))
    assert not decide("eve", first, second, now=60).may(READ, p("/a/x"))
    assert not decide("eve", second, now=10).may(READ, p("/a/x"))
    assert not decide("eve", first, third, now=10).may(WRITE, p("/a"))


def passed(path: str, rights: int, to: str, by: str, *sources: Grant) -> Grant:
    given = grant(path, rights, who(to), by=who(by))
    return replace(given, sources=tuple(one.id for one in sources))


def test_a_recorded_chain_ends_with_its_source_whatever_else_its_giver_holds() -> None:
    first = grant("/a", READ | SHARE, who("bob"), expires=50.0)
    another = grant("/", READ | WRITE | SHARE, who("bob"))
    second = passed("/a/x", READ | SHARE, "eve", "bob", first)
    third = passed("/a/x", READ, "dan", "eve", second)
    chain = (first, another, second, third)
    assert decide("dan", *chain, now=49).may(READ, p("/a/x"))
    assert not decide("dan", *chain, now=50).may(READ, p("/a/x"))
    assert not decide("dan", another, second, third, now=10).may(READ, p("/a/x"))
    assert not decide("dan", first, another, third, now=10).may(READ, p("/a/x"))


def test_a_revoked_identity_has_nothing_and_neither_have_those_below_it() -> None:
    first = grant("/a", READ | SHARE, who("bob"))
    second = passed("/a", READ | SHARE, "eve", "bob", first)
    third = passed("/a", READ, "dan", "eve", second)
    book = GrantBook([first, second, third], frozenset((who("bob"),)))
    assert book.live(10) == []
    book = GrantBook([first, second, third], frozenset((who("eve"),)))
    assert book.live(10) == [first]


@pytest.mark.parametrize("revoked", ["identity", "key"])
def test_a_revoked_caller_is_shut_out_and_not_told_that_a_grant_is_missing(revoked: str) -> None:
    given = grant("/a", READ, who("bob"))
    identities = frozenset((who("bob"),) if revoked == "identity" else ())
    book = GrantBook([given], identities, frozenset((b"lost",) if revoked == "key" else ()))
    with pytest.raises(ShutOutError, match="was revoked"):
        Decider(Call(who("bob"), is_operator=False, key_digest=b"lost"), book, 10)
    other = Call(who("bob" if revoked == "key" else "eve"), is_operator=False, key_digest=b"kept")
    assert Decider(other, book, 10).may(READ, p("/a")) == (revoked == "key")
    # The operator's certificate is not revoked: the CA is replaced instead.
    assert Decider(Call(ROOT, is_operator=True, key_digest=b"lost"), book, 10).is_admin


def test_a_recorded_circle_supports_nobody() -> None:
    one = grant("/a", READ | SHARE, who("bob"), by=who("eve"))
    two = passed("/a", READ | SHARE, "eve", "bob", one)
    one = replace(one, sources=(two.id,))
    assert GrantBook([one, two]).live(10) == []


def test_what_is_passed_on_comes_from_the_longest_lived_grant_that_has_it_all() -> None:
    short = grant("/a", READ | SHARE, who("bob"), expires=50.0)
    long = grant("/", READ | SHARE, who("bob"), expires=90.0)
    writes = grant("/a", WRITE, who("bob"))
    book = GrantBook([short, long, writes])
    assert book.sources(who("bob"), p("/a/x"), READ, 10) == (long.id,)
    assert book.sources(who("bob"), p("/a/x"), READ | WRITE, 10) == (long.id, writes.id)
    assert book.sources(who("bob"), p("/b"), WRITE, 10) is None
    assert book.sources(who("bob"), p("/a"), READ, 95) is None
    assert book.until((short.id, writes.id)) == 50.0


def test_a_circle_of_givers_supports_nobody() -> None:
    circle = [
        grant("/a", READ | SHARE, who("bob"), by=who("eve")),
        grant("/a", READ | SHARE, who("eve"), by=who("bob")),
    ]
    assert not decide("eve", *circle).may(READ, p("/a"))


def test_visibility_shows_the_way_and_no_more() -> None:
    bob = decide("bob", grant("/a/b/c", READ, who("bob")), grant("/w", WRITE, who("bob")))
    assert bob.visibility(p("/a/b")) is Visibility.WAY
    assert bob.visibility(p("/a/x")) is Visibility.NOTHING
    assert bob.visibility(p("/w/y")) is Visibility.EXISTENCE
    assert bob.visibility(p("/a/b/c/d")) is Visibility.FULL
    assert bob.next_names(p("/")) == {"a", "w"}
    assert bob.next_names(p("/a")) == {"b"}


def test_only_a_coordinators_grant_of_everything_on_the_root_makes_an_admin() -> None:
    everything = READ | WRITE | SHARE
    assert decide("bob", grant("/", everything, who("bob"))).is_admin
    assert not decide("bob", grant("/", READ | WRITE, who("bob"))).is_admin
    passed = [
        grant("/", everything, who("bob")),
        grant("/", everything, who("eve"), by=who("bob")),
    ]
    assert not decide("eve", *passed).is_admin


def test_sharing_more_than_one_has_is_refused() -> None:
    bob = decide("bob", grant("/a", READ | SHARE, who("bob")))
    bob.require_share(p("/a/b"), READ)
    with pytest.raises(PermissionDeniedError):
        bob.require_share(p("/a"), WRITE)
    with pytest.raises(PermissionDeniedError):
        bob.require_share(p("/"), READ)


def test_a_move_under_a_grant_that_waits_below_the_target_needs_share() -> None:
    mine = [grant("/s", READ | WRITE, who("bob")), grant("/t", READ | WRITE, who("bob"))]
    waiting = grant("/t/new/sub", READ, who("eve"))
    decide("bob", *mine).require_move(p("/s/x"), p("/t/new"))
    with pytest.raises(PermissionDeniedError, match="share"):
        decide("bob", *mine, waiting).require_move(p("/s/x"), p("/t/new"))
    already = grant("/s", READ, who("eve"))
    decide("bob", *mine, waiting, already).require_move(p("/s/x"), p("/t/new"))


def test_rights_are_written_with_a_plus() -> None:
    assert describe(READ | WRITE) == "read+write"
    assert describe(Right.NONE) == "no"
