"""Bundles of members that tests make up, honest ones and others."""

from __future__ import annotations

import base64
import json
from typing import Any, Final

from cryptography import x509

from collective.core.clock import ManualClock
from collective.core.ids import Domain, MemberId
from collective.core.units import Address
from collective.pki import bundle
from collective.pki.bundle import Bundle, SignedBundle, sign_bundle
from collective.pki.ca import CertificateAuthority
from collective.pki.certificates import certificate_der
from tests.unit.pki.forge import ALICE, BOB
from tests.worlds import world_of

CAROL: Final = Domain("home.carol")
CLOCK: Final = ManualClock()
NOW_S: Final = CLOCK.wall_s()
ADDRESS: Final = Address("10.0.0.1", 8001)


def ca_of(
    domain: Domain,
    *,
    label: str = "",
    after: CertificateAuthority | None = None,
    key_of: CertificateAuthority | None = None,
) -> CertificateAuthority:
    """Return a new CA of the member of ``domain``; with the key of another CA, if one is given."""
    return CertificateAuthority.create(
        member_of(domain),
        domain,
        world_of(CLOCK),
        label=label,
        key=None if key_of is None else key_of._key,
        after=None if after is None else after.certificate,
    )


def member_of(domain: Domain) -> MemberId:
    return MemberId(domain.rsplit(".", 1)[-1])


ALICES: Final = ca_of(ALICE)
BOBS: Final = ca_of(BOB)
CAROLS: Final = ca_of(CAROL)


def bundle_of(authority: CertificateAuthority, sequence: int = 1, **given: Any) -> Bundle:
    """Return a bundle of the member of ``authority``, with everything that is not ``given``."""
    usual: dict[str, Any] = {
        "member": member_of(authority.domain),
        "domain": authority.domain,
        "authorities": (authority.certificate,),
        "addresses": (ADDRESS,),
        "sequence": sequence,
        "version": "1.0",
    }
    return Bundle(**(usual | given))


def signed_of(authority: CertificateAuthority, sequence: int = 1, **given: Any) -> SignedBundle:
    """Return such a bundle as its CA signs it."""
    return sign_bundle(bundle_of(authority, sequence, **given), authority)


def fields_of(signed: SignedBundle) -> dict[str, Any]:
    """Return what a bundle says, as JSON has it."""
    told: dict[str, Any] = json.loads(signed.body)
    return told


def forged(authority: CertificateAuthority, **told: Any) -> SignedBundle:
    """Return a bundle whose CA signed ``told`` in the place of what an honest member says."""
    fields = fields_of(signed_of(authority)) | told
    return signed_text(
        authority, json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()
    )


def signed_text(authority: CertificateAuthority, body: bytes) -> SignedBundle:
    """Return any text, signed as bundles are."""
    return SignedBundle(body, authority.sign(bundle._LABEL + body))


def as_json(certificate: x509.Certificate) -> str:
    """Return a certificate as bundles have it."""
    return base64.b64encode(certificate_der(certificate)).decode()
