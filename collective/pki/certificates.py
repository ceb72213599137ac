"""What our certificates look like: profiles by role, private extensions, requests.

Invariants (RFC 5280, SPIFFE X.509-SVID): ECDSA P-256 with SHA-256; an empty subject and a critical
subject alternative name with exactly one URI; ``digitalSignature`` only; CA:false.  Two private,
non-critical extensions under the UUID arc 2.25:

* *addresses* (coordinator): ``SEQUENCE OF UTF8String``, each ``HOST:PORT``;
* *authority key* (coordinator, bootstrap): the SubjectPublicKeyInfo of the issuing CA, so that a
  joiner who knows nothing but its SHA-256 can check the signature on the leaf of their connection.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final, NamedTuple

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

from collective.core.errors import CollectiveError, RejectedError, SettingsError
from collective.core.ids import SpiffeId, SpiffeRole
from collective.core.randomness import Randomness
from collective.core.units import Address

CERTIFICATE_MAX_BYTES: Final = 16 * 1024
REQUEST_MAX_BYTES: Final = 16 * 1024
ADDRESSES_MAX: Final = 32
ADDRESS_MAX_BYTES: Final = 120
_DIGESTS_KEPT: Final = 256
"""Certificates whose key's digest is remembered: a node tells those of all its CAs in each heartbeat."""

ADDRESSES_OID: Final = ObjectIdentifier("2.25.271935027316871541330925311837026574721.1")
AUTHORITY_KEY_OID: Final = ObjectIdentifier("2.25.271935027316871541330925311837026574721.2")

_BOTH: Final = (ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH)
USAGES_BY_ROLE: Final[dict[SpiffeRole, tuple[ObjectIdentifier, ...]]] = {
    "coordinator": _BOTH,
    "bootstrap": _BOTH,
    "node": _BOTH,
    "user": (ExtendedKeyUsageOID.CLIENT_AUTH,),
}
"""Extended key usages of a leaf: only users never serve."""

COORDINATOR_LABEL: Final = "collective-coordinator"
"""The same in every coordinator's certificate, so it names nobody.  grpcio insists on a host name,
matches no URI, and falls back to this common name (``grpc.ssl_target_name_override``).  It has no
dot, since OpenSSL would hold a dotted one against the CA's exclusion of DNS names."""
_NO_SUBJECT: Final = x509.Name([])
COORDINATOR_SUBJECT: Final = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, COORDINATOR_LABEL)])

_SEQUENCE: Final = 0x30
_UTF8_STRING: Final = 0x0C
_SHORT_LENGTH_MAX: Final = 0x7F
_LENGTH_ONE_BYTE: Final = 0x81
_LENGTH_TWO_BYTES: Final = 0x82

_UNREADABLE: Final = (
    ValueError,
    TypeError,  # of a name whose value is of another type than its attribute has
    Warning,  # where the process makes errors of warnings; what they tell of is refused elsewhere
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)
"""What cryptography raises while it parses; ``tests/unit/pki/test_garbled.py`` tries each byte."""

_CURVE: Final = ec.SECP256R1()
_ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
"""Of the curve's group (SEC 2, section 2.4.2)."""
_SCALAR_BYTES: Final = 40
"""Eight more than the order has, so that the remainder is as good as uniform."""
_SERIAL_BYTES: Final = 20


class Certified(NamedTuple):
    """What a leaf that passed the trust rule says."""

    identity: SpiffeId
    serial: str
    """Lower-case hex without leading zeros."""
    not_before_s: float
    """Unix seconds."""
    expires_s: float
    """Unix seconds."""
    addresses: tuple[Address, ...] = ()
    """Advertised addresses; only a coordinator's certificate carries them."""
    authority_digest: bytes = b""
    """SHA-256 of the key of the CA that signed it; empty where that was not checked."""
    key_digest: bytes = b""
    """SHA-256 of its own key; empty only if that key is of a kind that we never accept."""

    def has_expired(self, now_s: float) -> bool:
        """Tell whether it ran out at Unix time ``now_s``, so that only the bootstrap can renew it."""
        return now_s > self.expires_s


def new_private_key(randomness: Randomness) -> ec.EllipticCurvePrivateKey:
    """Return a fresh P-256 key: OpenSSL's own, or where a seed decides everything, one of the seed."""
    if not randomness.is_seeded:
        return ec.generate_private_key(_CURVE)
    scalar = int.from_bytes(randomness.token(_SCALAR_BYTES), "big") % (_ORDER - 1) + 1
    return ec.derive_private_key(scalar, _CURVE)


def new_serial(randomness: Randomness) -> int:
    """Return a serial number: positive, below 2^159 (RFC 5280 section 4.1.2.2), never given twice."""
    return int.from_bytes(randomness.token(_SERIAL_BYTES), "big") >> 1 or 1


def public_key_der(key: ec.EllipticCurvePublicKey) -> bytes:
    """Return the SubjectPublicKeyInfo of ``key``."""
    return key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def key_digest(key: ec.EllipticCurvePublicKey) -> bytes:
    """Return the SHA-256 (32 bytes) of the SubjectPublicKeyInfo of ``key``."""
    return hashlib.sha256(public_key_der(key)).digest()


@functools.lru_cache(_DIGESTS_KEPT)
def certificate_key_digest(certificate: x509.Certificate) -> bytes:
    """Return :func:`key_digest` of the certificate's key; RejectedError for any other kind of key."""
    return key_digest(certificate_key(certificate))


def certificate_der(certificate: x509.Certificate) -> bytes:
    """Return ``certificate`` as DER."""
    return certificate.public_bytes(serialization.Encoding.DER)


def certificate_key(certificate: x509.Certificate) -> ec.EllipticCurvePublicKey:
    """Return the P-256 key of ``certificate``; RejectedError for any other kind of key."""
    with _reading("certificate's key"):
        key = certificate.public_key()
    return _require_p256(key)


def is_signed_by(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    """Tell whether ``authority`` is what ``certificate`` names, and its key signed it.

    Nothing else is checked: any kind of key and hash will do, which for what comes from outside is not enough
    (``trust.verify_leaf``).
    """
    try:
        certificate.verify_directly_issued_by(authority)
    except (InvalidSignature, UnsupportedAlgorithm, ValueError, TypeError):
        return False
    return True


def serial_text(certificate: x509.Certificate) -> str:
    """Return the serial number as lower-case hex without leading zeros."""
    return format(certificate.serial_number, "x")


def load_certificate(der: bytes) -> x509.Certificate:
    """Return the X.509 certificate in ``der`` (at most 16 KiB), or raise RejectedError."""
    if len(der) > CERTIFICATE_MAX_BYTES:
        raise RejectedError("The certificate is larger than 16 KiB.")
    with _reading("certificate"):
        certificate = x509.load_der_x509_certificate(der)
        _read_through(certificate)
    return certificate


def load_pem_certificates(pem: bytes) -> tuple[x509.Certificate, ...]:
    """Return the X.509 certificates in ``pem``, at least one, or raise RejectedError."""
    with _reading("certificate"):
        found = x509.load_pem_x509_certificates(pem)
        for certificate in found:
            _read_through(certificate)
    return tuple(found)


def _read_through(certificate: x509.Certificate) -> None:
    """Read each part: the library parses it when it is first read, and nothing may fail later."""
    _ = (
        certificate.version,
        certificate.extensions,
        certificate.subject,
        certificate.issuer,
        certificate.not_valid_before_utc,
        certificate.not_valid_after_utc,
        certificate.signature_algorithm_oid,
    )
    if certificate.serial_number <= 0:
        raise ValueError("RFC 5280, section 4.1.2.2: a serial number is positive")


@contextmanager
def _reading(what: str) -> Iterator[None]:
    """Raise RejectedError for all that the library raises, or warns of, while it parses a text."""
    try:
        yield
    except _UNREADABLE as error:
        raise RejectedError(f"The {what} cannot be read.") from error


def describe(certificate: x509.Certificate) -> Certified:
    """Return what ``certificate`` says, checking nothing but its one name.

    For certificates that are known to be ours (files); what comes from outside goes through
    ``trust.verify_leaf``.  Raises RejectedError when there is not exactly one SPIFFE id.
    """
    return Certified(
        identity=spiffe_id_of(certificate),
        serial=serial_text(certificate),
        not_before_s=certificate.not_valid_before_utc.timestamp(),
        expires_s=certificate.not_valid_after_utc.timestamp(),
        addresses=addresses_of(certificate),
        key_digest=_own_key_digest(certificate),
    )


def spiffe_id_of(certificate: x509.Certificate) -> SpiffeId:
    """Return the one name of ``certificate``; RejectedError unless there is exactly one, a URI."""
    try:
        if certificate.subject not in (_NO_SUBJECT, COORDINATOR_SUBJECT):
            raise RejectedError("The certificate has a subject; its only name must be a URI.")
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound as error:
        raise RejectedError("The certificate has no URI name.") from error
    except _UNREADABLE as error:
        raise RejectedError("The certificate's names or extensions cannot be read.") from error
    found = list(names)
    if len(found) != 1 or not isinstance(found[0], x509.UniformResourceIdentifier):
        raise RejectedError("The certificate must have exactly one name, and that a URI.")
    try:
        identity = SpiffeId.parse(found[0].value)
    except CollectiveError as error:
        raise RejectedError("The certificate's URI is not a SPIFFE id of this product.") from error
    if certificate.subject == COORDINATOR_SUBJECT and identity.role != "coordinator":
        raise RejectedError("Only a coordinator's certificate has the coordinator's label.")
    return identity


def make_request(key: ec.EllipticCurvePrivateKey) -> bytes:
    """Return a PKCS#10 request (DER) that names ``key`` and asks for nothing else."""
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    return request.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


def check_request(der: bytes) -> ec.EllipticCurvePublicKey:
    """Return the P-256 key of a PKCS#10 request whose signature proves possession of it.

    Subject and extensions are ignored: the issuer decides them.  Raises RejectedError.
    """
    if len(der) > REQUEST_MAX_BYTES:
        raise RejectedError("The certificate request is larger than 16 KiB.")
    with _reading("certificate request"):
        request = x509.load_der_x509_csr(der)
        key = _require_p256(request.public_key())
        valid = request.is_signature_valid
    if not valid:
        raise RejectedError("The certificate request is not signed by the key that it names.")
    return key


def encode_addresses(addresses: Sequence[Address]) -> bytes:
    """Return the value of the *addresses* extension (at most 32 of 120 bytes, else SettingsError)."""
    texts = [str(address).encode() for address in addresses]
    if len(texts) > ADDRESSES_MAX or any(len(text) > ADDRESS_MAX_BYTES for text in texts):
        raise SettingsError("Advertise at most 32 addresses of at most 120 bytes each.")
    body = b"".join(bytes((_UTF8_STRING, len(text))) + text for text in texts)
    if len(body) <= _SHORT_LENGTH_MAX:
        return bytes((_SEQUENCE, len(body))) + body
    return bytes((_SEQUENCE, _LENGTH_TWO_BYTES)) + len(body).to_bytes(2, "big") + body


def decode_addresses(value: bytes) -> tuple[Address, ...]:
    """Return the addresses in an extension's value, or raise RejectedError."""
    try:
        return _decode_addresses(value)
    except (IndexError, UnicodeDecodeError, CollectiveError) as error:
        raise RejectedError("The certificate's list of addresses cannot be read.") from error


def _decode_addresses(value: bytes) -> tuple[Address, ...]:
    start, length = 2, value[1]
    if length == _LENGTH_ONE_BYTE:
        start, length = 3, value[2]
    elif length == _LENGTH_TWO_BYTES:
        start, length = 4, int.from_bytes(value[2:4], "big")
    if value[0] != _SEQUENCE or start + length != len(value):
        raise IndexError
    found: list[Address] = []
    position = start
    while position < len(value):
        size = value[position + 1]
        text = value[position + 2 : position + 2 + size]
        if value[position] != _UTF8_STRING or size > ADDRESS_MAX_BYTES or len(text) != size:
            raise IndexError
        found.append(Address.parse_stored(text.decode()))
        position += 2 + size
    if len(found) > ADDRESSES_MAX:
        raise IndexError
    return tuple(found)


def addresses_of(certificate: x509.Certificate) -> tuple[Address, ...]:
    """Return the addresses that ``certificate`` carries, ``()`` if none; RejectedError if garbled."""
    value = private_extension(certificate, ADDRESSES_OID)
    return () if value is None else decode_addresses(value)


def private_extension(certificate: x509.Certificate, oid: ObjectIdentifier) -> bytes | None:
    """Return the value of a private extension, or None."""
    try:
        found = certificate.extensions.get_extension_for_oid(oid).value
    except x509.ExtensionNotFound:
        return None
    except _UNREADABLE as error:
        raise RejectedError("The certificate's extensions cannot be read.") from error
    return found.value if isinstance(found, x509.UnrecognizedExtension) else None


def _own_key_digest(certificate: x509.Certificate) -> bytes:
    try:
        return certificate_key_digest(certificate)
    except RejectedError:
        return b""  # step 8 of the trust rule refuses it by its own name


def _require_p256(key: object) -> ec.EllipticCurvePublicKey:
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise RejectedError("The key must be ECDSA P-256.")
    return key
