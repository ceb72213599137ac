"""A member's certificate authority: made once, signs every certificate of its trust domain.

Invariants: path length 0; critical name constraints that permit the member's own SPIFFE trust
domain and no DNS, IP or mail name; the identity is the caller's decision, never the requester's.
Clocks: certificates are backdated by :data:`BACKDATE_S`, which is all the tolerance for skew there
is; checks apply none of their own, because OpenSSL applies none.
"""

from __future__ import annotations

import datetime as dt
import functools
import ipaddress
from collections.abc import Sequence
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from collective.core.errors import RejectedError, SettingsError
from collective.core.ids import Domain, MemberId, SpiffeId, parse_domain, parse_member_id
from collective.core.randomness import Randomness
from collective.core.units import Address
from collective.core.world import World
from collective.pki import certificates

BACKDATE_S: Final = 300.0
"""How far the clock of an issuer may run ahead of a verifier's; a tenth of a very short life."""
_BACKDATED_PART: Final = 0.1
_NAME_MAX: Final = 64
"""Characters of a common name (RFC 5280, appendix A: ub-common-name)."""
LEAF_LIFE_S: Final = 30 * 86400.0
LEAF_LIFE_MAX_S: Final = 400 * 86400.0
AUTHORITY_LIFE_S: Final = 20 * 365 * 86400.0
_OWNERS_KEPT: Final = 64
"""Certificates whose owner is remembered: each heartbeat asks."""
_NO_MAILBOX: Final = "nobody@none.invalid"
"""Permitting one mailbox that cannot exist forbids all others; an empty exclusion would not."""


class CertificateAuthority:
    """The CA of one member; immutable, safe to call from several threads."""

    def __init__(
        self,
        certificate: x509.Certificate,
        key: ec.EllipticCurvePrivateKey,
        world: World,
    ) -> None:
        """Hold a CA certificate and its key; raises SettingsError if they do not fit.

        ``world`` gives the time and the serial numbers of what is signed.
        """
        if certificates.public_key_der(key.public_key()) != certificates.public_key_der(
            certificates.certificate_key(certificate)
        ):
            raise SettingsError("The CA's key does not belong to its certificate; restore both.")
        self._certificate = certificate
        self._key = key
        self._clock = world.clock
        self._randomness = world.randomness
        self._member, self._domain = authority_owner(certificate)

    @classmethod
    def create(
        cls,
        member: MemberId,
        domain: Domain,
        world: World,
        *,
        key: ec.EllipticCurvePrivateKey | None = None,
        label: str = "",
        lifetime_s: float = AUTHORITY_LIFE_S,
        after: x509.Certificate | None = None,
    ) -> CertificateAuthority:
        """Make a CA for ``member`` whose trust domain is ``domain``.

        With the ``key`` of a CA whose certificate was lost, the new one takes its place: subject
        and key are the same, so leaves and join codes made before still count.  One that replaces
        another needs a ``label`` that makes its subject differ from that one's, and is valid from
        later than that one (``after``) whatever the clocks did: receivers know by it which is newer.
        """
        key = key or certificates.new_private_key(world.randomness)
        now = world.clock.wall_s()
        start = _at(now - BACKDATE_S)
        if after is not None:
            start = max(start, after.not_valid_before_utc + dt.timedelta(seconds=1))
        name = x509.Name(
            [
                x509.NameAttribute(NameOID.COMMON_NAME, domain[:_NAME_MAX]),
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, member),
                x509.NameAttribute(
                    NameOID.ORGANIZATIONAL_UNIT_NAME, f"collective CA {label}".rstrip()
                ),
            ]
        )
        builder = _authority_profile(name, key.public_key(), domain, world.randomness)
        builder = (
            builder.issuer_name(name).not_valid_before(start).not_valid_after(_at(now + lifetime_s))
        )
        return cls(builder.sign(key, hashes.SHA256()), key, world)

    def link(self, successor: x509.Certificate) -> x509.Certificate:
        """Return this CA's word that ``successor`` takes its place.

        It is ``newWithOld`` of RFC 4210, section 4.4: subject, key and extensions of the successor,
        issued by this CA, valid while both are.  It is a statement for those who trust this CA, never
        part of a chain: both CAs have path length 0.
        """
        builder = _authority_profile(
            successor.subject,
            certificates.certificate_key(successor),
            self._domain,
            self._randomness,
        )
        own = self._certificate
        start = max(_at(self._clock.wall_s() - BACKDATE_S), own.not_valid_before_utc)
        end = min(own.not_valid_after_utc, successor.not_valid_after_utc)
        if end <= start:
            raise SettingsError("The clock is outside the CA's validity; set the clock right.")
        builder = builder.issuer_name(own.subject).not_valid_before(start).not_valid_after(end)
        return builder.sign(self._key, hashes.SHA256())

    @classmethod
    def load(cls, cert_pem: bytes, key_pem: bytes, world: World) -> CertificateAuthority:
        """Return the CA in two PEM texts; SettingsError says which of them cannot be used.

        Of several certificates the one that the key belongs to is taken.
        """
        try:
            found = certificates.load_pem_certificates(cert_pem)
        except RejectedError as error:
            raise SettingsError("The CA's certificate cannot be read; restore it.") from error
        try:
            key = serialization.load_pem_private_key(key_pem, password=None)
        except (ValueError, TypeError) as error:
            raise SettingsError("The CA's key cannot be read; restore it.") from error
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise SettingsError("The CA's key must be ECDSA P-256.")
        own = certificates.public_key_der(key.public_key())
        for certificate in found:
            if certificates.public_key_der(certificates.certificate_key(certificate)) == own:
                return cls(certificate, key, world)
        return cls(found[0], key, world)

    @property
    def certificate(self) -> x509.Certificate:
        """The CA's own certificate."""
        return self._certificate

    @property
    def domain(self) -> Domain:
        """The trust domain that it signs for."""
        return self._domain

    @property
    def member(self) -> MemberId:
        """The member that it belongs to."""
        return self._member

    @property
    def digest(self) -> bytes:
        """SHA-256 (32 bytes) of the CA's SubjectPublicKeyInfo, as join codes pin it."""
        return certificates.key_digest(self._key.public_key())

    def sign(self, message: bytes) -> bytes:
        """Return an ECDSA-SHA256 signature over ``message``, which begins with a label of its own."""
        return self._key.sign(message, ec.ECDSA(hashes.SHA256()))

    def key_pem(self) -> bytes:
        """Return the CA's key as PEM (PKCS#8, not encrypted)."""
        return self._key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )

    def issue(
        self,
        identity: SpiffeId,
        public_key: ec.EllipticCurvePublicKey,
        *,
        lifetime_s: float = LEAF_LIFE_S,
        addresses: Sequence[Address] = (),
    ) -> x509.Certificate:
        """Return a leaf for ``identity`` with the profile of its role.

        Args:
            identity: must lie in this CA's trust domain.
            public_key: P-256.
            lifetime_s: seconds from now, in (0, 400 days]; never beyond the CA's own end.
            addresses: what the coordinator advertises; at most 32, for a coordinator only.

        """
        assert identity.trust_domain == self._domain
        assert 0 < lifetime_s <= LEAF_LIFE_MAX_S
        assert not addresses or identity.role == "coordinator"
        now = self._clock.wall_s()
        backdated_s = min(BACKDATE_S, lifetime_s * _BACKDATED_PART)
        start = max(_at(now - backdated_s), self._certificate.not_valid_before_utc)
        end = min(_at(now + lifetime_s), self._certificate.not_valid_after_utc)
        if end <= start:
            raise SettingsError("The clock is outside the CA's validity; set the clock right.")
        builder = (
            x509.CertificateBuilder()
            .subject_name(
                certificates.COORDINATOR_SUBJECT
                if identity.role == "coordinator"
                else x509.Name([])
            )
            .issuer_name(self._certificate.subject)
            .public_key(public_key)
            .serial_number(certificates.new_serial(self._randomness))
            .not_valid_before(start)
            .not_valid_after(end)
            .add_extension(
                x509.SubjectAlternativeName([x509.UniformResourceIdentifier(str(identity))]),
                critical=True,
            )
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(authority=False), critical=True)
            .add_extension(
                x509.ExtendedKeyUsage(certificates.USAGES_BY_ROLE[identity.role]), critical=False
            )
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), False
            )
        )
        if addresses:
            value = certificates.encode_addresses(addresses)
            builder = builder.add_extension(
                x509.UnrecognizedExtension(certificates.ADDRESSES_OID, value), critical=False
            )
        if identity.role in {"coordinator", "bootstrap"}:
            value = certificates.public_key_der(self._key.public_key())
            builder = builder.add_extension(
                x509.UnrecognizedExtension(certificates.AUTHORITY_KEY_OID, value), critical=False
            )
        return builder.sign(self._key, hashes.SHA256())


def _authority_profile(
    name: x509.Name, key: ec.EllipticCurvePublicKey, domain: Domain, randomness: Randomness
) -> x509.CertificateBuilder:
    """Return what every certificate of a CA's key says, self-signed or not."""
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .public_key(key)
        .serial_number(certificates.new_serial(randomness))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(authority=True), critical=True)
        .add_extension(name_constraints(domain), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), False)
    )


def name_constraints(domain: Domain) -> x509.NameConstraints:
    """Return the constraints of a CA that may name ``domain`` in URIs and nothing else."""
    return x509.NameConstraints(
        permitted_subtrees=[
            x509.UniformResourceIdentifier(domain),
            x509.RFC822Name(_NO_MAILBOX),
        ],
        excluded_subtrees=[
            x509.DNSName(""),
            x509.IPAddress(ipaddress.ip_network("0.0.0.0/0")),
            x509.IPAddress(ipaddress.ip_network("::/0")),
        ],
    )


def is_named_for(certificate: x509.Certificate, domain: Domain) -> bool:
    """Tell whether a CA certificate has the common name that the CAs of ``domain`` have."""
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return [name.value for name in names] == [domain[:_NAME_MAX]]


@functools.lru_cache(_OWNERS_KEPT)
def authority_owner(certificate: x509.Certificate) -> tuple[MemberId, Domain]:
    """Return member and trust domain that a CA certificate names; SettingsError if it has none."""
    try:
        constraints = certificate.extensions.get_extension_for_class(x509.NameConstraints).value
        member = certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError) as error:
        raise SettingsError("This is not a CA certificate of this product.") from error
    domains = [
        name.value
        for name in constraints.permitted_subtrees or ()
        if isinstance(name, x509.UniformResourceIdentifier)
    ]
    if len(domains) != 1 or len(member) != 1:
        raise SettingsError("This is not a CA certificate of this product.")
    return parse_member_id(str(member[0].value)), parse_domain(domains[0])


def _at(wall_s: float) -> dt.datetime:
    return dt.datetime.fromtimestamp(int(wall_s), dt.UTC)


def _key_usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=authority,
        crl_sign=authority,
        encipher_only=False,
        decipher_only=False,
    )
