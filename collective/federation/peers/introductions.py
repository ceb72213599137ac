"""Unattended peering: members that share a folder peer by the signed bundles that they find in it.

The folder holds ``<domain>/bundle.json``, as :meth:`SignedBundle.to_file` writes it: no codes, no keys.
Each member writes its own subfolder and reads the others'.  Who may write a subfolder is the operator's
word for who is that domain; so from it a bundle of that domain is taken, and of no other.

What is found can make a peer or renew one, and nothing else.  It replaces no peer, confirms none that
waits, and brings none back that was removed.  Whatever else stands there is one sentence in the log and
a warning in ``status``.

Bounds: a round looks at LISTED_MAX names and reads at most FILE_MAX_BYTES of at most MEMBERS_MAX files,
of which those that have not changed are opened and not read.  Texts that are logged or shown never
contain what a file says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

import structlog

from collective.core import limits
from collective.core.clock import Clock
from collective.core.errors import CollectiveError, ConflictError, RejectedError, UsageError
from collective.core.ids import Domain, parse_domain
from collective.core.shared_folder import Listing, SharedFolder, Stamp, UnfitFileError
from collective.core.work import Periodic, Worker
from collective.core.world import World
from collective.federation.peers.newer_bundle import OlderBundleError, newer_bundle
from collective.federation.peers.own_bundle import OwnBundle
from collective.federation.peers.peer_book import Known, PeerBook
from collective.model.peers import PeerState
from collective.pki.bundle import Bundle, SignedBundle, open_bundle

INTERVAL_S: Final = 2.0
FILE_NAME: Final = "bundle.json"
FILE_MAX_BYTES: Final = 64 * 1024
LISTED_MAX: Final = 1024
MEMBERS_MAX: Final = limits.PEERS_MAX
_LOGGED_MAX: Final = 1024
"""Different sentences that one process logs; whoever makes up names makes no more."""
_SHOWN_MAX: Final = 8
"""Warnings about other members that ``status`` shows."""


@dataclass(frozen=True, slots=True)
class Offer:
    """A sound bundle, of the domain that its subfolder is named for."""

    signed: SignedBundle
    bundle: Bundle


class Verdict(Enum):
    """What is done about an offer."""

    INTRODUCE = auto()
    RENEW = auto()
    LEAVE = auto()
    """It says nothing new, or is of a removed peer."""


def read_offer(domain: Domain, content: bytes) -> Offer:
    """Return what a file in the subfolder of ``domain`` offers; RejectedError where it is no such bundle."""
    try:
        signed = SignedBundle.from_file(content)
        bundle = open_bundle(signed)
    except CollectiveError as error:
        raise RejectedError("it is no sound bundle.") from error
    if bundle.domain != domain:
        raise RejectedError("it is a bundle of another domain.")
    return Offer(signed, bundle)


def judge(known: Known | None, offer: Offer, now_s: float) -> Verdict:
    """Return what is done about ``offer``.

    Args:
        known: what is known of its domain: a peer, a tombstone, or nothing.
        offer: as it was found.
        now_s: Unix seconds, for links between CAs.

    Raises:
        RejectedError: the bundle takes the place of no other; the sentence says why, and what to do.
    """
    if known is None:
        return Verdict.INTRODUCE
    if known.peer.state is PeerState.REMOVED:
        return Verdict.LEAVE
    try:
        newer = newer_bundle(known, offer.signed, now_s)
    except OlderBundleError:
        return Verdict.LEAVE
    return Verdict.LEAVE if newer is None else Verdict.RENEW


def looked_at(
    names: Sequence[str], known: Mapping[Domain, PeerState], own: Domain
) -> Sequence[Domain]:
    """Return whose subfolders are read, in order: peers, listed or not; new members; removed ones last."""
    found = []
    for name in sorted(names):
        try:
            found.append(parse_domain(name))
        except UsageError:
            continue
    removed = {domain for domain, state in known.items() if state is PeerState.REMOVED}
    peers = [domain for domain in known if domain not in removed]
    every = [one for one in dict.fromkeys([*peers, *found]) if one != own]
    return sorted(every, key=removed.__contains__)


@dataclass(frozen=True, slots=True)
class _Found:
    """What the disk gave of one subfolder."""

    stamp: Stamp | None = None
    """None: nothing is there, or it is looked at anew."""
    offer: Offer | None = None
    trouble: str = ""
    is_new: bool = True


class Introductions:
    """Writes this member's bundle into the folder, and takes up what others have written."""

    def __init__(self, path: str, book: PeerBook, own: OwnBundle, world: World) -> None:
        """Use the folder at ``path`` for the peers of ``book``; :meth:`close` it in the end."""
        self._path = path
        self._folder: SharedFolder = world.disk.shared(path)
        self._book = book
        self._own = own
        self._clock: Clock = world.clock
        self._pool = world.threads.pool(1, "introductions")
        self._seen: dict[Domain, Stamp] = {}
        self._standing: object = None
        self._own_stamp: Stamp | None = None
        self._own_text = b""
        self._about_folder: dict[str, str] = {}
        self._about_members: dict[Domain, str] = {}
        self._logged: set[str] = set()
        self._log = structlog.get_logger("coordinator.introductions")

    def worker(self) -> Worker:
        """Return the worker that looks into the folder."""
        return Periodic("introductions", INTERVAL_S, self.look)

    def close(self) -> None:
        """Wait for nothing: the folder's disk may hang."""
        self._pool.abandon()

    def warnings(self) -> Sequence[str]:
        """Return what the operator should know of the folder, one sentence each."""
        about = list(self._about_members.values())
        told = [*self._about_folder.values(), *about[:_SHOWN_MAX]]
        if len(about) > _SHOWN_MAX:
            told.append(
                f"The introductions folder has {len(about) - _SHOWN_MAX} more subfolders with something"
                " wrong; see the log."
            )
        return told

    async def look(self) -> None:
        """Write the own bundle where it is not there, and take up what others have written since."""
        await self._publish()
        standing = [
            (domain, known.peer.state, known.peer.authority_digest)
            for domain, known in self._book.all.items()
        ]
        if standing != self._standing:
            self._seen.clear()  # what was refused before may be taken now, and the reverse
            self._standing = standing
        domains = await self._domains()
        if domains is None:
            return
        found = await self._pool.run(self._read_all, domains, dict(self._seen))
        for gone in self._about_members.keys() - found.keys():
            del self._about_members[gone]
        self._seen = {one: stamp for one, stamp in self._seen.items() if one in found}
        for domain, one in found.items():
            if one.is_new:
                await self._take(domain, one)

    # --- the own subfolder -----------------------------------------------------------------------

    async def _publish(self) -> None:
        """Have the own bundle in the own subfolder; what prevents that is told, and tried again."""
        signed, _ = await self._own.current()
        text = signed.to_file()
        try:
            await self._pool.run(self._write_if_other, text)
        except (OSError, UnfitFileError) as error:
            why = error.strerror if isinstance(error, OSError) else error.message.rstrip(".")
            self._own_stamp = None
            self._tell_of_folder(
                "own",
                f"This member's bundle cannot be written to {self._path}/{self._own.domain}"
                f" ({why}), so others cannot peer with it by the folder; make that subfolder"
                " writable.",
            )
        else:
            self._about_folder.pop("own", None)

    def _write_if_other(self, text: bytes) -> None:
        own, seen = self._own.domain, self._own_stamp if text == self._own_text else None
        try:
            there = self._folder.read(own, FILE_NAME, FILE_MAX_BYTES, seen)
        except UnfitFileError:
            there = None
        if there is None or there.content not in {None, text}:
            self._folder.write(own, FILE_NAME, text)
            there = self._folder.read(own, FILE_NAME, FILE_MAX_BYTES, None)
        self._own_stamp = None if there is None else there.stamp
        self._own_text = text

    # --- the others ------------------------------------------------------------------------------

    async def _domains(self) -> Sequence[Domain] | None:
        """Return whose subfolders are looked at; None where the folder cannot be read."""
        try:
            listing: Listing = await self._pool.run(self._folder.names, LISTED_MAX)
        except OSError as error:
            self._about_members.clear()
            self._tell_of_folder(
                "folder",
                f"The introductions folder {self._path} cannot be read ({error.strerror}); mount it, or"
                " take the setting away.",
            )
            return None
        self._about_folder.pop("folder", None)
        known = {domain: one.peer.state for domain, one in self._book.all.items()}
        found = looked_at(listing.names, known, self._own.domain)
        if listing.is_whole and len(found) <= MEMBERS_MAX:
            self._about_folder.pop("flood", None)
        else:
            self._tell_of_folder(
                "flood",
                f"The introductions folder {self._path} holds more than {LISTED_MAX} names, or"
                f" subfolders of more than {MEMBERS_MAX} members; the rest is not looked at. Remove what"
                " does not belong there.",
            )
        return found[:MEMBERS_MAX]

    def _read_all(
        self, domains: Sequence[Domain], seen: Mapping[Domain, Stamp]
    ) -> dict[Domain, _Found]:
        return {domain: self._read(domain, seen.get(domain)) for domain in domains}

    def _read(self, domain: Domain, seen: Stamp | None) -> _Found:
        try:
            file = self._folder.read(domain, FILE_NAME, FILE_MAX_BYTES, seen)
        except UnfitFileError as error:
            return _Found(trouble=error.message)
        except OSError as error:
            return _Found(trouble=f"it cannot be read ({error.strerror}).")
        if file is None:
            return _Found()
        if file.content is None:
            return _Found(file.stamp, is_new=False)
        try:
            return _Found(file.stamp, read_offer(domain, file.content))
        except RejectedError as error:
            return _Found(file.stamp, trouble=error.message)

    async def _take(self, domain: Domain, found: _Found) -> None:
        """Do what follows from one file; one that fails holds up no other."""
        trouble, stamp = found.trouble, found.stamp
        if found.offer is not None:
            try:
                await self._act(domain, found.offer)
            except (ConflictError, RejectedError) as error:
                trouble = error.message
            except CollectiveError as error:
                trouble, stamp = error.message, None
        if stamp is not None:
            self._seen[domain] = stamp
        if trouble:
            sentence = f"{domain}/{FILE_NAME} in the introductions folder is not used: {trouble}"
            self._about_members[domain] = sentence
            self._log_once(sentence)
        else:
            self._about_members.pop(domain, None)

    async def _act(self, domain: Domain, offer: Offer) -> None:
        known = self._book.all.get(domain)
        verdict = judge(known, offer, self._clock.wall_s())
        if verdict is Verdict.INTRODUCE:
            await self._book.introduce(offer.signed)
            self._log.warning("peer introduced", domain=domain)
        elif verdict is Verdict.RENEW:
            await self._book.renew(offer.signed, offer.bundle, self._clock.monotonic_s())
        elif known is not None and known.peer.state is PeerState.REMOVED:
            self._log_once(
                f"{domain} was removed here and stays so, though the introductions folder has its"
                " bundle."
            )

    def _tell_of_folder(self, what: str, sentence: str) -> None:
        self._about_folder[what] = sentence
        self._log_once(sentence)

    def _log_once(self, sentence: str) -> None:
        if sentence not in self._logged and len(self._logged) < _LOGGED_MAX:
            self._logged.add(sentence)
            self._log.warning("introductions", text=sentence)
