"""Which bundle of a peer takes the place of the one that is known: pure.

A bundle counts that the CA signed which is trusted for the peer, or one that it has spoken for by a link
(``pki.succession``), and whose number is higher.  So an old bundle, another member's, or one by a thief
of the coordinator's key changes nothing.  Nor does one by a thief of a CA's key that has a successor
already: it cannot have that one forgotten.
"""

from __future__ import annotations

from cryptography import x509

from collective.catalog.decisions.peers import another_authority
from collective.core.errors import RejectedError
from collective.federation.peers.peer_book import Known, require_address
from collective.pki import certificates
from collective.pki.bundle import Bundle, SignedBundle, open_bundle
from collective.pki.succession import Told, UnlinkedAuthorityError, follow


class OlderBundleError(RejectedError):
    """The bundle was replaced by a newer one already."""


def newer_bundle(known: Known, signed: SignedBundle, now_s: float) -> Bundle | None:
    """Return what ``signed`` says if it takes the place of what is known; None where it is that already.

    Args:
        known: the peer.
        signed: from anybody.
        now_s: Unix seconds, for links between CAs.

    Raises:
        OlderBundleError: its number is lower than that of what is known, and a CA that is trusted signed it.
        RejectedError: it is another domain's or member's, of a CA that nobody who is trusted speaks for,
            has no address, or leaves a newer CA out than the one that signed it.  The sentence says which,
            and what to do.

    """
    if signed.body == known.peer.body:
        return None
    bundle = open_bundle(signed)
    domain = known.bundle.domain
    if bundle.domain != domain:
        raise RejectedError(
            f"It is the bundle of {bundle.domain}, not of {domain}; ask its operator."
        )
    if bundle.sequence < known.peer.sequence:
        if bundle.authority_digest not in {_key_of(one) for one in known.bundle.authorities}:
            raise RejectedError(another_authority(domain))
        raise OlderBundleError(f"The bundle of {domain} is older than the one that is known.")
    require_address(bundle)
    told = Told(
        [certificates.certificate_der(one) for one in bundle.authorities],
        [certificates.certificate_der(one) for one in bundle.links],
        bundle.authority_digest,
    )
    if bundle.member != known.bundle.member:
        raise RejectedError(
            f"{domain} calls itself another member than it is known as ({known.bundle.member}); if its"
            " operator means that, remove the peer and peer anew."
        )
    try:
        follow(known.bundle.authorities, told, domain, now_s)
    except UnlinkedAuthorityError as error:
        raise RejectedError(another_authority(domain)) from error
    kept = {_key_of(one) for one in bundle.authorities}
    begins = bundle.authority.not_valid_before_utc
    for one in known.bundle.authorities:
        if _key_of(one) not in kept and one.not_valid_before_utc >= begins:
            raise RejectedError(
                f"The bundle of {domain} leaves out a CA that is newer than the one that signed it; ask"
                " its operator who has the key of the former CA."
            )
    return bundle


def _key_of(authority: x509.Certificate) -> bytes:
    return certificates.key_digest(certificates.certificate_key(authority))
