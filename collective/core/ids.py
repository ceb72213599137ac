"""Identifiers as types, so that a bare ``str`` or ``bytes`` never stands for one.

Parsing is strict: whatever comes from outside goes through the ``parse_*`` functions, which raise
:class:`UsageError`; the constructors trust their caller.
"""

from __future__ import annotations

import re
from typing import Final, Literal, NamedTuple, NewType

from collective.core.errors import UsageError

ChunkId = NewType("ChunkId", bytes)
"""32 bytes: BLAKE3-256 of the chunk as stored (envelope included)."""

CHUNK_ID_BYTES: Final = 32

MemberId = NewType("MemberId", str)
Domain = NewType("Domain", str)
NodeId = NewType("NodeId", str)
UploadKey = NewType("UploadKey", str)
"""32 lower-case hex digits (128 random bits): an upload within its member's catalogue."""
LeaseKey = NewType("LeaseKey", str)
"""32 lower-case hex digits (128 random bits): a lease within its member's catalogue."""
StoreUuid = NewType("StoreUuid", str)
"""32 lower-case hex digits: names one data dir of one node for its whole life."""
Generation = NewType("Generation", int)
"""Which incarnation of a copy on one node; a delete names it and never touches a later one."""

_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_MEMBER = re.compile(rf"{_LABEL}\Z")
_DOMAIN = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})+\Z")
_USER = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?\Z")
_SPIFFE = re.compile(r"spiffe://[a-z0-9./_-]*[a-z0-9]")
_HEX32 = re.compile(r"[0-9a-f]{32}\Z")

SpiffeRole = Literal["coordinator", "bootstrap", "node", "user"]


def parse_chunk_id(raw: bytes) -> ChunkId:
    """Return ``raw`` as a chunk id, or raise :class:`UsageError` if it is not 32 bytes."""
    if len(raw) != CHUNK_ID_BYTES:
        raise UsageError(f"A chunk id has {CHUNK_ID_BYTES} bytes, not {len(raw)}.")
    return ChunkId(raw)


def parse_member_id(text: str) -> MemberId:
    """Return a member id: one lower-case DNS label (``alice``)."""
    if not _MEMBER.match(text):
        raise UsageError(
            f"Member id {text!r} must be 1-63 of a-z, 0-9 and '-', not beginning or ending with '-'."
        )
    return MemberId(text)


def parse_domain(text: str) -> Domain:
    """Return a member's domain: at least two lower-case DNS labels (``home.alice``)."""
    if not _DOMAIN.match(text):
        raise UsageError(f"Domain {text!r} must be lower-case labels with dots, like home.alice.")
    return Domain(text)


def parse_node_id(text: str) -> NodeId:
    """Return a node id: one lower-case DNS label (``alice-node-01``)."""
    if not _MEMBER.match(text):
        raise UsageError(f"Node id {text!r} must be 1-63 of a-z, 0-9 and '-'.")
    return NodeId(text)


def parse_hex_id(text: str) -> str:
    """Return 32 lower-case hex digits unchanged, or raise :class:`UsageError`."""
    if not _HEX32.match(text):
        raise UsageError("An id of 32 hexadecimal digits is expected.")
    return text


class UploadId(NamedTuple):
    """An open upload, anywhere: what is said of it alone finds the way to its member."""

    key: UploadKey
    domain: Domain

    def __str__(self) -> str:
        return f"{self.key}@{self.domain}"

    @classmethod
    def parse(cls, text: str) -> UploadId:
        """Return the upload id in ``text``, or raise :class:`UsageError`."""
        key, domain = _parse_qualified(text, "An upload id")
        return cls(UploadKey(key), domain)


class LeaseId(NamedTuple):
    """A version that is leased to a reader, anywhere."""

    key: LeaseKey
    domain: Domain

    def __str__(self) -> str:
        return f"{self.key}@{self.domain}"

    @classmethod
    def parse(cls, text: str) -> LeaseId:
        """Return the lease id in ``text``, or raise :class:`UsageError`."""
        key, domain = _parse_qualified(text, "A lease id")
        return cls(LeaseKey(key), domain)


def _parse_qualified(text: str, what: str) -> tuple[str, Domain]:
    key, _, domain = text.partition("@")
    if not _HEX32.match(key) or not _DOMAIN.match(domain):
        raise UsageError(f"{what} looks like HEX@home.alice, with 32 hexadecimal digits.")
    return key, Domain(domain)


class GlobalId(NamedTuple):
    """A person or program across the federation: ``name@domain``."""

    name: str
    domain: Domain

    def __str__(self) -> str:
        return f"{self.name}@{self.domain}"

    @classmethod
    def parse(cls, text: str) -> GlobalId:
        """Return the global id in ``text``, or raise :class:`UsageError`."""
        name, at, domain = text.partition("@")
        if not at or not _USER.match(name):
            raise UsageError(f"Global id {text!r} must look like name@domain, in lower case.")
        return cls(name, parse_domain(domain))


class SpiffeId(NamedTuple):
    """The one name in a certificate: ``spiffe://<trust domain>/<role>[/<rest>]``.

    ``name`` is empty for a coordinator, the id for a node or a bootstrap, ``<domain>/<name>`` for
    a user.  Source: SPIFFE-ID 1.0.
    """

    trust_domain: Domain
    role: SpiffeRole
    name: str = ""

    def __str__(self) -> str:
        tail = f"/{self.name}" if self.name else ""
        return f"spiffe://{self.trust_domain}/{self.role}{tail}"

    @classmethod
    def coordinator(cls, domain: Domain) -> SpiffeId:
        """Return the id of the coordinator of ``domain``."""
        return cls(domain, "coordinator")

    @classmethod
    def node(cls, domain: Domain, node: NodeId) -> SpiffeId:
        """Return the id of one node of ``domain``."""
        return cls(domain, "node", node)

    @classmethod
    def bootstrap(cls, domain: Domain, name: str) -> SpiffeId:
        """Return the id of one bootstrap listener of ``domain``."""
        return cls(domain, "bootstrap", name)

    @classmethod
    def user(cls, domain: Domain, who: GlobalId) -> SpiffeId:
        """Return the id under which member ``domain`` knows ``who``."""
        return cls(domain, "user", f"{who.domain}/{who.name}")

    @classmethod
    def named(cls, text: str, domain: Domain) -> SpiffeId:
        """Return whom ``text`` names at member ``domain``: by SPIFFE id, or a user by global id."""
        if text.startswith("spiffe://"):
            return cls.parse(text)
        return cls.user(domain, GlobalId.parse(text))

    @property
    def node_id(self) -> NodeId:
        """The node id; raises :class:`UsageError` for any other role."""
        if self.role != "node":
            raise UsageError(f"{self} is not a node.")
        return NodeId(self.name)

    @property
    def global_id(self) -> GlobalId | None:
        """The global id of a user, else None."""
        if self.role != "user":
            return None
        domain, _, name = self.name.partition("/")
        return GlobalId(name, Domain(domain))

    @property
    def shown(self) -> str:
        """How people are told of it, and mostly type it: ``bob@home.alice``, ``node alice-node-01``.

        No two ids of one member are shown alike; a user's is the only one with an ``@``.
        """
        match self.role:
            case "user":
                return str(self.global_id)
            case "coordinator":
                return f"the operator of {self.trust_domain}"
            case role:
                return f"{role} {self.name}"

    def as_receiver(self, own: Domain) -> str:
        """Return how a grant to it is written at the member of ``own``: ``una@home.bob``, ``@home.bob``."""
        if self.role == "coordinator":
            return f"@{self.trust_domain}"
        who = self.global_id
        if who is None or self.trust_domain in {own, who.domain}:
            return self.shown
        return f"{who} via {self.trust_domain}"

    @classmethod
    def parse(cls, text: str) -> SpiffeId:
        """Return the SPIFFE id in ``text``; only the forms this product issues are accepted."""
        scheme = "spiffe://"
        if not text.startswith(scheme):
            raise UsageError("A SPIFFE id begins with spiffe://.")
        domain_text, _, path = text[len(scheme) :].partition("/")
        domain = parse_domain(domain_text)
        match path.split("/"):
            case ["coordinator"]:
                return cls.coordinator(domain)
            case ["node", node]:
                return cls.node(domain, parse_node_id(node))
            case ["bootstrap", name]:
                return cls.bootstrap(domain, parse_node_id(name))
            case ["user", home, name]:
                return cls.user(domain, GlobalId.parse(f"{name}@{home}"))
            case _:
                raise UsageError(f"SPIFFE id {text!r} names no role of this product.")


def shown_principal(identity: str) -> str:
    """Return the text of a SPIFFE id as people are told of it, and any other text unchanged."""
    try:
        return SpiffeId.parse(identity).shown
    except UsageError:
        return identity


def shown_principals(text: str) -> str:
    """Return ``text`` with each SPIFFE id in it as people are told of it."""
    return _SPIFFE.sub(lambda found: shown_principal(found[0]), text)
