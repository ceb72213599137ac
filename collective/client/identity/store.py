"""The identity, its key and the joined collectives on disk.

Owns every file below the configuration folder.  Invariants: a collective exists once its
``collective.json`` does, and that is written last, so a crash leaves all of it or nothing that
counts; the key is durable before anything is asked for it; nothing here changes one collective on
behalf of another; a certificate is never replaced by an older one.  Changes are made under one lock
across processes.  Blocking: small files only.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from collective.client.identity import certificates as kept
from collective.client.identity import choosing, replacing
from collective.client.identity.archive import set_aside
from collective.client.identity.certificates import StoredCertificates, digest_of
from collective.client.identity.config_dir import ConfigDir
from collective.client.identity.documents import Identity, JoinedCollective, free_name, is_name
from collective.core.errors import BusyError, ConflictError, SettingsError
from collective.core.ids import GlobalId
from collective.core.small_files import read_small, write_atomically
from collective.core.units import Address
from collective.core.world import World
from collective.pki import certificates, pem_files
from collective.pki.credentials import Credentials, load_credentials

if TYPE_CHECKING:
    from collective.client.joining import Joined

Passphrase = Callable[[], bytes]
"""Gives the passphrase of the key; called only if the key needs one."""

LOCK_TRIES: Final = 200
LOCK_PAUSE_S: Final = 0.05
COLLECTIVES_MAX: Final = 1000
ADDRESSES_MAX: Final = 8
"""Of a coordinator, that are kept."""
PEER_OF_MAX: Final = 64
"""Members that are remembered to know a collective as their peer."""
_PRIVATE: Final = 0o600


class Recorded(NamedTuple):
    """What recording a redemption did."""

    collective: JoinedCollective
    is_new: bool
    is_current: bool
    aside: str | None = None
    """The folder that has what this took the place of."""


class IdentityStore:
    """One client's configuration below ``place``."""

    def __init__(self, place: ConfigDir, world: World) -> None:
        """Use the folder ``place``, which need not exist."""
        self.place: Final = place
        self._world = world
        self._disk = world.disk
        self._kept = StoredCertificates(place, self._disk)

    # --- identity --------------------------------------------------------------------------------

    def identity(self) -> Identity | None:
        """Return who this machine acts for, None before ``identity init`` and the first join."""
        if not self._disk.exists(self.place.identity):
            return None
        raw = read_small(self.place.identity, disk=self._disk)
        return Identity.decode(raw, self.place.identity)

    def create_identity(
        self,
        global_id: GlobalId,
        *,
        display_name: str = "",
        passphrase: bytes | None = None,
        force: bool = False,
    ) -> str | None:
        """Make an identity and its key.

        A key that an interrupted redemption left is kept, so that its invite is not lost.  With
        ``force`` an identity that exists, its key and its collectives are moved to a folder
        ``replaced-<time>`` beside them, which is returned.

        Raises ConflictError if there is an identity and ``force`` is not given.
        """
        aside = None
        with self._locked():
            known = self.identity()
            if known is not None:
                if not force:
                    raise ConflictError(
                        f"This machine has the identity {known.global_id} already; add --force to"
                        " replace it, which leaves all its collectives."
                    )
                aside = self._set_aside()
            self._ensure_key(lambda: passphrase or b"", passphrase)
            self._write_identity(global_id, display_name)
            return aside

    def key(self, passphrase: Passphrase) -> tuple[ec.EllipticCurvePrivateKey, bytes | None]:
        """Return the key and the passphrase that it needed; NotJoinedError if there is none."""
        needed = None
        if pem_files.is_encrypted_key(self.place.key, disk=self._disk):
            needed = passphrase()
        return pem_files.load_key_file(self.place.key, passphrase=needed, disk=self._disk), needed

    def key_digest(self) -> bytes | None:
        """Return the SHA-256 of the key, without its passphrase; None if nothing here tells it."""
        if not pem_files.is_encrypted_key(self.place.key, disk=self._disk):
            key = pem_files.load_key_file(self.place.key, disk=self._disk)
            return certificates.key_digest(key.public_key())
        return self._kept.key_digest(self.collectives())

    def key_for_joining(
        self, passphrase: Passphrase, new_passphrase: bytes | None = None
    ) -> ec.EllipticCurvePrivateKey:
        """Return the key, made and durable first if there is none."""
        with self._locked():
            return self._ensure_key(passphrase, new_passphrase)

    # --- collectives -----------------------------------------------------------------------------

    def collectives(self) -> list[JoinedCollective]:
        """Return what is joined, by name."""
        if not self._disk.exists(self.place.collectives):
            return []
        names = sorted(
            entry.name
            for entry in self._disk.list_dir(self.place.collectives)
            if entry.is_dir and is_name(entry.name)
        )
        return [
            self._collective(name)
            for name in names[:COLLECTIVES_MAX]
            if self._disk.exists(self.place.facts(name))
        ]

    def find(self, wanted: str) -> JoinedCollective:
        """Return the collective that ``wanted`` means; see :func:`choosing.find`."""
        return choosing.find(self.collectives(), wanted)

    def current(self) -> JoinedCollective | None:
        """Return the current collective; None if none is chosen or it is no longer joined."""
        name = self._current_name()
        if name is None or not self._disk.exists(self.place.facts(name)):
            return None
        return self._collective(name)

    def selected(self, wanted: str | None) -> JoinedCollective:
        """Return the collective for one command: ``wanted``, else the current one.

        Raises NotJoinedError, UsageError as :func:`choosing.find`.
        """
        if wanted:
            return self.find(wanted)
        return self.current() or choosing.only(self.collectives())

    def switch(self, wanted: str) -> JoinedCollective:
        """Make the collective that ``wanted`` means the current one; errors as :meth:`find`."""
        with self._locked():
            found = self.find(wanted)
            self._set_current(found.name)
            return found

    def leave(self, wanted: str) -> tuple[JoinedCollective, JoinedCollective | None]:
        """Forget a collective; return it and what is current now.  The key stays.

        Where the current one is left and exactly one other remains, that becomes current.
        """
        with self._locked():
            gone = self.find(wanted)
            was_current = self._current_name() == gone.name
            rest = [one for one in self.collectives() if one.name != gone.name]
            if was_current:
                if len(rest) == 1:
                    self._set_current(rest[0].name)
                else:
                    self._unlink(self.place.current)
            folder = self.place.collective(gone.name)
            self._unlink(self.place.facts(gone.name))
            self._disk.sync_dir(folder)
            self._unlink(self.place.certificate(gone.name))
            self._unlink(self.place.authority(gone.name))
            return gone, self.current()

    def rivals(self, joined: Joined) -> list[JoinedCollective]:
        """Return what was joined before and says the same of itself; :func:`replacing.rivals`."""
        known = self.collectives()
        return replacing.rivals(known, joined, {one.name: self._kept.digests(one) for one in known})

    def authorities(self, collective: JoinedCollective) -> tuple[x509.Certificate, ...]:
        """Return the CAs of ``collective``, none if they cannot be read."""
        return self._kept.authorities(collective)

    def record(
        self,
        joined: Joined,
        bootstrap_addresses: tuple[Address, ...],
        *,
        display_name: str = "",
        replaces: Sequence[JoinedCollective] = (),
    ) -> Recorded:
        """Keep what a redemption gave; the same CA again updates its collective in place.

        The first collective becomes the current one.  Without an identity, this machine takes the
        one that was certified.  What it ``replaces`` is set aside, and its name and place taken.
        """
        digest = digest_of(joined.authority)
        with self._locked():
            self._adopt(joined, display_name)
            wanted = replaces[0].name if replaces else joined.collective_name
            aside = None
            if replaces:
                folders = [self.place.collective(one.name) for one in replaces]
                was_current = self._current_name() in {one.name for one in replaces}
                if was_current:
                    self._set_current(wanted)
                aside = set_aside(self.place, folders, now_ms=self._now_ms(), disk=self._disk)
            joined_here = self.collectives()
            known = next((one for one in joined_here if digest in self._kept.digests(one)), None)
            taken = {one.name for one in joined_here}
            words = {word for one in joined_here for word in one.words}
            name = known.name if known else free_name(wanted, joined.member, words)
            facts = JoinedCollective(
                name=name,
                member=joined.member,
                domain=joined.domain,
                identity=joined.identity,
                coordinator_addresses=joined.coordinator_addresses,
                bootstrap_addresses=bootstrap_addresses,
                authority_digest=digest,
                joined_ms=known.joined_ms if known else self._now_ms(),
                told_ms=self._now_ms(),
                granted_by=joined.granted_by,
                grants=joined.grants,
                grants_expire_ms=joined.grants_expire_ms,
                peer_of=known.peer_of if known else (),
            )
            trusted = self._kept.with_former(joined.trusted, known)
            if known is None or self._kept.is_newer(joined.certificate, known, trusted):
                self._kept.write(name, trusted, joined.certificate)
            self._write(self.place.facts(name), facts.encode())
            if self.current() is None and not taken - {name}:
                self._set_current(name)
            return Recorded(facts, known is None, self._current_name() == name, aside)

    # --- credentials -----------------------------------------------------------------------------

    def credentials(self, collective: JoinedCollective, passphrase: Passphrase) -> Credentials:
        """Return certificate, key and CA for ``collective``.

        Raises NotJoinedError, SettingsError, UsageError as :func:`pki.credentials.load_credentials`.
        """
        needed = None
        if pem_files.is_encrypted_key(self.place.key, disk=self._disk):
            needed = passphrase()
        return load_credentials(
            self.place.certificate(collective.name),
            self.place.key,
            self.place.authority(collective.name),
            passphrase=needed,
            disk=self._disk,
        )

    def take_renewed(
        self,
        collective: JoinedCollective,
        renewed: Credentials,
        coordinator_addresses: tuple[Address, ...] = (),
    ) -> None:
        """Keep what the coordinator told: certificate, CAs, and its addresses before those known.

        Nothing is written for a collective that was left meanwhile, and no older certificate.
        """
        with self._locked():
            if not self._disk.exists(self.place.facts(collective.name)):
                return
            if renewed.trusted != self._kept.authorities(collective):
                # first: it must know the certificate
                self._kept.write_authorities(collective.name, renewed.trusted)
            self._kept.take_newer(collective, renewed.certificate, renewed.trusted)
            known = self._collective(collective.name)
            facts = known._replace(
                authority_digest=digest_of(renewed.authority),
                coordinator_addresses=_with(coordinator_addresses, known.coordinator_addresses),
                told_ms=self._now_ms(),
            )
            self._write(self.place.facts(known.name), facts.encode())

    def take_addresses(self, collective: JoinedCollective, found: tuple[Address, ...]) -> None:
        """Keep where the coordinator was found, before where it was known to be; it has proven itself."""

        def taken(known: JoinedCollective) -> JoinedCollective:
            kept = _with(found, known.coordinator_addresses)
            return known._replace(coordinator_addresses=kept)

        self._change(collective.name, taken)

    def was_told_nothing(self, collective: JoinedCollective) -> None:
        """Remember that the coordinator was asked and could not say; it is asked again later."""
        self._change(collective.name, lambda known: known._replace(told_ms=self._now_ms()))

    def note_peer_of(self, name: str, digests: Collection[bytes], *, is_peer: bool) -> None:
        """Remember what a member says of the collective now: that it is its peer, or that it is not.

        ``digests``: of the keys of its CAs, the present one first.
        """

        def noted(known: JoinedCollective) -> JoinedCollective:
            own = [digest.hex() for digest in digests]
            told = [(one, said_ms) for one, said_ms in known.peer_of if one not in own]
            if is_peer:
                told.append((own[0], self._now_ms()))
            return known._replace(peer_of=tuple(told[-PEER_OF_MAX:]))

        self._change(name, noted)

    def _change(self, name: str, changed: Callable[[JoinedCollective], JoinedCollective]) -> None:
        """Write what ``changed`` makes of a collective, if it was not left meanwhile and that is something else."""
        with self._locked():
            if not self._disk.exists(self.place.facts(name)):
                return
            known = self._collective(name)
            facts = changed(known)
            if facts != known:
                self._write(self.place.facts(name), facts.encode())

    # --- files -----------------------------------------------------------------------------------

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self._disk.make_dir(self.place.path)
        for _ in range(LOCK_TRIES):
            lock = self._disk.lock(self.place.lock)
            if lock is not None:
                break
            self._world.threads.pause(LOCK_PAUSE_S)
        else:
            raise BusyError(
                f"Another command is changing {self.place.path}; try again when it is done."
            )
        try:
            yield
        finally:
            lock.release()

    def _now_ms(self) -> int:
        return round(self._world.clock.wall_s() * 1000)

    def _collective(self, name: str) -> JoinedCollective:
        path = self.place.facts(name)
        found = JoinedCollective.decode(read_small(path, disk=self._disk), path)
        return found if found.name == name else found._replace(name=name)

    def _ensure_key(
        self, passphrase: Passphrase, new_passphrase: bytes | None
    ) -> ec.EllipticCurvePrivateKey:
        if self._disk.exists(self.place.key):
            key, needed = self.key(passphrase)
            if new_passphrase and needed is None and self.identity() is None:
                pem_files.write_key(self.place.key, key, passphrase=new_passphrase, disk=self._disk)
            if not self._disk.exists(self.place.public_key):
                self._write_public(key)
            return key
        if self.identity() is not None:
            raise SettingsError(
                f"The key {self.place.key} is missing; restore it, or start again with"
                " 'collective identity init --force'."
            )
        key = certificates.new_private_key(self._world.randomness)
        pem_files.write_key(self.place.key, key, passphrase=new_passphrase, disk=self._disk)
        self._write_public(key)
        return key

    def _write_public(self, key: ec.EllipticCurvePrivateKey) -> None:
        self._write(self.place.public_key, kept.public_key_pem(key))

    def _adopt(self, joined: Joined, display_name: str) -> None:
        """Take the certified identity where this machine has none."""
        certified = joined.identity.global_id
        if certified is not None and self.identity() is None:
            self._write_identity(certified, display_name)

    def _write_identity(self, global_id: GlobalId, display_name: str) -> Identity:
        made = Identity(global_id, display_name, self._now_ms())
        self._write(self.place.identity, made.encode())
        return made

    def _set_aside(self) -> str:
        """Move key, collectives and identity away, the identity last: it says that all are here."""
        place = self.place
        everything = (
            place.current,
            place.collectives,
            place.public_key,
            place.key,
            place.identity,
        )
        return set_aside(place, everything, now_ms=self._now_ms(), disk=self._disk)

    def _current_name(self) -> str | None:
        if not self._disk.exists(self.place.current):
            return None
        text = read_small(self.place.current, disk=self._disk).decode("utf-8", "replace")
        return text.strip() if is_name(text.strip()) else None

    def _set_current(self, name: str) -> None:
        self._write(self.place.current, name.encode() + b"\n")

    def _write(self, path: str, content: bytes) -> None:
        write_atomically(path, content, permissions=_PRIVATE, disk=self._disk)

    def _unlink(self, path: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._disk.unlink(path)


def _with(found: tuple[Address, ...], known: tuple[Address, ...]) -> tuple[Address, ...]:
    """Return ``found`` before ``known``, each once; the oldest go where they are too many."""
    return tuple(dict.fromkeys((*found, *known)))[:ADDRESSES_MAX]
