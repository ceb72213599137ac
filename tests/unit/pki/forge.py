"""Certificates that break one rule each, signed by a real test CA or by an attacker's."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, ObjectIdentifier

from collective.core.clock import ManualClock
from collective.core.ids import Domain, MemberId
from collective.pki import certificates
from collective.pki.ca import CertificateAuthority
from tests.worlds import REAL, world_of

ALICE = Domain("home.alice")
BOB = Domain("garage.bob")
NO_AUTHORITY = x509.BasicConstraints(ca=False, path_length=None)
NODE_URI = "spiffe://home.alice/node/alice-node-01"


NODE_NAMES = (x509.UniformResourceIdentifier(NODE_URI),)


def authority(
    clock: ManualClock, member: str = "alice", domain: Domain = ALICE
) -> CertificateAuthority:
    return CertificateAuthority.create(MemberId(member), domain, world_of(clock))


def usage(*, sign: bool = True, certs: bool = False, crl: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=sign,
        content_commitment=False,
        key_encipherment=not sign,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=certs,
        crl_sign=crl,
        encipher_only=False,
        decipher_only=False,
    )


def forge(
    clock: ManualClock,
    signer: CertificateAuthority,
    *,
    names: Sequence[x509.GeneralName] | None = NODE_NAMES,
    subject: x509.Name | None = None,
    issuer: x509.Name | None = None,
    key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey | None = None,
    basic: x509.BasicConstraints | None = NO_AUTHORITY,
    key_usage: x509.KeyUsage | None = None,
    has_key_usage: bool = True,
    extended: Sequence[ObjectIdentifier] | None = (
        ExtendedKeyUsageOID.CLIENT_AUTH,
        ExtendedKeyUsageOID.SERVER_AUTH,
    ),
    extra: Sequence[tuple[x509.ExtensionType, bool]] = (),
    algorithm: hashes.SHA256 | hashes.SHA512 | None = None,
    starts_in_s: float = -60.0,
    ends_in_s: float = 3600.0,
) -> bytes:
    """Return DER of a leaf of ``signer`` that is right but for what is overridden."""
    now = dt.datetime.fromtimestamp(clock.wall_s(), dt.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject or x509.Name([]))
        .issuer_name(issuer or signer.certificate.subject)
        .public_key(key or certificates.new_private_key(REAL.randomness).public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + dt.timedelta(seconds=starts_in_s))
        .not_valid_after(now + dt.timedelta(seconds=ends_in_s))
    )
    if names is not None:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=True)
    if basic is not None:
        builder = builder.add_extension(basic, critical=True)
    if has_key_usage:
        builder = builder.add_extension(key_usage or usage(), critical=True)
    if extended is not None:
        builder = builder.add_extension(x509.ExtendedKeyUsage(extended), critical=False)
    for extension, critical in extra:
        builder = builder.add_extension(extension, critical=critical)
    certificate = builder.sign(signer._key, algorithm or hashes.SHA256())
    return certificates.certificate_der(certificate)
