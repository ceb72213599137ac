"""An identity and a joined collective, and their JSON on disk.

The JSON carries ``format``; what is of a newer format or malformed is refused with SettingsError,
never guessed at.  Names of collectives come from servers, so they are made safe here: a name is one
lower-case label, hence never a path.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from typing import Any, Final, NamedTuple

from collective.core.errors import CollectiveError, SettingsError, UsageError
from collective.core.ids import Domain, GlobalId, MemberId, SpiffeId, parse_domain, parse_member_id
from collective.core.paths import FilePath
from collective.core.units import Address
from collective.model.rights import WORDS, GrantTerms, Right

FORMAT: Final = 2
"""2: grants are objects; 1: texts like ``/shared:read+write``."""
NAME_MAX_CHARS: Final = 63
DISPLAY_NAME_MAX_CHARS: Final = 128
_NAME: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\Z")
_DIGEST_HEX: Final = re.compile(r"[0-9a-f]{64}\Z")


def check_display_name(text: str) -> None:
    """Return if ``text`` can be a name for people; UsageError otherwise."""
    if len(text) > DISPLAY_NAME_MAX_CHARS or not text.isprintable():
        raise UsageError(
            f"A display name has at most {DISPLAY_NAME_MAX_CHARS} printable characters."
        )


class Identity(NamedTuple):
    """Who this machine acts for."""

    global_id: GlobalId
    display_name: str = ""
    created_ms: int = 0

    def encode(self) -> bytes:
        """Return the JSON of ``identity.json``."""
        return _encode(
            {
                "global_id": str(self.global_id),
                "display_name": self.display_name,
                "created_ms": self.created_ms,
            }
        )

    @classmethod
    def decode(cls, raw: bytes, path: str) -> Identity:
        """Return the identity in ``raw``, read from ``path``; SettingsError if it is malformed."""
        facts = _decode(raw, path)
        try:
            return cls(
                global_id=GlobalId.parse(_text(facts, "global_id")),
                display_name=_text(facts, "display_name"),
                created_ms=_number(facts, "created_ms"),
            )
        except (CollectiveError, TypeError) as error:
            raise _malformed(path) from error


class JoinedCollective(NamedTuple):
    """One member that this machine has joined."""

    name: str
    """What it is called here; unique on this machine."""
    member: MemberId
    domain: Domain
    identity: SpiffeId
    """As whom it knows us."""
    coordinator_addresses: tuple[Address, ...]
    bootstrap_addresses: tuple[Address, ...]
    """Where a certificate that ran out is renewed."""
    authority_digest: bytes
    """32 bytes: SHA-256 of the SubjectPublicKeyInfo of its CA."""
    joined_ms: int = 0
    told_ms: int = 0
    """When the coordinator last said where it is and which CAs count."""
    granted_by: str = ""
    """Who made the invite, as the member said at redemption."""
    grants: tuple[GrantTerms, ...] = ()
    """As granted at redemption; the member decides what holds now."""
    grants_expire_ms: int = 0
    peer_of: tuple[tuple[str, int], ...] = ()
    """Members joined besides that know it as their peer: the SHA-256 of each one's CA key, in hex, and when each
    said so last (Unix milliseconds)."""

    @property
    def global_id(self) -> str:
        """The global id under which it knows us, else the SPIFFE id."""
        return str(self.identity.global_id or self.identity)

    def answers_to(self, wanted: str) -> bool:
        """Tell whether ``wanted`` is its name, member id or domain."""
        return wanted in self.words

    @property
    def words(self) -> frozenset[str]:
        """What it may be called by: its name here, its member id, its domain."""
        return frozenset((self.name, self.member, self.domain))

    def encode(self) -> bytes:
        """Return the JSON of ``collective.json``."""
        return _encode(
            {
                "name": self.name,
                "member_id": self.member,
                "domain": self.domain,
                "identity": str(self.identity),
                "coordinator_addresses": [str(one) for one in self.coordinator_addresses],
                "bootstrap_addresses": [str(one) for one in self.bootstrap_addresses],
                "ca_key_sha256": self.authority_digest.hex(),
                "joined_ms": self.joined_ms,
                "told_ms": self.told_ms,
                "granted_by": self.granted_by,
                "grants": [{"path": str(one.path), "rights": one.words} for one in self.grants],
                "grants_expire_ms": self.grants_expire_ms,
                "peer_of_ms": dict(self.peer_of),
            }
        )

    @classmethod
    def decode(cls, raw: bytes, path: str) -> JoinedCollective:
        """Return the collective in ``raw``, read from ``path``; SettingsError if malformed."""
        facts = _decode(raw, path)
        try:
            name, digest = _text(facts, "name"), _text(facts, "ca_key_sha256")
            if not is_name(name) or not _DIGEST_HEX.match(digest):
                raise _malformed(path)
            return cls(
                name=name,
                member=parse_member_id(_text(facts, "member_id")),
                domain=parse_domain(_text(facts, "domain")),
                identity=SpiffeId.parse(_text(facts, "identity")),
                coordinator_addresses=_addresses(facts, "coordinator_addresses"),
                bootstrap_addresses=_addresses(facts, "bootstrap_addresses"),
                authority_digest=bytes.fromhex(digest),
                joined_ms=_number(facts, "joined_ms"),
                told_ms=_number(facts, "told_ms"),
                granted_by=_text(facts, "granted_by"),
                grants=_grants(facts),
                grants_expire_ms=_number(facts, "grants_expire_ms"),
                peer_of=_times(facts, "peer_of_ms") if "peer_of_ms" in facts else (),
            )
        except (CollectiveError, TypeError) as error:
            raise _malformed(path) from error


def is_name(text: str) -> bool:
    """Tell whether ``text`` may name a collective here."""
    return bool(_NAME.match(text))


def free_name(proposed: str, member: MemberId, taken: Collection[str]) -> str:
    """Return the name for a collective: as proposed if that is a name, ``-2`` on a collision.

    One rule for what members propose: a name is one label of ASCII small letters, digits and inner
    dashes, of at most 63 characters; so it is no path, no option, no look-alike and no control.

    Args:
        proposed: by the member; anything.
        member: names it where the proposal is not usable.
        taken: names, member ids and domains of the other collectives here.
    """
    base = proposed if is_name(proposed) else member
    candidate, number = base, 1
    while candidate in taken:
        number += 1
        suffix = f"-{number}"
        candidate = base[: NAME_MAX_CHARS - len(suffix)].rstrip("-") + suffix
    return candidate


def _encode(facts: dict[str, Any]) -> bytes:
    return json.dumps({"format": FORMAT, **facts}, indent=2).encode() + b"\n"


def _decode(raw: bytes, path: str) -> Mapping[str, Any]:
    try:
        facts = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise _malformed(path) from error
    if not isinstance(facts, dict) or not isinstance(facts.get("format"), int):
        raise _malformed(path)
    if facts["format"] > FORMAT:
        raise SettingsError(f"{path} was written by a newer collective; update this one.")
    return facts


def _malformed(path: str) -> SettingsError:
    return SettingsError(
        f"{path} is damaged; restore it from a backup, or remove it and join again."
    )


def _text(facts: Mapping[str, Any], name: str) -> str:
    value = facts.get(name)
    if not isinstance(value, str):
        raise TypeError(name)
    return value


def _texts(facts: Mapping[str, Any], name: str) -> tuple[str, ...]:
    value = facts.get(name)
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise TypeError(name)
    return tuple(value)


def _number(facts: Mapping[str, Any], name: str) -> int:
    value = facts.get(name)
    if not isinstance(value, int):
        raise TypeError(name)
    return value


def _times(facts: Mapping[str, Any], name: str) -> tuple[tuple[str, int], ...]:
    value = facts.get(name)
    if not isinstance(value, dict) or not all(isinstance(one, int) for one in value.values()):
        raise TypeError(name)
    return tuple(value.items())


def _addresses(facts: Mapping[str, Any], name: str) -> tuple[Address, ...]:
    return tuple(Address.parse_stored(text) for text in _texts(facts, name))


def _grants(facts: Mapping[str, Any]) -> tuple[GrantTerms, ...]:
    value = facts.get("grants")
    if not isinstance(value, list):
        raise TypeError("grants")
    return tuple(_grant(one) for one in value)


def _grant(value: object) -> GrantTerms:
    if isinstance(value, str):  # format 1
        path, _, joined = value.rpartition(":")
        words = joined.split("+")
    elif isinstance(value, dict) and isinstance(value.get("rights"), list):
        path, words = _text(value, "path"), value["rights"]
    else:
        raise TypeError("grants")
    rights = Right.NONE
    for word in words:
        if not isinstance(word, str) or word not in WORDS:
            raise TypeError("rights")
        rights |= WORDS[word]
    return GrantTerms(FilePath.parse(path), rights)
