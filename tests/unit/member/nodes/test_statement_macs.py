from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from collective.core.clock import ManualClock
from collective.member.nodes.statement_macs import StatementMacs, digest_of_revocations
from collective.model.nodes import Position
from collective.transfer.tickets.key_ring import KeyRing
from tests.roots import Roots
from tests.unit.member.cluster import OWN

ROOT, OTHER = b"\1" * 32, b"\2" * 32
HERE = Position("c" * 32, 3, 77, "e" * 32)
BEFORE_LIVES = Position("c" * 32, 3, 77)
EVE = "spiffe://home.alice/user/home.alice/eve"


def ring(root: bytes = ROOT) -> KeyRing:
    return KeyRing(OWN, Roots(root), ManualClock())


def test_a_restarted_coordinator_knows_its_own_macs() -> None:
    before, after = StatementMacs(ring()), StatementMacs(ring())
    assert after.is_position(HERE, before.of_position(HERE))
    assert after.is_revocations(4, [EVE], before.of_digest(digest_of_revocations(4, [EVE])))


def test_a_mac_of_another_coordinators_key_is_none() -> None:
    ours, theirs = StatementMacs(ring()), StatementMacs(ring(OTHER))
    assert not ours.is_position(HERE, theirs.of_position(HERE))
    assert not ours.is_revocations(4, [EVE], theirs.of_digest(digest_of_revocations(4, [EVE])))
    assert not ours.is_position(HERE, b"")


def test_a_mac_says_these_words_and_no_others() -> None:
    macs = StatementMacs(ring())
    mac = macs.of_position(HERE)
    others = (
        replace(HERE, catalog_id="d" * 32),
        replace(HERE, epoch=4),
        replace(HERE, sequence=78),
        replace(HERE, life="d" * 32),
        BEFORE_LIVES,
    )
    for other in others:
        assert not macs.is_position(other, mac)
    mac = macs.of_digest(digest_of_revocations(4, ["serial:ab", EVE]))
    for epoch, entries in ((5, ["serial:ab", EVE]), (4, [EVE]), (4, ["serial:ab" + EVE]), (4, [])):
        assert not macs.is_revocations(epoch, entries, mac)


def test_a_mac_from_before_there_were_lives_is_still_known() -> None:
    mac = bytes.fromhex("3bce8980d8965b4a6794a97b89cec8e464aa0a09ae70b2b260f5ad56e2f3d23b")
    assert StatementMacs(ring()).of_position(BEFORE_LIVES) == mac


def test_the_mac_of_a_position_is_none_of_revocations() -> None:
    macs = StatementMacs(ring())
    as_entries = [str(HERE.epoch), str(HERE.sequence)]
    assert not macs.is_revocations(0, as_entries, macs.of_position(Position("0", 3, 77)))


@given(st.lists(st.text(max_size=4), max_size=4), st.lists(st.text(max_size=4), max_size=4))
def test_no_two_lists_have_one_mac(one: list[str], two: list[str]) -> None:
    macs = StatementMacs(ring())
    assert macs.is_revocations(1, two, macs.of_digest(digest_of_revocations(1, one))) == (
        one == two
    )


def test_macs_of_the_former_key_end_with_it() -> None:
    roots = Roots(ROOT)
    macs = StatementMacs(KeyRing(OWN, roots, ManualClock()))
    mac = macs.of_position(HERE)
    roots.ticket_root = OTHER
    assert macs.is_position(HERE, mac)
    assert macs.of_position(HERE) != mac
    roots.rotations_ended += 1
    assert not macs.is_position(HERE, mac)
    assert macs.is_position(HERE, macs.of_position(HERE))
