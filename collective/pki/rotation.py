"""Replacing a member's CA: which files say how far it is, and the steps between.

===========  ==========================  ============  ==========  ==========================
phase        ``<member>-ca.crt``         ``.key`` of   ``.next``   who signs
===========  ==========================  ============  ==========  ==========================
none         the CA                      the CA        absent      the CA
overlap      old, new                    old           new's key   servers old, clients new
closing      new, old (in any order)     new           absent      new
none again   new                         new           absent      new
===========  ==========================  ============  ==========  ==========================

All trust both from the overlap on, but *servers* keep showing leaves of the old CA until everybody
who would have to trust the new one has heard of it: clients hear of it with their renewal, which is
of the new CA already.  Each step is one atomic write or rename, so that a crash leaves one of the
phases; the rename that begins ``closing`` destroys the old key.
"""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

from cryptography import x509

from collective.core.clock import Clock
from collective.core.disk import Disk
from collective.core.errors import CollectiveError, ConflictError, RejectedError
from collective.core.ids import Domain
from collective.pki import certificates
from collective.pki.ca import CertificateAuthority
from collective.pki.files import (
    AUTHORITIES_MAX,
    load_authorities_file,
    load_key_file,
    load_or_create_authority,
    load_or_create_key,
    write_authorities,
)
from collective.pki.layout import CertDir
from collective.pki.trust import check_authority

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


def load(place: CertDir, domain: Domain, clock: Clock, *, disk: Disk) -> Authorities:
    """Return the CAs in the cert dir, the first one made if there is none; raises as pki.files."""
    signing = load_or_create_authority(place, domain, clock, disk=disk)
    bundle = load_authorities_file(place.ca_certificate, disk=disk)
    trusted = (signing.certificate, *(one for one in bundle if one != signing.certificate))
    if len(trusted) == 1:
        return Authorities(signing, signing, trusted, Phase.NONE)
    if not disk.exists(place.ca_next_key):
        return Authorities(signing, signing, trusted, Phase.CLOSING)
    key = load_key_file(place.ca_next_key, disk=disk)
    for certificate in trusted[1:]:
        if certificates.public_key_der(
            certificates.certificate_key(certificate)
        ) == certificates.public_key_der(key.public_key()):
            newest = CertificateAuthority(certificate, key, clock)
            return Authorities(signing, newest, trusted, Phase.OVERLAP)
    return Authorities(signing, signing, trusted, Phase.CLOSING)


def begin(place: CertDir, domain: Domain, clock: Clock, *, disk: Disk) -> Authorities:
    """Make the successor and trust both; ConflictError if a rotation is under way."""
    present = load(place, domain, clock, disk=disk)
    if present.phase is not Phase.NONE:
        raise ConflictError("The CA is being replaced already; finish that with --finish.")
    key = load_or_create_key(place.ca_next_key, disk=disk)
    label = certificates.key_digest(key.public_key()).hex()[:_LABEL_DIGITS]
    newest = CertificateAuthority.create(place.member, domain, clock, key=key, label=label)
    trusted = (present.signing.certificate, newest.certificate)
    write_authorities(place.ca_certificate, trusted, disk=disk)
    return Authorities(present.signing, newest, trusted, Phase.OVERLAP)


def switch(place: CertDir, domain: Domain, clock: Clock, *, disk: Disk) -> Authorities:
    """Let the successor sign everything and destroy the old key; both stay trusted."""
    present = load(place, domain, clock, disk=disk)
    if present.phase is not Phase.OVERLAP:
        raise ConflictError("There is no successor to switch to; begin with pki rotate-ca.")
    disk.rename(place.ca_next_key, place.ca_key)
    disk.sync_dir(posixpath.dirname(place.ca_key))
    trusted = (present.newest.certificate, present.signing.certificate)
    write_authorities(place.ca_certificate, trusted, disk=disk)
    return Authorities(present.newest, present.newest, trusted, Phase.CLOSING)


def close(place: CertDir, domain: Domain, clock: Clock, *, disk: Disk) -> Authorities:
    """Trust the CA that signs, and no other."""
    present = load(place, domain, clock, disk=disk)
    if present.phase is Phase.OVERLAP:
        raise ConflictError("The old CA still signs; switch first.")
    trusted = (present.signing.certificate,)
    write_authorities(place.ca_certificate, trusted, disk=disk)
    return Authorities(present.signing, present.signing, trusted, Phase.NONE)


def read_trusted(ders: Sequence[bytes], domain: Domain) -> tuple[x509.Certificate, ...]:
    """Return the CAs that our coordinator says count now, the one that signs first.

    Raises:
        RejectedError: there are none or too many, or one is no CA of ``domain``.
    """
    if not 0 < len(ders) <= AUTHORITIES_MAX:
        raise RejectedError("The coordinator names no CA, or too many; ask its operator.")
    found = tuple(certificates.load_certificate(der) for der in ders)
    for certificate in found:
        try:
            check_authority(certificate, domain)
        except CollectiveError as error:
            raise RejectedError(f"The coordinator names a CA that is none: {error}") from error
    return found
