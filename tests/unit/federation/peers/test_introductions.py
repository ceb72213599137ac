"""Peering by a folder, whose other writers do what they like: what it leads to, and what it never does."""

from __future__ import annotations

import base64
import errno
import itertools
import json
import os
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest
from cryptography import x509
from structlog.testing import capture_logs

from collective.catalog.sqlite import SqliteCatalog
from collective.core.clock import ManualClock
from collective.core.disk import OsDisk
from collective.core.errors import ConflictError, NoSpaceError
from collective.core.ids import Domain, MemberId, SpiffeId
from collective.core.limits import PEERS_MAX
from collective.core.shared_folder import Listing, SharedFile, SharedFolder, Stamp
from collective.core.units import Address
from collective.core.world import World
from collective.core.world.threads import InlineThreads
from collective.federation.peers.introductions import (
    FILE_MAX_BYTES,
    FILE_NAME,
    INTERVAL_S,
    LISTED_MAX,
    Introductions,
    looked_at,
)
from collective.federation.peers.own_bundle import OwnBundle
from collective.federation.peers.peer_book import BUNDLES_BURST, BUNDLES_PER_S, PeerBook
from collective.member.trust.own_certificates import OwnCertificates
from collective.model.calls import Call
from collective.model.peers import Peer, PeerState
from collective.model.trust import Phase
from collective.pki.bundle import Bundle, SignedBundle, sign_bundle
from collective.pki.ca import CertificateAuthority
from collective.pki.rotation import Authorities
from collective.pki.trust import TrustStore, check_authority
from tests.faults.disk import FaultDisk
from tests.worlds import world_of

CLOCK = ManualClock()
ALICE, BOB, CAROL = (Domain(f"home.{name}") for name in ("alice", "bob", "carol"))
OPERATOR = Call(SpiffeId.coordinator(ALICE), is_operator=True)
HERE = Address("127.0.0.1", 8001)
ELSEWHERE = Address("192.0.2.7", 8001)


def authority(domain: Domain, label: str = "", **options: Any) -> CertificateAuthority:
    member = MemberId(domain.rpartition(".")[2])
    return CertificateAuthority.create(member, domain, world_of(CLOCK), label=label, **options)


@dataclass
class Stranger:
    """Whoever has a CA for a domain, and signs what they like."""

    domain: Domain
    ca: CertificateAuthority
    sequence: int = 0

    def signed(self, **changes: Any) -> SignedBundle:
        """Return the next bundle; the body is changed after it was signed where ``changes`` says so."""
        self.sequence += 1
        told: dict[str, Any] = {
            "member": self.ca.member,
            "domain": self.domain,
            "authorities": (self.ca.certificate,),
            "addresses": (HERE,),
            "sequence": self.sequence,
            "version": "1",
        }
        return sign_bundle(Bundle(**{**told, **changes}), self.ca)

    def file(self, **changes: Any) -> bytes:
        return self.signed(**changes).to_file()


def stranger(domain: Domain) -> Stranger:
    return Stranger(domain, authority(domain))


@dataclass
class OwnSide:
    """What a member says of itself, as a test changes it."""

    ca: CertificateAuthority
    authorities: Authorities = field(init=False)
    addresses: tuple[Address, ...] = (HERE,)

    def __post_init__(self) -> None:
        self.authorities = Authorities.lone(self.ca)

    @property
    def domain(self) -> Domain:
        return self.ca.domain

    @property
    def member(self) -> MemberId:
        return self.ca.member


@dataclass
class Shown:
    """Where certificates are judged."""

    own_trust: TrustStore
    trusted: Mapping[Domain, Sequence[x509.Certificate]] = field(default_factory=dict)

    def trust_peers(
        self, authorities: Mapping[Domain, Sequence[x509.Certificate]], shut_out: frozenset[Domain]
    ) -> None:
        del shut_out
        self.trusted = dict(authorities)


class Watched:
    """A shared folder that counts, and fails where a test says so."""

    def __init__(self, inner: SharedFolder) -> None:
        self._inner = inner
        self.read_files: list[str] = []
        """Subfolders whose file was read, not only opened."""
        self.opened: list[str] = []
        self.written = 0
        self.write_errno = 0

    def names(self, most: int) -> Listing:
        return self._inner.names(most)

    def read(
        self, subfolder: str, name: str, most_bytes: int, seen: Stamp | None
    ) -> SharedFile | None:
        self.opened.append(subfolder)
        found = self._inner.read(subfolder, name, most_bytes, seen)
        if found is not None and found.content is not None:
            self.read_files.append(subfolder)
        return found

    def write(self, subfolder: str, name: str, content: bytes) -> None:
        if self.write_errno:
            raise OSError(self.write_errno, os.strerror(self.write_errno))
        self.written += 1
        self._inner.write(subfolder, name, content)

    def forget(self) -> None:
        self.read_files, self.opened, self.written = [], [], 0


class WatchedDisk(OsDisk):
    """The machine's disk with one watched folder."""

    def __init__(self) -> None:
        self.watched: list[Watched] = []

    def shared(self, path: str) -> SharedFolder:
        self.watched.append(Watched(super().shared(path)))
        return self.watched[-1]


@dataclass
class Member:
    """What a coordinator has of peers, over a real catalogue, and its introductions."""

    catalog: SqliteCatalog
    own: OwnSide
    book: PeerBook
    shown: Shown
    introductions: Introductions
    folder: Watched

    @property
    def peers(self) -> dict[Domain, PeerState]:
        return {domain: known.peer.state for domain, known in self.book.all.items()}


async def member(domain: Domain, root: Path, data: Path) -> Member:
    disk = WatchedDisk()
    world: World = world_of(CLOCK, disk=disk, threads=InlineThreads())
    data.mkdir()
    catalog = await SqliteCatalog.open(str(data), world_of(CLOCK), synchronous="OFF")
    own = OwnSide(authority(domain))
    shown = Shown(TrustStore({domain: [own.ca.certificate]}))
    book = PeerBook(domain, catalog.peers, shown)
    bundle = OwnBundle(cast("OwnCertificates", own), (), catalog.peers, world)
    introductions = Introductions(str(root), book, bundle, world)
    await book.load()
    return Member(catalog, own, book, shown, introductions, disk.watched[0])


@pytest.fixture
def root(tmp_path: Path) -> Path:
    found = tmp_path / "introductions"
    found.mkdir()
    return found


@pytest.fixture
async def alice(root: Path, tmp_path: Path) -> AsyncIterator[Member]:
    made = await member(ALICE, root, tmp_path / "alice")
    yield made
    await made.catalog.close()


def put(root: Path, domain: str, content: bytes) -> Path:
    """Write a file as its member does: by a rename."""
    folder = root / domain
    folder.mkdir(exist_ok=True)
    (folder / "new").write_bytes(content)
    return (folder / "new").rename(folder / FILE_NAME)


async def logged(member: Member, rounds: int = 1) -> list[str]:
    """Return what rounds log."""
    with capture_logs() as logs:
        for _ in range(rounds):
            await member.introductions.look()
    return [one["text"] for one in logs if "text" in one]


# --- as it should be -----------------------------------------------------------------------------


async def test_three_members_that_look_in_turn_come_up_peered(root: Path, tmp_path: Path) -> None:
    members = [await member(one, root, tmp_path / one) for one in (ALICE, BOB, CAROL)]
    for _ in range(2):
        for one in members:
            await one.introductions.look()
    for one in members:
        others = {other.own.domain for other in members} - {one.own.domain}
        assert one.peers == dict.fromkeys(others, PeerState.ACTIVE)
        assert one.shown.trusted.keys() == others
        assert one.introductions.warnings() == []
    files = sorted(str(one.relative_to(root)) for one in root.rglob("*") if one.is_file())
    assert files == [f"{one}/{FILE_NAME}" for one in (ALICE, BOB, CAROL)]
    for one in members:
        await one.catalog.close()


async def test_one_that_comes_later_is_taken_up(alice: Member, root: Path) -> None:
    put(root, BOB, stranger(BOB).file())
    await alice.introductions.look()
    assert alice.peers.keys() == {BOB}
    put(root, CAROL, stranger(CAROL).file())
    await alice.introductions.look()
    assert alice.peers.keys() == {BOB, CAROL}


async def test_where_nothing_changed_nothing_is_read_or_written(alice: Member, root: Path) -> None:
    put(root, BOB, stranger(BOB).file())
    put(root, CAROL, b"no bundle")
    for _ in range(2):
        await alice.introductions.look()
    position = await alice.catalog.restores.position()
    alice.folder.forget()
    for _ in range(3):
        await alice.introductions.look()
    assert (alice.folder.read_files, alice.folder.written) == ([], 0)
    assert set(alice.folder.opened) == {ALICE, BOB, CAROL}
    assert await alice.catalog.restores.position() == position
    assert len(alice.introductions.warnings()) == 1, "it stays told"


async def test_the_own_bundle_is_written_again_when_it_changes_or_goes(
    alice: Member, root: Path
) -> None:
    path = root / ALICE / FILE_NAME
    await alice.introductions.look()
    first = path.read_bytes()
    alice.own.addresses = (ELSEWHERE, HERE)
    await alice.introductions.look()
    second = path.read_bytes()
    assert str(ELSEWHERE).encode() in second
    assert str(ELSEWHERE).encode() not in first
    for spoil in (path.unlink, lambda: path.write_bytes(first), lambda: put(root, ALICE, b"")):
        spoil()
        await alice.introductions.look()
        assert path.read_bytes() == second
    alice.folder.forget()
    await alice.introductions.look()
    assert alice.folder.written == 0


async def test_a_newer_bundle_of_a_peer_renews_it_and_an_older_one_does_not(
    alice: Member, root: Path
) -> None:
    bob = stranger(BOB)
    old = bob.file()
    put(root, BOB, old)
    await alice.introductions.look()
    put(root, BOB, bob.file(addresses=(ELSEWHERE,)))
    await alice.introductions.look()
    assert alice.book.all[BOB].bundle.addresses == (ELSEWHERE,)
    put(root, BOB, old)
    assert await logged(alice) == []
    assert alice.book.all[BOB].bundle.addresses == (ELSEWHERE,)
    assert alice.introductions.warnings() == []


async def test_a_ca_that_the_known_one_spoke_for_is_followed(alice: Member, root: Path) -> None:
    bob = stranger(BOB)
    put(root, BOB, bob.file())
    await alice.introductions.look()
    new = authority(BOB, "new", after=bob.ca.certificate)
    both = (bob.ca.certificate, new.certificate)
    put(root, BOB, bob.file(authorities=both, links=(bob.ca.link(new.certificate),)))
    await alice.introductions.look()
    assert tuple(alice.shown.trusted[BOB]) == both


async def test_this_members_own_ca_rotation_is_written(alice: Member, root: Path) -> None:
    await alice.introductions.look()
    before = json.loads(json.loads((root / ALICE / FILE_NAME).read_text())["bundle"])
    old, new = alice.own.ca, authority(ALICE, "new", after=alice.own.ca.certificate)
    trusted = (old.certificate, new.certificate)
    alice.own.authorities = Authorities(
        old, new, trusted, Phase.OVERLAP, (old.link(new.certificate),)
    )
    await alice.introductions.look()
    told = json.loads(json.loads((root / ALICE / FILE_NAME).read_text())["bundle"])
    assert len(told["authorities"]) == 2
    assert told["sequence"] > before["sequence"]


async def test_it_works_on_a_disk_in_memory() -> None:
    disk = FaultDisk()
    disk.make_dir("/shared")
    folder = disk.shared("/shared")
    folder.write(BOB, FILE_NAME, b"one")
    found = folder.read(BOB, FILE_NAME, FILE_MAX_BYTES, None)
    assert found is not None
    assert found.content == b"one"
    seen = folder.read(BOB, FILE_NAME, FILE_MAX_BYTES, found.stamp)
    assert seen is not None
    assert seen.content is None
    assert folder.names(10).names == [BOB]


# --- the own subfolder cannot be written ---------------------------------------------------------


@pytest.mark.parametrize("error", [errno.EROFS, errno.ENOENT, errno.ENOSPC])
async def test_where_the_own_bundle_cannot_be_written_others_are_still_taken_up(
    alice: Member, root: Path, error: int
) -> None:
    alice.folder.write_errno = error
    put(root, BOB, stranger(BOB).file())
    told = await logged(alice, rounds=3)
    assert len(told) == 1
    assert os.strerror(error) in told[0]
    assert f"{root}/{ALICE}" in told[0]
    assert list(alice.introductions.warnings()) == told
    assert alice.peers == {BOB: PeerState.ACTIVE}
    alice.folder.write_errno = 0
    await alice.introductions.look()
    assert alice.introductions.warnings() == []
    assert (root / ALICE / FILE_NAME).exists()


async def test_a_folder_that_is_not_there_is_told_and_never_made(alice: Member, root: Path) -> None:
    root.rmdir()
    assert len(await logged(alice, rounds=2)) == 2, "neither read nor written"
    assert len(alice.introductions.warnings()) == 2
    assert not root.exists()
    root.mkdir()
    await alice.introductions.look()
    assert alice.introductions.warnings() == []


async def test_a_link_in_place_of_the_own_subfolder_has_nothing_written_elsewhere(
    alice: Member, root: Path
) -> None:
    elsewhere = root.parent / "elsewhere"
    elsewhere.mkdir()
    (root / ALICE).symlink_to(elsewhere)
    assert "Not a directory" in (await logged(alice))[0]
    assert list(elsewhere.iterdir()) == []


# --- whose bundle is taken -----------------------------------------------------------------------


async def test_a_bundle_of_another_domain_is_not_taken(alice: Member, root: Path) -> None:
    put(root, BOB, stranger(CAROL).file())
    told = await logged(alice, rounds=3)
    assert [text for text in told if BOB in text and "of another domain" in text] == told
    assert len(told) == 1
    assert alice.peers == {}
    assert list(alice.introductions.warnings()) == told


async def test_a_bundle_that_claims_this_very_member_is_not_taken(
    alice: Member, root: Path
) -> None:
    put(root, BOB, stranger(ALICE).file())
    assert len(await logged(alice)) == 1
    assert alice.peers == {}


async def test_a_peer_is_not_replaced_by_one_with_another_ca(alice: Member, root: Path) -> None:
    bob = stranger(BOB)
    put(root, BOB, bob.file(sequence=5))
    await alice.introductions.look()
    other, told = Stranger(BOB, authority(BOB, "other")), list[str]()
    for file in (other.file(sequence=9), other.file(sequence=5), other.file(sequence=1)):
        put(root, BOB, file)
        told += await logged(alice, rounds=2)
        assert list(alice.shown.trusted[BOB]) == [bob.ca.certificate]
        assert "another CA" in alice.introductions.warnings()[0]
    assert len(told) == 1
    put(root, BOB, bob.file(sequence=6))
    await alice.introductions.look()
    assert alice.introductions.warnings() == []


async def test_a_ca_that_the_operator_took_by_a_code_is_not_warned_of_any_more(
    alice: Member, root: Path
) -> None:
    """The file is the same as before, and was refused."""
    await alice.book.introduce(stranger(BOB).signed())
    anew = Stranger(BOB, authority(BOB, "anew"), sequence=4)
    signed = anew.signed()
    put(root, BOB, signed.to_file())
    assert len(await logged(alice)) == 1
    await alice.book.accept(OPERATOR, signed, replaces=True)
    await alice.introductions.look()
    assert alice.introductions.warnings() == []


async def test_a_ca_whose_key_belongs_to_another_domain_is_not_taken(
    alice: Member, root: Path
) -> None:
    carol = stranger(CAROL)
    put(root, CAROL, carol.file())
    await alice.introductions.look()
    same_key = authority(BOB, key=carol.ca._key)
    put(root, BOB, Stranger(BOB, same_key).file())
    assert "belongs to another domain" in (await logged(alice))[0]
    assert alice.peers == {CAROL: PeerState.ACTIVE}


async def test_a_ca_whose_name_belongs_to_another_domain_is_not_taken(
    alice: Member, root: Path
) -> None:
    """A CA's name has the first 64 characters of its domain."""
    one, other = (Domain(f"{'a' * 60}.home.{end}") for end in ("bob", "bob2"))
    for domain in (one, other):
        ca = CertificateAuthority.create(MemberId("bob"), domain, world_of(CLOCK))
        put(root, domain, Stranger(domain, ca).file())
    assert "belongs to another domain" in (await logged(alice))[0]
    assert alice.peers == {one: PeerState.ACTIVE}


async def test_no_renewal_brings_a_ca_that_belongs_to_another_domain(
    alice: Member, root: Path
) -> None:
    bob, carol = stranger(BOB), stranger(CAROL)
    for one in (bob, carol):
        put(root, one.domain, one.file())
    await alice.introductions.look()
    new = authority(BOB, "new", key=carol.ca._key, after=bob.ca.certificate)
    both = (bob.ca.certificate, new.certificate)
    put(root, BOB, bob.file(authorities=both, links=(bob.ca.link(new.certificate),)))
    assert "belongs to another domain" in (await logged(alice))[0]
    assert list(alice.shown.trusted[BOB]) == [bob.ca.certificate]


async def test_a_removed_peer_does_not_come_back_by_the_folder(alice: Member, root: Path) -> None:
    bob = stranger(BOB)
    old = bob.file()
    put(root, BOB, old)
    await alice.introductions.look()
    await alice.book.remove(OPERATOR, BOB)
    told: list[str] = []
    for file in (old, bob.file(), bob.file(addresses=(ELSEWHERE,)), stranger(BOB).file()):
        put(root, BOB, file)
        told += await logged(alice, rounds=2)
        assert alice.peers == {BOB: PeerState.REMOVED}
    assert len(told) == 1
    assert "removed here and stays so" in told[0]
    assert alice.introductions.warnings() == [], "as the operator wants it"


async def test_a_peer_that_is_removed_while_a_round_is_under_way_does_not_come_back(
    alice: Member,
) -> None:
    """The catalogue decides, whatever the book knew when the file was judged."""
    bob = stranger(BOB)
    await alice.book.introduce(bob.signed())
    await alice.book.remove(OPERATOR, BOB)
    with pytest.raises(ConflictError, match="removed"):
        await alice.book.introduce(bob.signed())
    assert alice.peers == {BOB: PeerState.REMOVED}


async def test_a_peer_that_waits_to_be_confirmed_still_waits(alice: Member, root: Path) -> None:
    bob = stranger(BOB)
    await alice.book.introduce(bob.signed())
    await set_state(alice, BOB, PeerState.WAITING)
    put(root, BOB, bob.file(addresses=(ELSEWHERE,)))
    await alice.introductions.look()
    assert alice.peers == {BOB: PeerState.WAITING}
    assert BOB not in alice.shown.trusted


async def set_state(member: Member, domain: Domain, state: PeerState) -> None:
    """Have it as a code with ``--confirm`` leaves it."""
    await member.catalog._engine.change(
        lambda tx: tx.run("UPDATE peers SET state = ? WHERE domain = ?", state.value, domain)
    )
    await member.book.load()


async def test_two_bundles_with_one_number_are_told_and_neither_takes_the_others_place(
    alice: Member, root: Path
) -> None:
    bob = stranger(BOB)
    put(root, BOB, bob.file())
    await alice.introductions.look()
    put(root, BOB, bob.file(sequence=1, addresses=(ELSEWHERE,)))
    assert "Two coordinators" in (await logged(alice))[0]
    assert alice.book.all[BOB].bundle.addresses == (HERE,)


def refused_files(bob: Stranger) -> dict[str, bytes]:
    """Return files of a known peer that change nothing, by what is said of each."""
    anew = Stranger(BOB, authority(BOB, "anew"))
    return {
        "accept its code with --replace": anew.file(sequence=90),
        "let home.bob invite": anew.file(sequence=1),
        "names no address": bob.file(sequence=91, addresses=()),
        "calls itself another member": bob.file(sequence=92, member=MemberId("robert")),
    }


@pytest.mark.parametrize("said", refused_files(stranger(BOB)))
async def test_each_refused_bundle_of_a_peer_is_told_of_by_its_own_reason(
    alice: Member, root: Path, said: str
) -> None:
    bob = stranger(BOB)
    put(root, BOB, bob.file(sequence=5))
    await alice.introductions.look()
    put(root, BOB, refused_files(bob)[said])
    await alice.introductions.look()
    [warning] = alice.introductions.warnings()
    assert said in warning
    assert ("--replace" in warning) == ("invite" in said or "--replace" in said)


# --- what stands there ---------------------------------------------------------------------------


def broken() -> dict[str, bytes]:
    bob = stranger(BOB)
    signed = bob.signed()
    other = bob.signed().signature
    return {
        "empty": b"",
        "noise": bytes(range(256)) * 100,
        "no bundle": b'{"a": 1}',
        "deep": b"[" * 30_000,
        "another signature": SignedBundle(signed.body, other).to_file(),
        "changed body": SignedBundle(
            signed.body.replace(b"127.0.0.1", b"127.0.0.2"), signed.signature
        ).to_file(),
        "evil text": SignedBundle(
            json.dumps({**json.loads(signed.body), "domain": "EVIL\nTEXT"}).encode(), b"x"
        ).to_file(),
        "base64": base64.b64encode(signed.to_file()),
        "no address": bob.file(addresses=()),
    }


@pytest.mark.parametrize("form", broken())
async def test_what_is_no_sound_bundle_is_one_sentence_and_a_warning(
    alice: Member, root: Path, form: str
) -> None:
    put(root, BOB, broken()[form])
    put(root, CAROL, stranger(CAROL).file())
    told = await logged(alice, rounds=3)
    assert len(told) == 1
    assert told[0].startswith(f"{BOB}/{FILE_NAME} in the introductions folder is not used: ")
    assert "EVIL" not in told[0]
    assert list(alice.introductions.warnings()) == told
    assert alice.peers == {CAROL: PeerState.ACTIVE}, "the next one is taken"


@pytest.mark.parametrize("form", ["link", "hard link", "pipe", "folder", "large", "linked folder"])
async def test_what_is_no_plain_file_is_one_sentence_and_a_warning(
    alice: Member, root: Path, form: str
) -> None:
    """Each stands for a sound bundle of bob, which would be taken as a plain file."""
    real = put(root.parent, "elsewhere", stranger(BOB).file())
    path = root / BOB / FILE_NAME
    if form == "linked folder":
        (root / BOB).symlink_to(real.parent)
    else:
        path.parent.mkdir()
    if form == "link":
        path.symlink_to(real)
    elif form == "hard link":
        os.link(real, path)
    elif form == "pipe":
        os.mkfifo(path)
    elif form == "folder":
        path.mkdir()
    elif form == "large":
        path.write_bytes(real.read_bytes() + b" " * FILE_MAX_BYTES)
    put(root, CAROL, stranger(CAROL).file())
    told = await logged(alice, rounds=3)
    assert len(told) == 1
    assert list(alice.introductions.warnings()) == told
    assert alice.peers == {CAROL: PeerState.ACTIVE}


async def test_one_who_swaps_files_back_and_forth_is_told_of_once_each(
    alice: Member, root: Path
) -> None:
    bob = stranger(BOB)
    put(root, BOB, bob.file())
    await alice.introductions.look()
    told: list[str] = []
    for number in range(20):
        put(root, BOB, stranger(CAROL).file() if number % 2 else b"%d" % number)
        told += await logged(alice)
    assert len(told) == 2
    assert len(alice.introductions.warnings()) == 1
    assert alice.peers == {BOB: PeerState.ACTIVE}
    assert list(alice.shown.trusted[BOB]) == [bob.ca.certificate]


async def test_names_that_are_no_domains_are_ignored(alice: Member, root: Path) -> None:
    for name in ("bob", "HOME.BOB", ".git", "home.bob.", "home.bob~", "lost+found", "home..bob"):
        put(root, name, stranger(BOB).file())
    (root / "README").write_text("a file")
    (root / os.fsdecode(b"home.\xff")).mkdir()
    assert await logged(alice, rounds=2) == []
    assert alice.introductions.warnings() == []
    assert set(alice.folder.opened) == {ALICE}


def test_whose_subfolders_are_looked_at() -> None:
    names = ["home.dora", "home.bob", "no", "home.alice", "home.carol"]
    known = {BOB: PeerState.REMOVED, CAROL: PeerState.ACTIVE}
    assert looked_at(names, known, ALICE) == [CAROL, "home.dora", BOB]
    assert looked_at([], known, ALICE) == [CAROL], "a peer also where its name is not listed"


async def test_a_renewal_costs_checks_in_proportion_to_the_peers(
    alice: Member, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of many peers may renew its bundle as often as it likes."""
    peers = 30
    for number in range(peers):
        await alice.book.introduce(stranger(Domain(f"home.m{number}")).signed())
    bob = stranger(BOB)
    put(root, BOB, bob.file())
    await alice.introductions.look()
    checked = 0

    def count(certificate: x509.Certificate, domain: Domain) -> None:
        nonlocal checked
        checked += 1
        check_authority(certificate, domain)

    for module in ("collective.pki.trust", "collective.pki.bundle"):
        monkeypatch.setattr(f"{module}.check_authority", count)
    put(root, BOB, bob.file(addresses=(ELSEWHERE,)))
    await alice.introductions.look()
    assert alice.book.all[BOB].bundle.addresses == (ELSEWHERE,)
    assert peers < checked < 3 * peers


# --- floods --------------------------------------------------------------------------------------


async def writes_of(member: Member, rounds: Iterable[Callable[[], object]]) -> int:
    """Return how many changes of the catalogue there are while the file is rewritten before each round."""
    before = await member.catalog.restores.position()
    for rewrite in rounds:
        rewrite()
        CLOCK.advance(INTERVAL_S)
        await member.introductions.look()
    return (await member.catalog.restores.position()).sequence - before.sequence


async def test_a_file_that_is_rewritten_and_says_the_same_costs_no_write(
    alice: Member, root: Path
) -> None:
    """Nor does one with ever higher numbers, which are known all the same, at a rate."""
    bob = stranger(BOB)
    put(root, BOB, first := bob.file())
    await alice.introductions.look()
    assert await writes_of(alice, [lambda: put(root, BOB, first)] * 10) == 0
    assert await writes_of(alice, [lambda: put(root, BOB, bob.file())] * 40) == 0
    assert BUNDLES_BURST < alice.book.all[BOB].peer.sequence < bob.sequence
    CLOCK.advance(1 / BUNDLES_PER_S)
    await alice.introductions.look()
    assert alice.book.all[BOB].peer.sequence == bob.sequence
    assert alice.introductions.warnings() == []
    put(root, BOB, first)
    await alice.introductions.look()
    assert alice.book.all[BOB].peer.sequence == bob.sequence, "it is older"


async def test_a_file_that_says_something_else_each_time_is_taken_at_a_rate_and_in_the_end(
    alice: Member, root: Path
) -> None:
    bob, places = stranger(BOB), itertools.cycle([(HERE,), (ELSEWHERE,)])
    put(root, BOB, bob.file())
    await alice.introductions.look()
    rounds = 60
    taken = await writes_of(
        alice, [lambda: put(root, BOB, bob.file(addresses=next(places)))] * rounds
    )
    assert 0 < taken <= BUNDLES_BURST + rounds * INTERVAL_S * BUNDLES_PER_S
    assert "too often" in alice.introductions.warnings()[0]
    put(root, BOB, bob.file(addresses=(HERE, ELSEWHERE)))
    CLOCK.advance(1 / BUNDLES_PER_S)
    await alice.introductions.look()
    assert alice.book.all[BOB].bundle.addresses == (HERE, ELSEWHERE)
    assert alice.introductions.warnings() == []


async def test_what_cannot_become_a_peer_is_no_matter_of_the_catalogues(
    alice: Member, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(PEERS_MAX):
        await alice.book.introduce(stranger(Domain(f"home.m{number}")).signed())
    asked = []

    async def introduce(peer: Peer) -> Peer:
        asked.append(peer.domain)
        return peer

    monkeypatch.setattr(alice.catalog.peers, "introduce", introduce)
    with pytest.raises(ConflictError, match="already"):
        await alice.book.introduce(stranger(BOB).signed())
    assert asked == []


async def test_a_flood_of_names_costs_bounded_work_and_hides_no_peer(
    alice: Member, root: Path
) -> None:
    bob = stranger(BOB)
    put(root, BOB, bob.file())
    await alice.introductions.look()
    for number in range(3 * LISTED_MAX):
        (root / f"a.n{number}").mkdir()
    put(root, BOB, bob.file(addresses=(ELSEWHERE,)))
    alice.folder.forget()
    told = await logged(alice, rounds=3)
    assert len(told) == 1
    assert "holds more than" in told[0]
    assert list(alice.introductions.warnings()) == told
    assert len(alice.folder.opened) <= 3 * (PEERS_MAX + 1)
    assert alice.book.all[BOB].bundle.addresses == (ELSEWHERE,)


async def test_no_more_peers_come_by_the_folder_than_there_may_be(
    alice: Member, root: Path
) -> None:
    for number in range(PEERS_MAX + 6):
        put(root, f"home.m{number}", stranger(Domain(f"home.m{number}")).file())
    told = await logged(alice, rounds=2)
    assert len(told) == 1
    assert len(alice.peers) == PEERS_MAX
    await alice.book.remove(OPERATOR, Domain("home.m0"))
    await alice.introductions.look()
    assert sum(state is PeerState.ACTIVE for state in alice.peers.values()) == PEERS_MAX


async def test_many_subfolders_with_something_wrong_are_few_warnings(
    alice: Member, root: Path
) -> None:
    for number in range(30):
        put(root, f"home.m{number}", b"nothing")
    await alice.introductions.look()
    warnings = alice.introductions.warnings()
    assert len(warnings) == 9
    assert "22 more" in warnings[-1]


async def test_whoever_makes_up_names_fills_no_log(
    alice: Member, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("collective.federation.peers.introductions._LOGGED_MAX", 40)
    told: list[str] = []
    for number in range(3):
        for one in range(20):
            put(root, f"home.r{number}n{one}", b"nothing")
        told += await logged(alice)
        for one in range(20):
            (root / f"home.r{number}n{one}" / FILE_NAME).unlink()
            (root / f"home.r{number}n{one}").rmdir()
    assert len(told) == 40
    await alice.introductions.look()
    assert alice.introductions.warnings() == [], "what is gone is not told any more"


async def test_one_that_cannot_be_taken_now_holds_up_no_other_and_is_tried_again(
    alice: Member, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for domain in (BOB, CAROL):
        put(root, domain, stranger(domain).file())
    introduce = alice.book.introduce

    async def full_for_bob(signed: SignedBundle) -> Any:
        if b'"home.bob"' in signed.body:
            raise NoSpaceError("The catalogue's disk is full.")
        return await introduce(signed)

    monkeypatch.setattr(alice.book, "introduce", full_for_bob)
    assert len(await logged(alice, rounds=2)) == 1
    assert alice.peers == {CAROL: PeerState.ACTIVE}
    monkeypatch.undo()
    await alice.introductions.look()
    assert alice.peers.keys() == {BOB, CAROL}
    assert alice.introductions.warnings() == []
