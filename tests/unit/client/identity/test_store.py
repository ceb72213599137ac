from __future__ import annotations

import json
import os
import stat
from functools import reduce
from operator import or_
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collective.client.identity import documents
from collective.client.identity.config_dir import ConfigDir, config_dir, is_exposed
from collective.client.identity.documents import Identity, JoinedCollective, free_name
from collective.client.identity.store import IdentityStore
from collective.core.clock import ManualClock
from collective.core.disk import OsDisk
from collective.core.errors import (
    BusyError,
    ConflictError,
    NotJoinedError,
    SettingsError,
    UsageError,
)
from collective.core.ids import Domain, GlobalId, MemberId, SpiffeId
from collective.core.paths import FilePath
from collective.core.units import Address
from collective.model.rights import WORDS, GrantTerms, Right
from collective.pki.ca import CertificateAuthority
from tests.unit.client.identity.bootstrap import BOOTSTRAP, COORDINATOR, Member
from tests.worlds import world_of

ME = GlobalId("yourname", Domain("homelab.collective.local"))


def none() -> bytes:
    raise AssertionError("no passphrase is needed")


def join(store: IdentityStore, member: Member) -> str:
    """Join ``member`` and return the name that it got."""
    key = store.key_for_joining(none)
    return store.record(member.joined(key, str(ME)), BOOTSTRAP).collective.name


def everything(folder: str) -> dict[str, bytes]:
    found = {}
    for base, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(base, name)
            found[os.path.relpath(path, folder)] = Path(path).read_bytes()
    return found


class TestPlace:
    def test_the_variable_comes_before_the_xdg_folder_before_home(self) -> None:
        everywhere = {"COLLECTIVE_CONFIG_DIR": "/a", "XDG_CONFIG_HOME": "/b", "HOME": "/c"}
        assert config_dir(everywhere).path == "/a"
        del everywhere["COLLECTIVE_CONFIG_DIR"]
        assert config_dir(everywhere).path == "/b/collective"
        del everywhere["XDG_CONFIG_HOME"]
        assert config_dir(everywhere).path == "/c/.config/collective"


class TestIdentity:
    def test_is_kept_with_its_key_private(self, store: IdentityStore) -> None:
        assert store.identity() is None
        store.create_identity(ME, display_name="You Ä")
        found = store.identity()
        assert found is not None
        assert (found.global_id, found.display_name) == (ME, "You Ä")
        modes = {
            name: stat.S_IMODE(os.stat(os.path.join(store.place.path, name)).st_mode)
            for name in (".", "identity.json", "key.pem")
        }
        assert modes == {".": 0o700, "identity.json": 0o600, "key.pem": 0o600}
        assert not is_exposed(store.place.key)
        os.chmod(store.place.key, 0o640)
        assert is_exposed(store.place.key)

    def test_a_second_one_needs_force_which_sets_the_first_aside(
        self, store: IdentityStore, alice: Member
    ) -> None:
        store.create_identity(ME)
        join(store, alice)
        before = everything(store.place.path)
        other = GlobalId("other", Domain("home.other"))
        with pytest.raises(ConflictError, match="--force"):
            store.create_identity(other)
        assert everything(store.place.path) == before

        store.create_identity(other, force=True)
        assert store.collectives() == []
        assert store.current() is None
        after = everything(store.place.path)
        assert after["key.pem"] != before["key.pem"]
        aside = next(name for name in after if name.startswith("replaced-")).partition("/")[0]
        kept = {name for name in before if name != "lock"}
        assert {name: after[f"{aside}/{name}"] for name in kept} == {
            name: before[name] for name in kept
        }

    def test_a_key_left_by_an_interrupted_join_is_used(self, store: IdentityStore) -> None:
        key = store.key_for_joining(none)
        store.create_identity(ME)
        assert store.key(none)[0].private_numbers() == key.private_numbers()

    def test_a_passphrase_is_asked_for_and_checked(self, store: IdentityStore) -> None:
        store.create_identity(ME, passphrase=b"correct horse")
        assert b"ENCRYPTED" in Path(store.place.key).read_bytes()
        assert store.key(lambda: b"correct horse")[1] == b"correct horse"
        for wrong in (b"wrong", b""):
            with pytest.raises(UsageError, match="passphrase"):
                store.key(lambda wrong=wrong: wrong)  # type: ignore[misc]

    def test_a_missing_key_is_never_made_anew_in_silence(self, store: IdentityStore) -> None:
        store.create_identity(ME)
        os.unlink(store.place.key)
        with pytest.raises(SettingsError, match="--force"):
            store.key_for_joining(none)

    @pytest.mark.parametrize(
        "content", [b"", b"{}", b"[1]", b'{"format": 1}', b'{"format": 1, "global_id": 3}', b"\xff"]
    )
    def test_a_damaged_file_is_one_sentence(self, store: IdentityStore, content: bytes) -> None:
        store.create_identity(ME)
        Path(store.place.identity).write_bytes(content)
        with pytest.raises(SettingsError, match="damaged"):
            store.identity()

    def test_a_newer_format_is_refused(self, store: IdentityStore) -> None:
        store.create_identity(ME)
        facts = json.loads(Path(store.place.identity).read_bytes()) | {"format": 3}
        Path(store.place.identity).write_text(json.dumps(facts))
        with pytest.raises(SettingsError, match="newer"):
            store.identity()

    def test_two_at_once_wait_for_each_other_but_not_for_ever(self, store: IdentityStore) -> None:
        OsDisk().make_dir(store.place.path)
        held = OsDisk().lock(store.place.lock)
        assert held is not None
        with pytest.raises(BusyError):
            store.create_identity(ME)
        held.release()
        store.create_identity(ME)


class TestCollectives:
    def test_the_first_becomes_current_and_the_second_does_not(
        self, store: IdentityStore, alice: Member, bob: Member
    ) -> None:
        store.create_identity(ME)
        key = store.key_for_joining(none)
        first = store.record(alice.joined(key, str(ME)), BOOTSTRAP)
        assert (first.is_new, first.is_current) == (True, True)
        mine = everything(store.place.collective("alice-homelab"))
        second = store.record(bob.joined(key, str(ME)), BOOTSTRAP)
        assert (second.is_new, second.is_current) == (True, False)
        assert store.selected(None).name == "alice-homelab"
        assert everything(store.place.collective("alice-homelab")) == mine
        found = store.find("bob-homelab")
        assert found.coordinator_addresses == COORDINATOR
        assert found.bootstrap_addresses == BOOTSTRAP
        assert store.credentials(found, none).identity == SpiffeId.user(bob.domain, ME)

    def test_is_found_by_name_member_or_domain(
        self, store: IdentityStore, alice: Member, bob: Member
    ) -> None:
        join(store, alice)
        join(store, bob)
        for wanted in ("bob-homelab", "bob", "garage.bob"):
            assert store.find(wanted).name == "bob-homelab"
            assert store.selected(wanted).name == "bob-homelab"
        with pytest.raises(NotJoinedError, match="invite redeem"):
            store.find("carol")

    def test_another_member_of_the_same_name_gets_a_number_and_touches_nothing(
        self, store: IdentityStore, alice: Member, clock: ManualClock
    ) -> None:
        join(store, alice)
        mine = everything(store.place.collective("alice-homelab"))
        assert join(store, Member("alice", "home.alice", clock)) == "alice-homelab-2"
        assert everything(store.place.collective("alice-homelab")) == mine
        assert store.find("alice-homelab").name == "alice-homelab"
        with pytest.raises(
            UsageError, match=r"alice-homelab \(home.alice\) or alice-homelab-2 \(home.alice\)"
        ):
            store.find("home.alice")

    def test_a_proposed_name_never_shadows_another_members_id(
        self, store: IdentityStore, bob: Member, clock: ManualClock
    ) -> None:
        join(store, bob)
        mallory = Member("mallory", "evil.example", clock, name="bob")
        assert join(store, mallory) == "bob-2"
        assert store.find("bob").member == "bob"

    def test_a_name_taken_before_the_member_it_names_was_joined_is_ambiguous(
        self, store: IdentityStore, bob: Member, clock: ManualClock
    ) -> None:
        mallory = Member("mallory", "evil.example", clock, name="bob")
        assert join(store, mallory) == "bob"
        assert join(store, bob) == "bob-homelab"
        with pytest.raises(UsageError, match=r"say evil.example or bob-homelab \(garage.bob\)"):
            store.find("bob")
        with pytest.raises(UsageError):
            store.switch("bob")
        assert store.find("evil.example").member == "mallory"
        assert store.find("bob-homelab").member == "bob"

    def test_a_member_id_equal_to_anothers_name_is_ambiguous_and_curable(
        self, store: IdentityStore, alice: Member, clock: ManualClock
    ) -> None:
        join(store, alice)
        hostile = Member("alice-homelab", "home.alice", clock)
        name = join(store, hostile)
        assert name == "alice-homelab-homelab"
        with pytest.raises(UsageError, match="several"):
            store.find("alice-homelab")
        assert store.selected(None).member == "alice"  # what is current stays so
        store.leave(name)
        assert store.find("alice-homelab").member == "alice"

    def test_the_same_member_again_is_not_a_second_collective(
        self, store: IdentityStore, alice: Member
    ) -> None:
        join(store, alice)
        assert join(store, alice) == "alice-homelab"
        assert len(store.collectives()) == 1

    def test_an_older_certificate_never_replaces_a_newer_one(
        self, store: IdentityStore, alice: Member
    ) -> None:
        key = store.key_for_joining(none)
        newer = alice.joined(key, str(ME), lifetime_s=20 * 86400.0)
        older = alice.joined(key, str(ME), lifetime_s=10 * 86400.0)
        store.record(newer, BOOTSTRAP)
        store.record(older, BOOTSTRAP)
        kept = store.credentials(store.find("alice"), none).certificate
        assert kept == newer.certificate

    @pytest.mark.parametrize(
        "name",
        [
            *("../../evil", "", ".", "..", "a/b", "a\\b", "A", "x" * 64, "x" * 10_000),
            *("-x", "--collective", "-v", "x-", "a\nb", "a\0b", "\x1b[31mred", "a b", "a.b"),
            *("b\u043eb", "\uff42ob", "bob\u200b", "\u202ebob", "b\u00f6b", "xn--", "bob\n"),
        ],
    )
    def test_a_hostile_name_never_becomes_a_path(
        self, store: IdentityStore, clock: ManualClock, name: str
    ) -> None:
        hostile = Member("alice", "home.alice", clock)
        hostile.name = name
        assert join(store, hostile) == "alice"
        assert os.listdir(store.place.collectives) == ["alice"]

    def test_switching_and_leaving(
        self, store: IdentityStore, alice: Member, bob: Member, clock: ManualClock
    ) -> None:
        for member in (alice, bob, Member("carol", "office.carol", clock)):
            join(store, member)
        assert store.switch("garage.bob").name == "bob-homelab"
        assert store.selected(None).name == "bob-homelab"
        assert store.leave("carol")[1] == store.find("bob")
        store.switch("alice")
        gone, current = store.leave("alice")
        assert gone.name == "alice-homelab"
        assert current == store.find("bob")
        assert store.leave("bob") == (store_gone(store, bob), None)
        with pytest.raises(NotJoinedError, match="You need to join via invite first"):
            store.selected(None)
        assert os.path.exists(store.place.key)

    def test_leaving_the_current_of_three_asks_for_a_choice(
        self, store: IdentityStore, alice: Member, bob: Member, clock: ManualClock
    ) -> None:
        for member in (alice, bob, Member("carol", "office.carol", clock)):
            join(store, member)
        assert store.leave("alice")[1] is None
        with pytest.raises(NotJoinedError, match="identity switch"):
            store.selected(None)

    def test_what_was_left_can_be_joined_again_under_its_name(
        self, store: IdentityStore, alice: Member
    ) -> None:
        join(store, alice)
        store.leave("alice")
        assert join(store, alice) == "alice-homelab"

    def test_a_half_written_collective_does_not_count(
        self, store: IdentityStore, alice: Member
    ) -> None:
        join(store, alice)
        os.unlink(store.place.facts("alice-homelab"))
        assert store.collectives() == []
        assert join(store, alice) == "alice-homelab"

    def test_a_renewal_for_what_was_left_writes_nothing(
        self, store: IdentityStore, alice: Member
    ) -> None:
        join(store, alice)
        known = store.find("alice")
        credentials = store.credentials(known, none)
        store.leave("alice")
        store.take_renewed(known, credentials)
        assert store.collectives() == []
        assert not os.path.exists(store.place.certificate("alice-homelab"))

    @pytest.mark.parametrize("lifetime_s", [30 * 86400.0, 86400.0])
    def test_a_certificate_of_a_newer_ca_replaces_an_older_ones_however_long_that_lasts(
        self, store: IdentityStore, alice: Member, clock: ManualClock, lifetime_s: float
    ) -> None:
        join(store, alice)
        known = store.find("alice")
        former = store.credentials(known, none)
        newest = CertificateAuthority.create(
            alice.member, alice.domain, world_of(clock), label="2", after=former.authority
        )
        key = former.private_key.public_key()
        renewed = newest.issue(former.identity, key, lifetime_s=lifetime_s)
        trusted = (former.authority, newest.certificate)
        store.take_renewed(known, former.renewed(renewed, trusted))
        assert store.credentials(known, none).certificate == renewed
        store.take_renewed(known, former.renewed(former.certificate, trusted))
        assert store.credentials(known, none).certificate == renewed

    def test_a_certificate_for_another_key_is_refused(
        self, store: IdentityStore, alice: Member, tmp_path: Path, clock: ManualClock
    ) -> None:
        join(store, alice)
        other = IdentityStore(ConfigDir(str(tmp_path / "other")), world_of(clock=clock))
        join(other, alice)
        Path(store.place.certificate("alice-homelab")).write_bytes(
            Path(other.place.certificate("alice-homelab")).read_bytes()
        )
        with pytest.raises(SettingsError, match="does not belong"):
            store.credentials(store.find("alice"), none)


def store_gone(store: IdentityStore, bob: Member) -> JoinedCollective:
    """Return what ``leave`` says of bob's collective."""
    return JoinedCollective(
        name="bob-homelab",
        member=bob.member,
        domain=bob.domain,
        identity=SpiffeId.user(bob.domain, ME),
        coordinator_addresses=COORDINATOR,
        bootstrap_addresses=BOOTSTRAP,
        authority_digest=bob.authority.digest,
        joined_ms=1_800_000_000_000,
        told_ms=1_800_000_000_000,
        granted_by="spiffe://garage.bob/coordinator",
        grants=bob.grants,
    )


PATHS = st.lists(st.text("ab:+/ä", min_size=1, max_size=5), max_size=3).map(
    lambda names: FilePath(tuple(name.replace("/", "_") for name in names))
)
RIGHTS = st.sets(st.sampled_from(list(WORDS.values())), min_size=1).map(
    lambda some: reduce(or_, some)
)
LABEL = st.from_regex(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?", fullmatch=True)


@given(LABEL, st.sets(LABEL), st.text())
def test_a_free_name_is_a_name_and_free(member: str, taken: set[str], proposed: str) -> None:
    name = free_name(proposed, MemberId(member), taken)
    assert documents.is_name(name)
    assert name not in taken


def test_a_long_name_makes_room_for_its_number() -> None:
    base = "a" * 63
    assert free_name(base, MemberId("m"), {base}) == "a" * 61 + "-2"


@given(
    LABEL,
    st.text(),
    st.lists(st.builds(GrantTerms, PATHS, RIGHTS)),
    st.integers(0, 2**60),
    st.binary(min_size=32, max_size=32),
)
def test_what_is_kept_comes_back(
    name: str, by: str, grants: list[GrantTerms], when_ms: int, digest: bytes
) -> None:
    one = JoinedCollective(
        name=name,
        member=MemberId("alice"),
        domain=Domain("home.alice"),
        identity=SpiffeId.user(Domain("home.alice"), ME),
        coordinator_addresses=(Address("::1", 8001),),
        bootstrap_addresses=(),
        authority_digest=digest,
        joined_ms=when_ms,
        told_ms=when_ms + 1,
        granted_by=by,
        grants=tuple(grants),
        grants_expire_ms=when_ms,
    )
    assert JoinedCollective.decode(one.encode(), "x") == one


@given(st.binary())
def test_no_bytes_crash_the_decoder(raw: bytes) -> None:
    for decode in (Identity.decode, JoinedCollective.decode):
        with pytest.raises(SettingsError):
            decode(raw, "x")


SHARED = GrantTerms(FilePath(("shared",)), Right.READ | Right.WRITE)


def as_written(grants: object, form: int = 2) -> bytes:
    """Return what lies on disk of a collective with these ``grants``."""
    one = JoinedCollective(
        name="alice",
        member=MemberId("alice"),
        domain=Domain("home.alice"),
        identity=SpiffeId.user(Domain("home.alice"), ME),
        coordinator_addresses=(),
        bootstrap_addresses=(),
        authority_digest=bytes(32),
    )
    return json.dumps(json.loads(one.encode()) | {"format": form, "grants": grants}).encode()


def test_a_collective_that_was_joined_when_grants_were_texts_reads_as_before() -> None:
    before = as_written(["/shared:read+write", "/a:b:read"], form=1)
    found = JoinedCollective.decode(before, "x")
    assert found.grants == (SHARED, GrantTerms(FilePath(("a:b",)), Right.READ))
    written = json.loads(found.encode())
    assert written["format"] == 2
    assert written["grants"][0] == {"path": "/shared", "rights": ["read", "write"]}


@pytest.mark.parametrize(
    "grants",
    ["/a:read", ["/a"], ["/a:own"], ["a:read"], [{"path": "/a"}], [{"path": "/a", "rights": [1]}]],
)
def test_grants_that_are_damaged_are_not_guessed_at(grants: object) -> None:
    with pytest.raises(SettingsError, match="damaged"):
        JoinedCollective.decode(as_written(grants), "x")
