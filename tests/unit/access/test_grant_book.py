"""A book that grows and shrinks by one grant is the book of all the grants that there are then."""

import random
from dataclasses import replace

from collective.access.grant_book import GrantBook
from collective.core.ids import Domain, GlobalId, SpiffeId
from collective.core.paths import FilePath
from collective.model.grants import Grant
from collective.model.rights import Right

DOMAIN = Domain("home.alice")
COORDINATOR = SpiffeId.coordinator(DOMAIN)
PEOPLE = [SpiffeId.user(DOMAIN, GlobalId(name, DOMAIN)) for name in ("ann", "bob", "cat", "dan")]
ALL = Right.READ | Right.WRITE | Right.SHARE
SEEDS = range(60)


def same(one: GrantBook, other: GrantBook) -> None:
    assert sorted(grant.id for grant in one.all()) == sorted(grant.id for grant in other.all())
    for grant in one.all():
        assert one.until([grant.id]) == other.until([grant.id]), grant
    for who in (*PEOPLE, COORDINATOR):
        for now_s in (0.0, 50.0):
            mine = {grant.id for grant in one.below(who, now_s)}
            assert mine == {grant.id for grant in other.below(who, now_s)}
            assert {grant.id for grant in one.of(who, now_s)} == {
                grant.id for grant in other.of(who, now_s)
            }


def some_grant(rng: random.Random, number: int, known: list[Grant], *, sourceless: bool) -> Grant:
    path = FilePath.parse(rng.choice(("/", "/a", "/a/b", "/c")))
    expires_s = rng.choice((None, 10.0, 100.0))
    who = rng.choice(PEOPLE)
    passing = [grant for grant in known if Right.SHARE in grant.rights]
    if not passing or rng.random() < 0.3:
        return Grant(f"g{number}", path, ALL, who, COORDINATOR, expires_s)
    above = rng.sample(passing, min(len(passing), rng.choice((1, 1, 2))))
    sources = () if sourceless and rng.random() < 0.3 else tuple(one.id for one in above)
    return Grant(f"g{number}", path, ALL, who, above[0].principal, expires_s, sources)


def test_changing_a_book_step_by_step_gives_the_book_made_at_once() -> None:
    for seed in SEEDS:
        rng = random.Random(seed)
        sourceless = seed % 3 == 0
        revoked = frozenset(PEOPLE[3:] if seed % 2 else ())
        book, known = GrantBook((), revoked), list[Grant]()
        for number in range(40):
            if known and rng.random() < 0.25:
                most = rng.choice((None, None, 0, 1))
                book, gone = book.removing([rng.choice(known).id], most)
                assert sourceless or most is None or len(gone) <= 1 + most
                known = [grant for grant in known if grant.id not in gone]
            else:
                known.append(some_grant(rng, number, known, sourceless=sourceless))
                book = book.adding(known[-1:])
            if number == 25:
                book = book.revoking(PEOPLE[1:2], [b"key"])
                revoked |= {PEOPLE[1]}
                assert book.is_revoked(PEOPLE[1])
                assert book.is_revoked_key(b"key")
            same(book, GrantBook(known, revoked))


def test_a_book_is_not_changed_by_the_next_one() -> None:
    first = Grant("g1", FilePath(), ALL, PEOPLE[0], COORDINATOR)
    book = GrantBook([first])
    more = book.adding([Grant("g2", FilePath(), ALL, PEOPLE[0], COORDINATOR)])
    less, gone = more.removing(["g1"])
    none = more.revoking(PEOPLE[:1])
    assert [len(book), len(more), len(less), list(gone)] == [1, 2, 1, ["g1"]]
    assert book.of(PEOPLE[0], 0) == [first]
    assert len(more.of(PEOPLE[0], 0)) == 2
    assert none.of(PEOPLE[0], 0) == []
    assert not more.is_revoked(PEOPLE[0])


def test_what_is_left_of_a_removal_holds_no_more() -> None:
    first = Grant("g0", FilePath(), ALL, PEOPLE[0], COORDINATOR)
    taken = [
        Grant(f"g{number}", FilePath(), ALL, PEOPLE[1], PEOPLE[0], None, ("g0",))
        for number in range(1, 6)
    ]
    book, gone = GrantBook([first, *taken]).removing(["g0"], 2)
    assert list(gone) == ["g0", "g1", "g2"]
    assert len(book) == 3
    assert book.live(0) == []
    book, gone = book.removing(book.ended(0)[:2], 0)
    assert list(gone) == ["g3", "g4"]


def test_a_long_chain_is_worked_out_once_a_link() -> None:
    grants = [Grant("g0", FilePath(), ALL, PEOPLE[0], COORDINATOR)]
    for number in range(1, 5000):
        giver, taker = PEOPLE[(number + 1) % 2], PEOPLE[number % 2]
        before = (f"g{number - 1}",)
        grants.append(Grant(f"g{number}", FilePath(), ALL, taker, giver, None, before))
    grants.reverse()  # the order in which rounds would need one round for each link
    assert len(GrantBook(grants).live(0)) == 5000


BOB_MEMBER = Domain("garage.bob")
THEIRS = [SpiffeId.user(BOB_MEMBER, GlobalId(name, BOB_MEMBER)) for name in ("eve", "fay")]
FOR_ALL = Grant("all", FilePath.parse("/a"), ALL, SpiffeId.coordinator(BOB_MEMBER), COORDINATOR)


def test_a_grant_to_a_member_is_everybodys_whom_it_vouches_for_and_nobody_elses() -> None:
    own = Grant("own", FilePath.parse("/c"), Right.READ, THEIRS[0], COORDINATOR)
    book = GrantBook([FOR_ALL, own])
    assert book.of(THEIRS[0], 0) == [own, FOR_ALL]
    assert book.of(THEIRS[1], 0) == [FOR_ALL]
    named_alike = SpiffeId.user(DOMAIN, GlobalId("eve", BOB_MEMBER))
    for other in (*PEOPLE, COORDINATOR, named_alike):
        assert book.of(other, 0) == []
    for role in ("node/x", "bootstrap/x"):
        assert book.of(SpiffeId.parse(f"spiffe://{BOB_MEMBER}/{role}"), 0) == []


def test_a_grant_to_a_member_ends_in_its_time_for_everybody() -> None:
    book = GrantBook([replace(FOR_ALL, expires_s=10.0)])
    assert [len(book.of(one, 9.0)) for one in THEIRS] == [1, 1]
    assert [len(book.of(one, 10.0)) for one in THEIRS] == [0, 0]


def test_what_a_person_passes_on_of_their_members_grant_ends_with_it_and_with_them() -> None:
    sources = GrantBook([FOR_ALL]).sources(THEIRS[0], FOR_ALL.path, Right.READ, 0)
    assert sources == ("all",)
    passed = Grant("p", FOR_ALL.path, Right.READ, PEOPLE[0], THEIRS[0], None, sources)
    book = GrantBook([FOR_ALL]).adding([passed])
    assert book.of(PEOPLE[0], 0) == [passed]
    assert book.removing(["all"])[0].of(PEOPLE[0], 0) == []
    assert book.revoking([THEIRS[0]]).of(PEOPLE[0], 0) == []
    assert book.revoking([THEIRS[1]]).of(PEOPLE[0], 0) == [passed]
