"""Which bundle of a peer takes the place of the one that is known: pure.

A bundle counts that the CA signed which is trusted for the peer, or one that it has spoken for by a link
(``pki.succession``), and whose number is higher.  So an old bundle, another member's, or one by a thief
of the coordinator's key changes nothing.  Nor does one by a thief of a CA's key that has a successor
already: it cannot have that one forgotten.
"""

from __future__ import annotations

from collective.core.errors import RejectedError
from collective.federation.peers.peer_book import Known
from collective.pki import certificates
from collective.pki.bundle import Bundle, SignedBundle, open_bundle
from collective.pki.succession import Told, follow


def newer_bundle(known: Known, signed: SignedBundle, now_s: float) -> Bundle | None:
    """Return what ``signed`` says if it takes the place of what is known; None where it is that already.

    Args:
        known: the peer.
        signed: from anybody.
        now_s: Unix seconds, for links between CAs.

    Raises:
        RejectedError: it is another domain's or member's, older, of a CA that nobody who is trusted
            speaks for, or leaves out a CA that may not be forgotten yet.

    """
    if signed.body == known.peer.body:
        return None
    bundle = open_bundle(signed)
    if bundle.domain != known.bundle.domain:
        raise RejectedError(f"The bundle is of {bundle.domain}, not of {known.bundle.domain}.")
    if bundle.sequence < known.peer.sequence:
        raise RejectedError(f"The bundle of {bundle.domain} is older than the one that is known.")
    told = Told(
        [certificates.certificate_der(one) for one in bundle.authorities],
        [certificates.certificate_der(one) for one in bundle.links],
        bundle.authority_digest,
    )
    if bundle.member != known.bundle.member:
        raise RejectedError(f"{bundle.domain} calls itself another member than it is known as.")
    signer, *followed = follow(known.bundle.authorities, told, bundle.domain, now_s)
    named = {
        certificates.key_digest(certificates.certificate_key(one)) for one in bundle.authorities
    }
    for (
        one
    ) in followed:  # what is left out of the bundle is dropped, and must be older than its signer
        is_named = certificates.key_digest(certificates.certificate_key(one)) in named
        if not is_named and one.not_valid_before_utc >= signer.not_valid_before_utc:
            raise RejectedError(f"The bundle of {bundle.domain} leaves out a CA that came later.")
    return bundle
