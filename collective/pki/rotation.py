"""Replacing a member's CA: which files say how far it is, and the steps between.

===========  ==========================  ============  ==========  ==========================
phase        ``<member>-ca.crt``         ``.key`` of   ``.next``   who signs
===========  ==========================  ============  ==========  ==========================
none         the CA                      the CA        absent      the CA
overlap      old, new                    old           new's key   servers old, clients new
closing      new, old (in any order)     new           absent      new
none again   new                         new           absent      new
===========  ==========================  ============  ==========  ==========================

Beside them, from the beginning on, lies ``<member>-ca.link.pem``: the old CA's word for the new one
(``newWithOld``, RFC 4210 section 4.4).  Without it nobody takes a new CA: the coordinator's own key is
not enough to plant one (``pki.succession``).  It stays after the end, for peers that were away.

All trust both from the overlap on, but *servers* keep showing leaves of the old CA until everybody
who would have to trust the new one has heard of it: clients hear of it with their renewal, which is
of the new CA already.  Each step is one atomic write or rename, so that a crash leaves one of the
phases; the rename that begins ``closing`` destroys the old key.  The coordinator's own key ends with
the CA that certified it (``pki.coordinator_certificate.prepare_coordinator``).
"""

from __future__ import annotations

import posixpath
from dataclasses import dataclass, replace
from enum import Enum
from typing import Final

from cryptography import x509

from collective.core.disk import Disk
from collective.core.errors import CollectiveError, ConflictError
from collective.core.ids import Domain
from collective.core.world import World
from collective.pki import certificates
from collective.pki.ca import CertificateAuthority
from collective.pki.cert_dir import CertDir
from collective.pki.coordinator_certificate import load_or_create_authority
from collective.pki.pem_files import (
    load_authorities_file,
    load_certificate_file,
    load_key_file,
    load_or_create_key,
    write_authorities,
    write_certificate,
)
from collective.pki.succession import is_link

_LABEL_DIGITS: Final = 8


class Phase(Enum):
    """How far a rotation is; the value is the word of status and CLI."""

    NONE = "none"
    OVERLAP = "overlap"
    CLOSING = "closing"


@dataclass(frozen=True, slots=True)
class Authorities:
    """The CAs of one member."""

    signing: CertificateAuthority
    """Signs servers (coordinator, bootstraps, nodes) and joins; codes pin it."""
    newest: CertificateAuthority
    """Signs the renewals of users: the successor during the overlap, else ``signing``."""
    trusted: tuple[x509.Certificate, ...]
    """All that count, ``signing`` first."""
    phase: Phase
    links: tuple[x509.Certificate, ...] = ()
    """The old CA's word for the new one, while a rotation is under way."""
    heritage: tuple[x509.Certificate, ...] = ()
    """That word once the old CA has gone: for peers that were away all the while."""

    @classmethod
    def lone(cls, authority: CertificateAuthority) -> Authorities:
        """Return those of a member that has ``authority`` and no other."""
        return cls(authority, authority, (authority.certificate,), Phase.NONE)


def load(place: CertDir, domain: Domain, world: World) -> Authorities:
    """Return the CAs in the cert dir, the first one made if there is none; raises as pki.files."""
    disk = world.disk
    signing = load_or_create_authority(place, domain, world)
    bundle = load_authorities_file(place.ca_certificate, disk=disk)
    trusted = (signing.certificate, *(one for one in bundle if one != signing.certificate))
    if len(trusted) == 1:
        return replace(Authorities.lone(signing), heritage=_heritage(place, signing, world))
    if disk.exists(place.ca_next_key):
        key = load_key_file(place.ca_next_key, disk=disk)
        for certificate in trusted[1:]:
            if certificates.public_key_der(
                certificates.certificate_key(certificate)
            ) == certificates.public_key_der(key.public_key()):
                newest = CertificateAuthority(certificate, key, world)
                links = _kept_links(place, signing.certificate, certificate, domain, world)
                if not links:  # a rotation that an older program began, or the file was lost
                    links = (_write_link(place, signing, certificate, disk),)
                return Authorities(signing, newest, trusted, Phase.OVERLAP, links)
    links = ()
    for former in trusted[1:]:
        links += _kept_links(place, former, signing.certificate, domain, world)
    return Authorities(signing, signing, trusted, Phase.CLOSING, links)


def begin(place: CertDir, domain: Domain, world: World) -> Authorities:
    """Make the successor and trust both; ConflictError if a rotation is under way."""
    present = load(place, domain, world)
    if present.phase is not Phase.NONE:
        raise ConflictError("The CA is being replaced already; finish that with --finish.")
    disk = world.disk
    key = load_or_create_key(place.ca_next_key, world)
    label = certificates.key_digest(key.public_key()).hex()[:_LABEL_DIGITS]
    old = present.signing
    newest = CertificateAuthority.create(
        place.member, domain, world, key=key, label=label, after=old.certificate
    )
    link = _write_link(place, old, newest.certificate, disk)
    trusted = (old.certificate, newest.certificate)
    write_authorities(place.ca_certificate, trusted, disk=disk)
    return Authorities(old, newest, trusted, Phase.OVERLAP, (link,))


def switch(place: CertDir, domain: Domain, world: World) -> Authorities:
    """Let the successor sign everything and destroy the old key; both stay trusted."""
    present = load(place, domain, world)
    if present.phase is not Phase.OVERLAP:
        raise ConflictError("There is no successor to switch to; begin with pki rotate-ca.")
    disk = world.disk
    disk.rename(place.ca_next_key, place.ca_key)
    disk.sync_dir(posixpath.dirname(place.ca_key))
    trusted = (present.newest.certificate, present.signing.certificate)
    write_authorities(place.ca_certificate, trusted, disk=disk)
    return Authorities(present.newest, present.newest, trusted, Phase.CLOSING, present.links)


def close(place: CertDir, domain: Domain, world: World) -> Authorities:
    """Trust the CA that signs, and no other."""
    present = load(place, domain, world)
    if present.phase is Phase.OVERLAP:
        raise ConflictError("The old CA still signs; switch first.")
    disk = world.disk
    trusted = (present.signing.certificate,)
    write_authorities(place.ca_certificate, trusted, disk=disk)
    heritage = _heritage(place, present.signing, world)
    return replace(Authorities.lone(present.signing), heritage=heritage)


def _heritage(
    place: CertDir, signing: CertificateAuthority, world: World
) -> tuple[x509.Certificate, ...]:
    """Return the link on disk if it is for the CA that signs; whose word it is, its readers judge."""
    try:
        link = load_certificate_file(place.ca_link, disk=world.disk)
    except CollectiveError:
        return ()
    is_for_us = link.subject == signing.certificate.subject and certificates.public_key_der(
        certificates.certificate_key(link)
    ) == certificates.public_key_der(certificates.certificate_key(signing.certificate))
    return (link,) if is_for_us and link != signing.certificate else ()


def _write_link(
    place: CertDir, old: CertificateAuthority, successor: x509.Certificate, disk: Disk
) -> x509.Certificate:
    link = old.link(successor)
    write_certificate(place.ca_link, link, disk=disk)
    return link


def _kept_links(
    place: CertDir,
    former: x509.Certificate,
    successor: x509.Certificate,
    domain: Domain,
    world: World,
) -> tuple[x509.Certificate, ...]:
    """Return the link on disk if it is that of ``former`` for ``successor``, else nothing."""
    try:
        link = load_certificate_file(place.ca_link, disk=world.disk)
    except CollectiveError:
        return ()
    return (link,) if is_link(link, successor, former, domain, world.clock.wall_s()) else ()
