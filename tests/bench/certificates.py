"""Throw-away certificates for measurements that involve none of our code."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


@dataclass(frozen=True, slots=True)
class BenchCertificates:
    """Paths of one certificate that both ends use, its key, and its authority."""

    certificate: str
    key: str
    authority: str


def make_certificates(directory: Path) -> BenchCertificates:
    """Write a CA and one leaf for 127.0.0.1 below ``directory``."""
    directory.mkdir(parents=True, exist_ok=True)
    now = dt.datetime.now(dt.UTC)
    authority_key = ec.generate_private_key(ec.SECP256R1())
    leaf_key = ec.generate_private_key(ec.SECP256R1())
    authority_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "bench ca")])

    def build(subject: x509.Name, key: ec.EllipticCurvePrivateKey, *, ca: bool) -> x509.Certificate:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(authority_name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(minutes=5))
            .not_valid_after(now + dt.timedelta(days=1))
            .add_extension(
                x509.BasicConstraints(ca=ca, path_length=0 if ca else None), critical=True
            )
            .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
            .sign(authority_key, hashes.SHA256())
        )

    authority = build(authority_name, authority_key, ca=True)
    leaf = build(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "bench")]), leaf_key, ca=False)
    found = BenchCertificates(
        *(str(directory / name) for name in ("leaf.crt", "leaf.key", "ca.crt"))
    )
    Path(found.certificate).write_bytes(leaf.public_bytes(serialization.Encoding.PEM))
    Path(found.authority).write_bytes(authority.public_bytes(serialization.Encoding.PEM))
    Path(found.key).write_bytes(
        leaf_key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return found
