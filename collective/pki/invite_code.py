"""Join codes: one mechanism for users, nodes and peers.

A code is Crockford base 32 of: version (1), SHA-256 of the CA's SubjectPublicKeyInfo (32), code id
(8), secret (16), number of bootstrap addresses (1), each as length (1) and ``HOST:PORT``, and a
checksum (4): the first bytes of SHA-256 over a label and all that precedes.  It is written in lower
case; upper case, hyphens and blanks are accepted, and ``o``, ``i``, ``l`` read as 0 and 1.  It never
begins with ``-``, and a mistyped one is found without asking anyone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from collective.core.errors import CollectiveError, UsageError
from collective.core.randomness import Randomness
from collective.core.units import Address
from collective.pki import proof

VERSION: Final = 1
CODE_ID_BYTES: Final = 8
SECRET_BYTES: Final = 16
DIGEST_BYTES: Final = 32
ADDRESSES_MAX: Final = 8
TEXT_MAX: Final = 4096
URL_PREFIX: Final = "collective://join/"

_ALPHABET: Final = "0123456789abcdefghjkmnpqrstvwxyz"
_VALUES: Final = {char: value for value, char in enumerate(_ALPHABET)} | {"o": 0, "i": 1, "l": 1}
_CHECKSUM_BYTES: Final = 4
_CHECKSUM_LABEL: Final = b"collective join code 1\0"
_FIXED_BYTES: Final = 1 + DIGEST_BYTES + CODE_ID_BYTES + SECRET_BYTES + 1
_ADDRESS_MAX_BYTES: Final = 255
_BITS: Final = 5

_MISTYPED: Final = "The join code is mistyped or cut off; copy the whole code again."


@dataclass(frozen=True, slots=True)
class InviteCode:
    """A parsed or fresh join code; the secret never shows in its ``repr``."""

    addresses: tuple[Address, ...]
    """Where to redeem it; 1 to 8."""
    authority_digest: bytes
    """32 bytes: SHA-256 of the SubjectPublicKeyInfo of the CA."""
    code_id: str
    """16 lower-case hex digits; not secret."""
    secret: bytes = field(repr=False)
    """16 bytes."""

    @classmethod
    def fresh(
        cls, addresses: Sequence[Address], authority_digest: bytes, randomness: Randomness
    ) -> InviteCode:
        """Return a new code; UsageError if there are no addresses, or more than 8."""
        if not 1 <= len(addresses) <= ADDRESSES_MAX:
            raise UsageError(f"A join code needs 1 to {ADDRESSES_MAX} bootstrap addresses.")
        if any(len(str(address).encode()) > _ADDRESS_MAX_BYTES for address in addresses):
            raise UsageError("A bootstrap address is longer than 255 bytes.")
        return cls(
            addresses=tuple(addresses),
            authority_digest=authority_digest,
            code_id=randomness.token(CODE_ID_BYTES).hex(),
            secret=randomness.token(SECRET_BYTES),
        )

    def verifier(self) -> bytes:
        """Return the 32 bytes that a server keeps instead of the secret."""
        return proof.verifier_of(self.secret)

    def encode(self) -> str:
        """Return the code as one word of lower-case letters and digits."""
        parts = [
            bytes((VERSION,)),
            self.authority_digest,
            bytes.fromhex(self.code_id),
            self.secret,
            bytes((len(self.addresses),)),
        ]
        for address in self.addresses:
            text = str(address).encode()
            parts.append(bytes((len(text),)) + text)
        body = b"".join(parts)
        return _to_text(body + _checksum(body))

    def url(self) -> str:
        """Return the code as a URL; :func:`parse` takes it too."""
        return URL_PREFIX + self.encode()


def parse(text: str) -> InviteCode:
    """Return the code in ``text`` (a code or its URL), or raise UsageError saying what is wrong."""
    if len(text) > TEXT_MAX:
        raise UsageError("This is too long to be a join code; copy the code alone.")
    raw = _to_bytes(text.strip().removeprefix(URL_PREFIX))
    body, checksum = raw[:-_CHECKSUM_BYTES], raw[-_CHECKSUM_BYTES:]
    if len(body) < _FIXED_BYTES or _checksum(body) != checksum:
        raise UsageError(_MISTYPED)
    if body[0] != VERSION:
        raise UsageError("The join code is of a newer version; update collective and try again.")
    digest_end = 1 + DIGEST_BYTES
    id_end = digest_end + CODE_ID_BYTES
    return InviteCode(
        addresses=_read_addresses(body[_FIXED_BYTES - 1 :]),
        authority_digest=body[1:digest_end],
        code_id=body[digest_end:id_end].hex(),
        secret=body[id_end : id_end + SECRET_BYTES],
    )


def is_code_id(text: str) -> bool:
    """Tell whether ``text`` has the form of a code id."""
    return len(text) == 2 * CODE_ID_BYTES and not set(text) - set("0123456789abcdef")


def _read_addresses(raw: bytes) -> tuple[Address, ...]:
    found: list[Address] = []
    position = 1
    try:
        for _ in range(raw[0]):
            end = position + 1 + raw[position]
            text = raw[position + 1 : end]
            found.append(Address.parse_stored(text.decode()))
            position = end
    except (IndexError, UnicodeDecodeError, CollectiveError) as error:
        raise UsageError("The join code holds no usable address; ask for a new one.") from error
    if position != len(raw) or not 1 <= len(found) <= ADDRESSES_MAX:
        raise UsageError("The join code holds no usable address; ask for a new one.")
    return tuple(found)


def _checksum(body: bytes) -> bytes:
    return hashlib.sha256(_CHECKSUM_LABEL + body).digest()[:_CHECKSUM_BYTES]


def _to_text(raw: bytes) -> str:
    length = -(-len(raw) * 8 // _BITS)
    number = int.from_bytes(raw, "big") << (length * _BITS - len(raw) * 8)
    return "".join(_ALPHABET[number >> (_BITS * i) & 31] for i in range(length - 1, -1, -1))


def _to_bytes(text: str) -> bytes:
    chars = [char for char in text.lower() if char != "-" and not char.isspace()]
    if not chars:
        raise UsageError("The join code is empty; copy the whole code again.")
    unknown = next((char for char in chars if char not in _VALUES), None)
    if unknown is not None:
        raise UsageError(f"A join code has no {unknown!r} in it; copy the whole code again.")
    number = 0
    for char in chars:
        number = number << _BITS | _VALUES[char]
    size, spare = divmod(len(chars) * _BITS, 8)
    if spare >= _BITS or number & ((1 << spare) - 1):
        raise UsageError(_MISTYPED)
    return (number >> spare).to_bytes(size, "big")
