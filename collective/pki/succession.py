"""Which CAs a node, a bootstrap or a client trusts after its coordinator has named some.

The coordinator's certificate is what a receiver can check on a connection, and its key may be in a
thief's hands.  A CA therefore follows another by that CA's own word alone: a link certificate,
``newWithOld`` of RFC 4210, section 4.4.  Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cryptography import x509

from collective.core.errors import CollectiveError, RejectedError
from collective.core.ids import Domain
from collective.pki import certificates
from collective.pki.pem_files import AUTHORITIES_MAX
from collective.pki.trust import check_authority, check_link


class UnlinkedAuthorityError(RejectedError):
    """A CA is named that no CA which is trusted has signed."""


@dataclass(frozen=True, slots=True)
class Told:
    """What a coordinator says of its CAs, nothing checked, and who it was."""

    authorities: Sequence[bytes]
    """All that count (DER), the one that signs servers first."""
    links: Sequence[bytes]
    """``newWithOld`` certificates (DER)."""
    teller_digest: bytes
    """SHA-256 of the key of the CA that signed the teller's certificate on this connection."""


def follow(
    known: Sequence[x509.Certificate], told: Told, domain: Domain, now_s: float
) -> tuple[x509.Certificate, ...]:
    """Return the CAs to trust from now on, the one that signs servers first.

    A coordinator's word alone changes nothing for good, since its key may be in a thief's hands:

    * **Taken** is a CA only if the newest that is trusted already signed a link to it: an older one
      has spoken for its successor, and whoever stole its key since can name no other.
    * **Dropped** is a CA only if it is older than the one that signed the teller's own certificate.
      So a thief of the coordinator's key under the old CA cannot have the new one forgotten, and
      the old one goes when, and only when, the coordinator stands there with the new one's word.
      Age is the beginning of validity, which every CA's maker sets later than its predecessor's.

    Args:
        known: the CAs trusted until now, at least one.
        told: from a connection whose peer counted as our coordinator by ``known``.
        domain: our member's.
        now_s: Unix seconds, for links.

    Raises:
        RejectedError: there are none or too many, or one is no CA of ``domain``.
        UnlinkedAuthorityError: nobody who is trusted speaks for a new one.
    """
    named = _read(told.authorities, domain)
    links = [certificates.load_certificate(der) for der in told.links[:AUTHORITIES_MAX]]
    by_key = {_key_of(one): one for one in known}
    newest = max(known, key=lambda one: one.not_valid_before_utc)
    found: list[x509.Certificate] = []
    for one in named:
        if _key_of(one) not in by_key and not any(
            is_link(link, one, newest, domain, now_s) for link in links
        ):
            raise UnlinkedAuthorityError(
                "The coordinator names a CA that no CA which is trusted has signed; ask its operator."
            )
        # Of one that is known our own copy stays, so that no other wrapping of it is ever written.
        found.append(by_key.get(_key_of(one), one))
    teller = by_key.get(told.teller_digest)
    told_keys = {_key_of(one) for one in found}
    kept = [
        one
        for one in known
        if _key_of(one) not in told_keys
        and (teller is None or one.not_valid_before_utc >= teller.not_valid_before_utc)
    ]
    if len(found) + len(kept) > AUTHORITIES_MAX:
        raise RejectedError("The coordinator names too many CAs; ask its operator.")
    return (*found, *kept)


def _read(ders: Sequence[bytes], domain: Domain) -> tuple[x509.Certificate, ...]:
    if not 0 < len(ders) <= AUTHORITIES_MAX:
        raise RejectedError("The coordinator names no CA, or too many; ask its operator.")
    found = tuple(certificates.load_certificate(der) for der in ders)
    for certificate in found:
        try:
            check_authority(certificate, domain)
        except CollectiveError as error:
            raise RejectedError(f"The coordinator names a CA that is none: {error}") from error
    if len({_key_of(one) for one in found}) != len(found):
        raise RejectedError("The coordinator names one CA twice; ask its operator.")
    return found


def is_link(
    link: x509.Certificate,
    successor: x509.Certificate,
    former: x509.Certificate,
    domain: Domain,
    now_s: float,
) -> bool:
    """Tell whether ``link`` is the word of ``former`` for ``successor`` (``trust.check_link``)."""
    try:
        check_link(link, successor, former, domain, now_s)
    except CollectiveError:
        return False
    return True


def _key_of(authority: x509.Certificate) -> bytes:
    return certificates.key_digest(certificates.certificate_key(authority))
