"""Proving a join code's secret without sending it, and possession of an old key.

secret (16 bytes) → HKDF-SHA256 → Ed25519 seed; the server keeps the public key only, so a stolen
catalogue redeems nothing.  The proof signs a transcript that names the TLS leaf of the connection:
relayed by an attacker in the middle, it is worthless on any other connection.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from collective.core.errors import PermissionDeniedError

_JOIN_LABEL: Final = b"collective join 2\0"
_PEERING_LABEL: Final = b"collective peering 1\0"
_RENEW_LABEL: Final = b"collective renew 1\0"
_SEED_LABEL: Final = b"collective join proof 1"
_LENGTH_BYTES: Final = 4


@dataclass(frozen=True, slots=True)
class Transcript:
    """What a join proof is bound to."""

    code_id: str
    nonce: bytes
    leaf_digest: bytes
    """SHA-256 of the DER of the server's TLS leaf, byte by byte as it was shown.

    A certificate has bits outside of what is signed that can be changed; who shows a changed one must
    have the leaf's key, and then the digests differ and the join is refused."""
    csr_der: bytes
    wish: str
    display_name: str = ""

    def encode(self) -> bytes:
        """Return the bytes that are signed: a label, then each field after its length (u32)."""
        fields = (
            self.code_id.encode(),
            self.nonce,
            self.leaf_digest,
            self.csr_der,
            self.wish.encode(),
            self.display_name.encode(),
        )
        return _JOIN_LABEL + _prefixed(*fields)


@dataclass(frozen=True, slots=True)
class PeeringTranscript:
    """What the secret of a code for a peer signs."""

    code_id: str
    nonce: bytes
    leaf_digest: bytes
    """As in :class:`Transcript`."""
    body: bytes
    """Of the bundle of the member that redeems."""
    signature: bytes

    def encode(self) -> bytes:
        """Return the bytes that are signed: a label, then each field after its length (u32)."""
        fields = (self.code_id.encode(), self.nonce, self.leaf_digest, self.body, self.signature)
        return _PEERING_LABEL + _prefixed(*fields)


class Signed(Protocol):
    """What a proof is made over."""

    def encode(self) -> bytes:
        """Return the bytes that are signed; they begin with a label of their kind."""
        ...


def verifier_of(secret: bytes) -> bytes:
    """Return the Ed25519 public key (32 bytes) derived from ``secret``."""
    return (
        _signing_key(secret)
        .public_key()
        .public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    )


def sign_join(secret: bytes, transcript: Signed) -> bytes:
    """Return the proof (64 bytes) that its maker knows ``secret``."""
    return _signing_key(secret).sign(transcript.encode())


def check_join(verifier: bytes, transcript: Signed, proof: bytes) -> None:
    """Raise PermissionDeniedError unless ``proof`` was made with the secret of ``verifier``."""
    try:
        Ed25519PublicKey.from_public_bytes(verifier).verify(proof, transcript.encode())
    except (InvalidSignature, ValueError) as error:
        raise PermissionDeniedError(
            "The join code is not known here; check it, or ask for a new one."
        ) from error


def sign_renewal(key: ec.EllipticCurvePrivateKey, nonce: bytes, csr_der: bytes) -> bytes:
    """Return an ECDSA-SHA256 signature over nonce and request by the certificate's key."""
    return key.sign(_RENEW_LABEL + _prefixed(nonce, csr_der), ec.ECDSA(hashes.SHA256()))


def check_renewal(
    key: ec.EllipticCurvePublicKey, nonce: bytes, csr_der: bytes, signature: bytes
) -> None:
    """Raise PermissionDeniedError unless ``signature`` was made with the key of ``key``."""
    try:
        key.verify(signature, _RENEW_LABEL + _prefixed(nonce, csr_der), ec.ECDSA(hashes.SHA256()))
    except (InvalidSignature, ValueError) as error:
        raise PermissionDeniedError(
            "The renewal is not signed by the key of the old certificate; join again."
        ) from error


def _signing_key(secret: bytes) -> Ed25519PrivateKey:
    seed = HKDF(hashes.SHA256(), length=32, salt=None, info=_SEED_LABEL).derive(secret)
    return Ed25519PrivateKey.from_private_bytes(seed)


def _prefixed(*fields: bytes) -> bytes:
    return b"".join(len(value).to_bytes(_LENGTH_BYTES, "big") + value for value in fields)
