"""Join codes: one mechanism for users, nodes and peers.

A code is Crockford base 32 of: version (1; 2), SHA-256 of the CA's SubjectPublicKeyInfo (32), code id
(8), secret (16), whom it admits and the number of bootstrap addresses (4 bits each), each address as length (1)
and ``HOST:PORT``, and a checksum (4): the first bytes of SHA-256 over a label and all that precedes.  It is
written in lower case, and never begins with ``-``.  Whom it admits is for programs that would use it wrongly; the
server goes by what it stored.  A code that does not say is of version 1; so builds that know no kinds read it, and say
of every other one that it is of a newer version.

A code is read however it was pasted: upper case, ``o``, ``i``, ``l`` for 0 and 1, hyphens and blanks in it; wrapped
into lines, quoted by ``>``, in quotes, backticks or brackets, in its URL, with words around it.  It says itself how long
it is, and its checksum whether it is one; so a mistyped one is found without asking anyone.
"""

from __future__ import annotations

import hashlib
import re
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from collective.core.errors import CollectiveError, UsageError
from collective.core.limits import JOIN_CODE_TEXT_MAX
from collective.core.randomness import Randomness
from collective.core.units import Address
from collective.model.people import InviteKind
from collective.pki import proof

VERSION: Final = 2
_VERSION_WITHOUT_KIND: Final = 1
_VERSIONS: Final = frozenset((_VERSION_WITHOUT_KIND, VERSION))
CODE_ID_BYTES: Final = 8
SECRET_BYTES: Final = 16
DIGEST_BYTES: Final = 32
ADDRESSES_MAX: Final = 8
URL_PREFIX: Final = "collective://join/"

_ALPHABET: Final = "0123456789abcdefghjkmnpqrstvwxyz"
_PYTHON_DIGITS: Final = "0123456789abcdefghijklmnopqrstuv!"
_VALUES: Final = {char: value for value, char in enumerate(_ALPHABET)} | {"o": 0, "i": 1, "l": 1}
_CHECKSUM_BYTES: Final = 4
_CHECKSUM_LABEL: Final = b"collective join code 1\0"
_FIXED_BYTES: Final = 1 + DIGEST_BYTES + CODE_ID_BYTES + SECRET_BYTES + 1
_ADDRESS_MAX_BYTES: Final = 255
_BITS: Final = 5
_DIGITS: Final = str.maketrans(
    {
        char: _PYTHON_DIGITS[value]
        for one, value in (*_VALUES.items(), ("u", 32))
        for char in (one, one.upper())
    }
)
"""From characters of a code to what Python takes for digits of base 32, and from the one letter that is none of them."""
_CODE_MAX_DIGITS: Final = -(
    -(_FIXED_BYTES + ADDRESSES_MAX * (1 + _ADDRESS_MAX_BYTES) + _CHECKSUM_BYTES) * 8 // _BITS
)
_COUNT_MASK: Final = 0x0F
_KIND_SHIFT: Final = 4
_KINDS: Final = (None, InviteKind.USER, InviteKind.NODE, InviteKind.PEER, InviteKind.DEVICE)
"""By their number in a code; 0 does not say."""

_LIKELY_LEAST: Final = 16
"""A run of so many characters that a code may have is taken for one that is mistyped, not for words."""
_INVISIBLE: Final = dict.fromkeys(map(ord, "\ufeff\u200b\u200c\u200d\u200e\u200f\u2060\u00ad"))
"""What comes along unseen: byte order mark, marks of width and direction, soft hyphen."""
_QUOTED: Final = re.compile(r"^[ \t>|]+|=\r?$", re.MULTILINE)
"""What mail puts before a quoted line, and quoted-printable at the end of a wrapped one."""
_BETWEEN: Final = re.compile(r"[-\s\u2010-\u2015]")
"""What may stand between two characters of a code."""
_NOT_BETWEEN: Final = re.compile(r"[^-\s\u2010-\u2015]")
_RUN: Final = re.compile(r"[0-9a-v]*")
_WORD: Final = re.compile(r"[^\W_]+")

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
    kind: InviteKind | None = None
    """Whom it admits; None where it does not say, or says what is not known here."""

    @classmethod
    def fresh(
        cls,
        addresses: Sequence[Address],
        authority_digest: bytes,
        randomness: Randomness,
        kind: InviteKind | None = None,
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
            kind=kind,
        )

    def verifier(self) -> bytes:
        """Return the 32 bytes that a server keeps instead of the secret."""
        return proof.verifier_of(self.secret)

    def encode(self) -> str:
        """Return the code as one word of lower-case letters and digits."""
        version = _VERSION_WITHOUT_KIND if self.kind is None else VERSION
        parts = [
            bytes((version,)),
            self.authority_digest,
            bytes.fromhex(self.code_id),
            self.secret,
            bytes((_KINDS.index(self.kind) << _KIND_SHIFT | len(self.addresses),)),
        ]
        for address in self.addresses:
            text = str(address).encode()
            parts.append(bytes((len(text),)) + text)
        body = b"".join(parts)
        return _to_text(body + _checksum(body))

    def url(self) -> str:
        """Return the code as a URL; :func:`parse` takes it too."""
        return URL_PREFIX + self.encode()


def parse(text: str, *, longest: int = JOIN_CODE_TEXT_MAX) -> InviteCode:
    """Return the one code in ``text``, of at most ``longest`` characters, however it was pasted.

    Raises:
        UsageError: There is none, or several; says what is wrong.
    """
    if len(text) > longest:
        raise UsageError("This is too long to be a join code; copy the code alone.")
    plain = _QUOTED.sub("", text.translate(_INVISIBLE))
    found = list(dict.fromkeys(_codes_in(plain)))
    if len(found) > 1:
        raise UsageError(f"There are {len(found)} different codes in this; give the one you want.")
    if not found:
        raise UsageError(_why_none(plain))
    return found[0]


def _codes_in(plain: str) -> Iterator[InviteCode]:
    """Yield the codes that begin with some word of ``plain``, each as often as it is there.

    Every word is tried.  One that begins no code costs a few steps, whatever follows.
    """
    places = [found.start() for found in _NOT_BETWEEN.finditer(plain)]
    digits = _BETWEEN.sub("", plain).translate(_DIGITS)
    end = 0
    for word in _WORD.finditer(plain):
        if word.start() < end or not _is_first(word.group()):
            continue
        first = bisect_left(places, word.start())
        run = _RUN.match(digits, first, first + _CODE_MAX_DIGITS)
        read = None if run is None else _read_code(run.group())
        if read is None:
            continue
        code, count = read
        after = places[first + count - 1] + 1
        if plain[after : after + 1].lower() not in _VALUES:  # else more of it follows
            end = after
            yield code


def _is_first(word: str) -> bool:
    """Tell whether a code may begin so: its first eight bits are the version."""
    values = [_VALUES.get(char, 32) for char in word[:2].lower()]
    if len(values) == 1:  # a hyphen or the end of a line comes next
        return values[0] == 0
    return values[0] == 0 and values[1] >> 2 in _VERSIONS


def _read_code(digits: str) -> tuple[InviteCode, int] | None:
    """Return the code with which ``digits`` begin, and how many of them it has; None if they begin with none."""
    if len(digits) < _length_of(_FIXED_BYTES):
        return None
    raw = _bytes_of(digits)
    size = _bytes_wanted(raw)
    count = _length_of(size)
    if count > len(digits):
        return None
    body, checksum = raw[: size - _CHECKSUM_BYTES], raw[size - _CHECKSUM_BYTES : size]
    spare = count * _BITS - size * 8
    if _checksum(body) != checksum or int(digits[count - 1], 32) & ((1 << spare) - 1):
        return None
    return _of_body(body), count


def _bytes_wanted(raw: bytes) -> int:
    """Return how many bytes a code has that begins with ``raw``, as far as ``raw`` says."""
    position = _FIXED_BYTES
    for _ in range(min(raw[_FIXED_BYTES - 1] & _COUNT_MASK, ADDRESSES_MAX)):
        if position >= len(raw):
            return position + 1
        position += 1 + raw[position]
    return position + _CHECKSUM_BYTES


def _of_body(body: bytes) -> InviteCode:
    digest_end = 1 + DIGEST_BYTES
    id_end = digest_end + CODE_ID_BYTES
    kind = body[_FIXED_BYTES - 1] >> _KIND_SHIFT
    return InviteCode(
        addresses=_read_addresses(body[_FIXED_BYTES - 1 :]),
        authority_digest=body[1:digest_end],
        code_id=body[digest_end:id_end].hex(),
        secret=body[id_end : id_end + SECRET_BYTES],
        kind=_KINDS[kind] if kind < len(_KINDS) else None,
    )


def _why_none(plain: str) -> str:
    """Return what is wrong with a text in which there is no code."""
    if not plain.strip():
        return "The join code is empty; copy the whole code again."
    start = plain.lower().find(URL_PREFIX)
    rest = plain[start + len(URL_PREFIX) :] if start >= 0 else plain.strip()
    compact = _BETWEEN.sub("", rest).lower()
    unknown = next((char for char in compact if char not in _VALUES), None)
    if unknown is None:
        raw = _decode(compact)
        body, checksum = raw[:-_CHECKSUM_BYTES], raw[-_CHECKSUM_BYTES:]
        if len(body) >= _FIXED_BYTES and _checksum(body) == checksum and body[0] > VERSION:
            return "The join code is of a newer version; update collective and try again."
        return _MISTYPED
    longest = max((len(run) for run in re.split(r"[^0-9a-z]+", compact)), default=0)
    if start < 0 and longest < _LIKELY_LEAST:
        return "There is no join code in this; copy the whole code again."
    if len(rest.split()) == 1 and len(compact) >= _LIKELY_LEAST:
        return f"A join code has no {unknown!r} in it; copy the whole code again."
    return _MISTYPED


def is_code_id(text: str) -> bool:
    """Tell whether ``text`` has the form of a code id."""
    return len(text) == 2 * CODE_ID_BYTES and not set(text) - set("0123456789abcdef")


def _read_addresses(raw: bytes) -> tuple[Address, ...]:
    found: list[Address] = []
    position = 1
    try:
        for _ in range(raw[0] & _COUNT_MASK):
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
    length = _length_of(len(raw))
    number = int.from_bytes(raw, "big") << (length * _BITS - len(raw) * 8)
    return "".join(_ALPHABET[number >> (_BITS * i) & 31] for i in range(length - 1, -1, -1))


def _length_of(size: int) -> int:
    """Return how many characters ``size`` bytes are written with."""
    return -(-size * 8 // _BITS)


def _decode(chars: str) -> bytes:
    """Return the whole bytes that ``chars`` hold; bits beyond them are left out."""
    return _bytes_of(chars.translate(_DIGITS))


def _bytes_of(digits: str) -> bytes:
    size, spare = divmod(len(digits) * _BITS, 8)
    return (int(digits or "0", 32) >> spare).to_bytes(size, "big")
