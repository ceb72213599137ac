"""Bundles: what a peer needs to know of a member, signed by the member's CA.

A bundle is the canonical JSON of :class:`Bundle` and an ECDSA signature over a label and that text, by
the key of the CA that signs the member's servers (the first of ``authorities``).  So it means the same
whoever hands it over: a connection, a folder, a third member.

It is believed about its own domain alone, and only where that domain's CA is known already or is what a
peering is about (:mod:`collective.federation.peers`).  Pure.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from dataclasses import dataclass, field, replace
from typing import Any, Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from collective.core.errors import CollectiveError, RejectedError
from collective.core.ids import Domain, MemberId, parse_domain, parse_member_id
from collective.core.units import Address
from collective.pki import certificates
from collective.pki.ca import CertificateAuthority
from collective.pki.pem_files import AUTHORITIES_MAX
from collective.pki.trust import check_authority

BUNDLE_MAX_BYTES: Final = 32 * 1024
ADDRESSES_MAX: Final = 16
LINKS_MAX: Final = 4
SEQUENCE_MAX: Final = (1 << 53) - 1
"""Every JSON reader has integers up to here."""
_VERSION_MAX_CHARS: Final = 64
_SIGNATURE_MAX_BYTES: Final = 128
_LABEL: Final = b"collective bundle 1\0"
_FINGERPRINT_LABEL: Final = b"collective fingerprint 1\0"
_GROUPS: Final = 6
_GROUP: Final = 100_000
_FIELDS: Final = frozenset(("member", "domain", "authorities", "addresses", "sequence"))
"""Without these there is no bundle; what later versions add is signed with the rest, and passed over."""
_SIGNED_FIELDS: Final = frozenset(("bundle", "signature"))


@dataclass(frozen=True, slots=True)
class SignedBundle:
    """A bundle as it is kept and passed on."""

    body: bytes
    """The JSON text that is signed, at most BUNDLE_MAX_BYTES."""
    signature: bytes

    @property
    def digest(self) -> bytes:
        """SHA-256 of the body: two bundles with one number differ by it."""
        return hashlib.sha256(self.body).digest()

    def to_file(self) -> bytes:
        """Return the text of a bundle file."""
        told = {
            "bundle": self.body.decode(),
            "signature": base64.b64encode(self.signature).decode(),
        }
        return json.dumps(told, indent=1).encode() + b"\n"

    @classmethod
    def from_file(cls, text: bytes) -> SignedBundle:
        """Return what a bundle file holds, nothing of it checked; RejectedError for anything else."""
        told = _object(text, _SIGNED_FIELDS)
        body, signature = told["bundle"], told["signature"]
        if not isinstance(body, str) or not isinstance(signature, str):
            raise _malformed("a field is of another kind")
        try:
            return cls(body.encode(), base64.b64decode(signature, validate=True))
        except (binascii.Error, ValueError) as error:
            raise _malformed("it is not UTF-8, or its signature not base64") from error


@dataclass(frozen=True, slots=True)
class Bundle:
    """One member, as its own CA tells of it."""

    member: MemberId
    domain: Domain
    authorities: tuple[x509.Certificate, ...]
    """Every CA that counts for the domain, the one that signs servers and this bundle first."""
    addresses: tuple[Address, ...]
    """Where the coordinator can be reached, those that work best for most first."""
    sequence: int
    """Rises with each change; of two bundles the one with the higher number counts."""
    version: str = ""
    """Of the program that made it, for people."""
    bootstraps: tuple[Address, ...] = ()
    """Where anybody may ask for this bundle: also a peer that does not know the present CA yet."""
    links: tuple[x509.Certificate, ...] = field(default=())
    """``newWithOld`` certificates by which CAs of ``authorities`` follow former ones."""

    @property
    def authority(self) -> x509.Certificate:
        """The CA that signs servers."""
        return self.authorities[0]

    @property
    def authority_digest(self) -> bytes:
        """SHA-256 of that CA's key."""
        return certificates.key_digest(certificates.certificate_key(self.authority))


def says_the_same(one: Bundle, other: Bundle) -> bool:
    """Tell whether two bundles differ in their numbers at most."""
    return replace(one, sequence=other.sequence) == other


def sign_bundle(bundle: Bundle, authority: CertificateAuthority) -> SignedBundle:
    """Return ``bundle`` signed by its first CA, whose key is that of ``authority``."""
    assert certificates.certificate_key(bundle.authority) == certificates.certificate_key(
        authority.certificate
    )
    body = body_of(bundle)
    assert len(body) <= BUNDLE_MAX_BYTES
    return SignedBundle(body, authority.sign(_LABEL + body))


def body_of(bundle: Bundle) -> bytes:
    """Return the canonical JSON of ``bundle``."""
    told = {
        "member": bundle.member,
        "domain": bundle.domain,
        "authorities": [_text_of(one) for one in bundle.authorities],
        "links": [_text_of(one) for one in bundle.links],
        "addresses": [str(one) for one in bundle.addresses],
        "bootstraps": [str(one) for one in bundle.bootstraps],
        "sequence": bundle.sequence,
        "version": bundle.version,
    }
    return _canonical(told)


def open_bundle(signed: SignedBundle) -> Bundle:
    """Return the bundle in ``signed``, which proves to be the word of the CA that it names first.

    Whether that CA is to be believed is the caller's question: a stranger can make a bundle that is
    sound in itself.

    Raises:
        RejectedError: it is malformed, not canonical, too large, names a CA that is none of its domain, or is not
            signed by the first of them.
    """
    if len(signed.body) > BUNDLE_MAX_BYTES or len(signed.signature) > _SIGNATURE_MAX_BYTES:
        raise _malformed("it is too large")
    told = _object(signed.body, _FIELDS)
    try:
        bundle = Bundle(
            member=parse_member_id(_str(told["member"])),
            domain=parse_domain(_str(told["domain"])),
            authorities=_certificates(told["authorities"], AUTHORITIES_MAX),
            addresses=_addresses(told["addresses"]),
            bootstraps=_addresses(told.get("bootstraps", [])),
            sequence=_sequence(told["sequence"]),
            version=_version(told.get("version", "")),
            links=_certificates(told.get("links", []), LINKS_MAX),
        )
    except CollectiveError as error:
        raise _malformed(error.message.rstrip(".")) from error
    if not bundle.authorities:
        raise _malformed("it names no CA")
    for one in bundle.authorities:
        check_authority(one, bundle.domain)
    if not _is_signed_by(signed, certificates.certificate_key(bundle.authority)):
        raise RejectedError("The bundle is not signed by the CA that it names.")
    if not _is_canonical(signed.body, told, bundle):
        raise _malformed("it is not written as a bundle is")
    return bundle


def fingerprint(authority_digest: bytes) -> str:
    """Return what two people compare of a CA by phone: six groups of five digits (99.6 bits).

    Args:
        authority_digest: SHA-256 of the CA's SubjectPublicKeyInfo.

    """
    number = int.from_bytes(hashlib.sha256(_FINGERPRINT_LABEL + authority_digest).digest(), "big")
    groups = []
    for _ in range(_GROUPS):
        number, group = divmod(number, _GROUP)
        groups.append(f"{group:05d}")
    return " ".join(groups)


def _is_canonical(body: bytes, told: dict[str, Any], bundle: Bundle) -> bool:
    """Tell whether there is no other way to write what ``body`` says, so that all readers read the same."""
    known = json.loads(body_of(bundle))
    if any(told[name] != known[name] for name in told.keys() & known.keys()):
        return False
    try:
        return _canonical(told) == body
    except (ValueError, RecursionError):
        return False


def _canonical(told: dict[str, Any]) -> bytes:
    return json.dumps(told, sort_keys=True, separators=(",", ":")).encode()


def _is_signed_by(signed: SignedBundle, key: ec.EllipticCurvePublicKey) -> bool:
    try:
        key.verify(signed.signature, _LABEL + signed.body, ec.ECDSA(hashes.SHA256()))
    except (InvalidSignature, ValueError):
        return False
    return True


def _object(text: bytes, fields: frozenset[str]) -> dict[str, Any]:
    """Return a JSON object that has these fields."""
    if len(text) > 2 * BUNDLE_MAX_BYTES:
        raise _malformed("it is too large")
    try:
        told = json.loads(text.decode())
    except (ValueError, RecursionError) as error:
        raise _malformed("it is no JSON") from error
    if not isinstance(told, dict) or not fields <= told.keys():
        raise _malformed("it lacks a field; update collective on both sides")
    return told


def _str(told: object) -> str:
    if not isinstance(told, str):
        raise _malformed("a field is of another kind")
    return told


def _version(told: object) -> str:
    text = _str(told)
    if len(text) > _VERSION_MAX_CHARS or not text.isprintable():
        raise _malformed("its version is no version")
    return text


def _sequence(told: object) -> int:
    if type(told) is not int or not 0 < told <= SEQUENCE_MAX:
        raise _malformed("its number is none")
    return told


def _list(told: object, most: int) -> list[str]:
    if not isinstance(told, list) or len(told) > most:
        raise _malformed("a list is none, or too long")
    return [_str(one) for one in told]


def _addresses(told: object) -> tuple[Address, ...]:
    return tuple(Address.parse_stored(one) for one in _list(told, ADDRESSES_MAX))


def _certificates(told: object, most: int) -> tuple[x509.Certificate, ...]:
    found = []
    for one in _list(told, most):
        try:
            found.append(certificates.load_certificate(base64.b64decode(one, validate=True)))
        except (binascii.Error, ValueError) as error:
            raise _malformed("a certificate is not base64") from error
    return tuple(found)


def _text_of(certificate: x509.Certificate) -> str:
    return base64.b64encode(certificates.certificate_der(certificate)).decode()


def _malformed(why: str) -> RejectedError:
    return RejectedError(f"The bundle cannot be used: {why}.")
