"""The trust rule: when a certificate counts.

A leaf counts only if it is signed directly by the CA registered for *the trust domain that it
claims*.  TLS libraries have one pool of CAs per context, so their handshake is a prefilter; this
check follows before any byte is acted on.  It is pure and total: every refusal is RejectedError
whose message begins with the number of the step, one test for each.

 1 readable          DER, at most 16 KiB, version 3
 2 one name          no subject but a coordinator's label; one URI name, a SPIFFE id of a known role
 3 known domain      a CA is registered for the trust domain that the name claims
 4 signature         by that CA's key, ECDSA with SHA-256, under that CA's name
 5 no authority      basic constraints present, CA:false
 6 validity          now within the leaf's and the CA's; no tolerance (issuing backdates)
 7 role              one that this place accepts
 8 key               ECDSA P-256
 9 key usage         digitalSignature, and neither certificate nor CRL signing
10 extended usage    names the direction (client or server); ``any`` is not taken
11 critical          no critical extension that this rule does not know
12 not revoked       neither identity nor serial nor key
"""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Final, Literal, TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID, ObjectIdentifier

from collective.core.errors import CollectiveError, ConflictError, RejectedError
from collective.core.ids import Domain, SpiffeId, SpiffeRole
from collective.pki import ca, certificates
from collective.pki.certificates import Certified
from collective.pki.revocation import RevocationSet

_E = TypeVar("_E", bound=x509.ExtensionType)
Usage = Literal["client", "server"]

_USAGE_OIDS: Final[dict[Usage, ObjectIdentifier]] = {
    "client": ExtendedKeyUsageOID.CLIENT_AUTH,
    "server": ExtendedKeyUsageOID.SERVER_AUTH,
}
_UNDERSTOOD: Final = frozenset(
    {
        ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
        ExtensionOID.BASIC_CONSTRAINTS,
        ExtensionOID.KEY_USAGE,
        ExtensionOID.EXTENDED_KEY_USAGE,
        ExtensionOID.SUBJECT_KEY_IDENTIFIER,
        ExtensionOID.AUTHORITY_KEY_IDENTIFIER,
        certificates.ADDRESSES_OID,
        certificates.AUTHORITY_KEY_OID,
    }
)


_YEAR_9999_S: Final = 253_370_764_800.0
STEP_OF_AUTHORITY: Final = 4
STEP_OF_TIME: Final = 6


class UntrustedError(RejectedError):
    """A certificate does not count; the message names the step of the trust rule, for logs."""

    def __init__(self, step: int, why: str, *, role: SpiffeRole | None = None) -> None:
        """Keep the ``step``, ``why`` without it, and the ``role`` where that is the reason."""
        super().__init__(f"step {step}: {why}")
        self.step = step
        self.why = why
        self.role = role


class RevokedCertificateError(UntrustedError):
    """A certificate for which everything speaks, but that it was revoked."""

    def __init__(self, identity: SpiffeId) -> None:
        """Keep whose certificate it is."""
        super().__init__(12, f"{identity}, this certificate or its key is revoked")
        self.identity = identity


class TrustStore:
    """The CAs registered for each trust domain; immutable."""

    def __init__(self, authorities: Mapping[Domain, Sequence[x509.Certificate]]) -> None:
        """Register ``authorities``; RejectedError for a certificate that is no CA of its domain."""
        found: dict[Domain, tuple[x509.Certificate, ...]] = {}
        for domain, bundle in authorities.items():
            for certificate in bundle:
                check_authority(certificate, domain)
            found[domain] = tuple(bundle)
        self._authorities = found
        self._digests = {
            domain: frozenset(
                certificates.key_digest(certificates.certificate_key(one)) for one in bundle
            )
            for domain, bundle in found.items()
        }

    @property
    def authorities(self) -> Mapping[Domain, tuple[x509.Certificate, ...]]:
        """The CAs by trust domain; read only."""
        return MappingProxyType(self._authorities)

    def domains(self) -> frozenset[Domain]:
        """Return every registered trust domain."""
        return frozenset(self._authorities)

    def trusts_authority(self, domain: Domain, authority_digest: bytes) -> bool:
        """Tell whether the CA whose key has that SHA-256 counts for ``domain``."""
        return authority_digest in self._digests.get(domain, frozenset())

    def with_bundle(self, domain: Domain, bundle: Sequence[x509.Certificate]) -> TrustStore:
        """Return a store in which ``bundle`` takes the place of the CAs of ``domain``."""
        return TrustStore({**self._authorities, domain: bundle})

    def all_authorities(self) -> tuple[x509.Certificate, ...]:
        """Return every CA, for the pool of a TLS context."""
        return tuple(one for bundle in self._authorities.values() for one in bundle)

    def with_domain(self, domain: Domain, bundle: Sequence[x509.Certificate]) -> TrustStore:
        """Return a store that also trusts ``bundle`` for ``domain``.

        Raises ConflictError when the domain, or a subject, key or key id, is known already, and
        RejectedError when a certificate is no CA of ``domain``.
        """
        if domain in self._authorities:
            raise ConflictError(f"Domain {domain} is trusted already; remove that peer first.")
        known = set(_marks(self.all_authorities()))
        if known & set(_marks(bundle)):
            raise ConflictError("A CA with this name or key belongs to another domain already.")
        return TrustStore({**self._authorities, domain: bundle})

    def without_domain(self, domain: Domain) -> TrustStore:
        """Return a store that trusts nothing of ``domain``."""
        return TrustStore({d: b for d, b in self._authorities.items() if d != domain})


def verify_leaf(
    der: bytes,
    trust: TrustStore,
    *,
    roles: frozenset[SpiffeRole],
    usage: Usage,
    now_s: float,
    revoked: RevocationSet,
) -> Certified:
    """Return what the leaf in ``der`` certifies, or raise RejectedError naming the step.

    The last step raises RevokedCertificateError: every other one has been passed.

    Args:
        der: the leaf as it came with the TLS handshake.
        trust: CAs by trust domain.
        roles: roles that this place accepts.
        usage: what the *other side* is here: a ``client`` or a ``server``.
        now_s: Unix seconds.
        revoked: what no longer counts.

    """
    certificate = _step_1_readable(der)
    certified = _step_2_one_name(certificate)
    candidates = trust.authorities.get(certified.identity.trust_domain)
    if not candidates:
        raise _refuse(3, f"no CA is known for {certified.identity.trust_domain}")
    authority = _step_4_signed(certificate, candidates)
    _step_6_valid(certificate, now_s)
    _step_6_valid(authority, now_s, who="CA")
    _profile_steps(certificate, certified, roles=roles, usage=usage)
    if revoked.is_revoked(certified.identity, certified.serial, certified.key_digest):
        raise RevokedCertificateError(certified.identity)
    key = certificates.certificate_key(authority)
    return certified._replace(authority_digest=certificates.key_digest(key))


def verify_pinned(
    der: bytes, authority_digest: bytes, *, roles: frozenset[SpiffeRole], now_s: float
) -> Certified:
    """Check the server leaf of a joiner's connection, who knows only the digest of the CA's key.

    The leaf carries the CA's key; that key must have the pinned SHA-256 (step 3) and must have
    signed the leaf (step 4).  The other steps are those of :func:`verify_leaf`.
    """
    certificate = _step_1_readable(der)
    certified = _step_2_one_name(certificate)
    key_der = certificates.private_extension(certificate, certificates.AUTHORITY_KEY_OID)
    if key_der is None:
        raise _refuse(3, "the certificate does not say which CA signed it")
    if not hmac.compare_digest(hashlib.sha256(key_der).digest(), authority_digest):
        raise _refuse(3, "its CA is not the one that the join code names")
    try:
        key = serialization.load_der_public_key(key_der)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise _refuse(STEP_OF_AUTHORITY, "the CA's key cannot be read") from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or not _is_signed_with(certificate, key):
        raise _refuse(STEP_OF_AUTHORITY, "it is not signed by the CA that the join code names")
    _step_6_valid(certificate, now_s)
    _profile_steps(certificate, certified, roles=roles, usage="server")
    return certified


def check_authority(certificate: x509.Certificate, domain: Domain) -> None:
    """Raise RejectedError unless ``certificate`` is a self-signed CA constrained to ``domain``."""
    _check_authority_profile(certificate, domain)
    if not _is_issued_by(certificate, certificate):
        raise RejectedError("The CA certificate is not signed by its own key.")


def check_link(
    link: x509.Certificate,
    successor: x509.Certificate,
    former: x509.Certificate,
    domain: Domain,
    now_s: float,
) -> None:
    """Raise RejectedError unless ``link`` is the word of ``former`` for ``successor``.

    That is ``newWithOld`` (RFC 4210, section 4.4): the successor's subject and key, with a CA's
    profile for ``domain``, issued by ``former``, and both it and ``former`` in date.
    """
    _check_authority_profile(link, domain)
    same_key = certificates.key_digest(certificates.certificate_key(link)) == (
        certificates.key_digest(certificates.certificate_key(successor))
    )
    if link.subject != successor.subject or not same_key:
        raise RejectedError("The link is for another CA.")
    if not _is_issued_by(link, former):
        raise RejectedError("The link is not signed by the CA that is trusted.")
    _step_6_valid(link, now_s, who="link")
    _step_6_valid(former, now_s, who="CA")


def _check_authority_profile(certificate: x509.Certificate, domain: Domain) -> None:
    certificates.certificate_key(certificate)
    try:
        extensions = certificate.extensions
        basic = extensions.get_extension_for_class(x509.BasicConstraints)
        usage = extensions.get_extension_for_class(x509.KeyUsage).value
        constraints = extensions.get_extension_for_class(x509.NameConstraints)
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError) as error:
        raise RejectedError("The CA certificate lacks an extension that this product needs.") from (
            error
        )
    if not basic.critical or not basic.value.ca or basic.value.path_length != 0:
        raise RejectedError("The CA certificate must be a CA of path length 0.")
    if not usage.key_cert_sign:
        raise RejectedError("The CA certificate may not sign certificates.")
    if not constraints.critical or constraints.value != ca.name_constraints(domain):
        raise RejectedError(f"The CA certificate is not constrained to {domain}.")
    if not ca.is_named_for(certificate, domain):  # so no member takes the name of another's
        raise RejectedError(f"The CA certificate does not have the name of {domain}.")


def _step_1_readable(der: bytes) -> x509.Certificate:
    try:
        certificate = certificates.load_certificate(der)
    except RejectedError as error:
        raise _refuse(1, "the certificate cannot be read") from error
    if certificate.version is not x509.Version.v3:
        raise _refuse(1, "the certificate is not of version 3")
    return certificate


def _step_2_one_name(certificate: x509.Certificate) -> Certified:
    try:
        return certificates.describe(certificate)
    except CollectiveError as error:
        raise _refuse(2, error.message) from error


def _step_4_signed(
    certificate: x509.Certificate, candidates: Iterable[x509.Certificate]
) -> x509.Certificate:
    for authority in candidates:
        if _is_issued_by(certificate, authority):
            return authority
    raise _refuse(STEP_OF_AUTHORITY, "it is not signed by the CA of the domain that it claims")


def _is_issued_by(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    """Tell whether step 4 holds of an ``authority``; RejectedError where its key is not ECDSA P-256."""
    certificates.certificate_key(authority)
    return _is_by_sha256(certificate) and certificates.is_signed_by(certificate, authority)


def _is_signed_with(certificate: x509.Certificate, key: ec.EllipticCurvePublicKey) -> bool:
    """Tell whether a certificate is signed by ECDSA with SHA-256 under ``key``, of which nobody shows the CA."""
    if not _is_by_sha256(certificate):
        return False
    try:
        key.verify(
            certificate.signature, certificate.tbs_certificate_bytes, ec.ECDSA(hashes.SHA256())
        )
    except (InvalidSignature, UnsupportedAlgorithm, ValueError):
        return False
    return True


def _is_by_sha256(certificate: x509.Certificate) -> bool:
    try:
        return isinstance(certificate.signature_hash_algorithm, hashes.SHA256)
    except (UnsupportedAlgorithm, ValueError, TypeError):
        return False


def _step_6_valid(certificate: x509.Certificate, now_s: float, *, who: str = "certificate") -> None:
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if begin.timestamp() <= now_s <= end.timestamp():
        return
    why = "is not valid yet" if now_s < begin.timestamp() else f"ran out on {end:%Y-%m-%d %H:%M}Z"
    shown = dt.datetime.fromtimestamp(min(max(now_s, 0.0), _YEAR_9999_S), dt.UTC)
    now = f"{shown:%Y-%m-%d %H:%M}Z"
    raise _refuse(
        STEP_OF_TIME,
        f"the {who} {why} by this machine's clock ({now}); compare the clocks of both machines",
    )


def _profile_steps(
    certificate: x509.Certificate,
    certified: Certified,
    *,
    roles: frozenset[SpiffeRole],
    usage: Usage,
) -> None:
    extensions = certificate.extensions
    basic = _extension(extensions, x509.BasicConstraints)
    if basic is None or basic.ca:
        raise _refuse(5, "the certificate is a CA, or does not say that it is none")
    if certified.identity.role not in roles:
        role = certified.identity.role
        raise UntrustedError(7, f"a {role} is not accepted here", role=role)
    try:
        certificates.certificate_key(certificate)
    except RejectedError as error:
        raise _refuse(8, error.message) from error
    key_usage = _extension(extensions, x509.KeyUsage)
    if key_usage is None or not key_usage.digital_signature:
        raise _refuse(9, "the key may not sign handshakes")
    if key_usage.key_cert_sign or key_usage.crl_sign:
        raise _refuse(9, "the key may sign certificates, which no leaf may")
    extended = _extension(extensions, x509.ExtendedKeyUsage)
    if extended is None or _USAGE_OIDS[usage] not in extended:
        raise _refuse(10, f"the certificate may not be used as a {usage}")
    for extension in extensions:
        if extension.critical and extension.oid not in _UNDERSTOOD:
            raise _refuse(11, f"critical extension {extension.oid.dotted_string} is unknown")


def _extension(extensions: x509.Extensions, kind: type[_E]) -> _E | None:
    try:
        return extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def _marks(bundle: Iterable[x509.Certificate]) -> Iterable[tuple[str, bytes]]:
    for certificate in bundle:
        key = certificates.certificate_key(certificate)
        yield "subject", certificate.subject.public_bytes()
        yield "key", certificates.public_key_der(key)
        yield "key id", x509.SubjectKeyIdentifier.from_public_key(key).digest


def _refuse(step: int, why: str) -> UntrustedError:
    return UntrustedError(step, why)
