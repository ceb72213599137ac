"""What calls carry beside their messages: the request id, the time, and a hint to a newer CA.

The request id of a running operation goes with every call made from it, over all hops, and into the logs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

from collective.core.randomness import Randomness

REQUEST_ID_KEY: Final = "x-request-id"
NEWEST_AUTHORITY_KEY: Final = "x-collective-newest-ca"
"""Initial metadata of answers while a CA is being replaced: SHA-256 (hex) of the new one's key."""
SERVER_TIME_KEY: Final = "x-collective-time-ms"
"""Initial metadata of a health check's answer: the server's clock, Unix milliseconds, for people to compare with.

No table of headers can keep what changes with each answer; so no other answer has it."""
LEAF_DIGEST_KEY: Final = "x-collective-leaf-sha256"
"""What a bootstrap adds to a join: SHA-256 (hex) of the leaf that it showed the joiner."""
SOURCE_KEY: Final = "x-collective-source"
"""What a bootstrap adds to a join: the host that the joiner came from."""
PRINCIPAL_KEY: Final = "x-collective-principal"
"""What a member's coordinator adds to a call that it forwards to a peer: the SPIFFE id of who calls."""
_REQUEST_ID: Final = r"[A-Za-z0-9._-]{1,64}"

_request_id: ContextVar[str | None] = ContextVar("collective_request_id", default=None)


def enter(request_id: str) -> None:
    """Let the running task's calls carry ``request_id``."""
    _request_id.set(request_id)


def current_request_id() -> str | None:
    """Return the request id that outgoing calls will carry, if one was set."""
    return _request_id.get()


@contextmanager
def operation(randomness: Randomness) -> Iterator[str]:
    """Give all calls made inside one request id: the one that is set, else a fresh one; yield it."""
    before = _request_id.get()
    name = before or new_request_id(randomness)
    _request_id.set(name)
    try:
        yield name
    finally:
        _request_id.set(before)


def new_request_id(randomness: Randomness) -> str:
    """Return a fresh id of 16 hex digits; it names, it protects nothing."""
    return randomness.token(8).hex()


def request_id_from(text: object, randomness: Randomness) -> str:
    """Return the peer's request id if it is well formed, else a fresh one."""
    if isinstance(text, str) and re.fullmatch(_REQUEST_ID, text):
        return text
    return new_request_id(randomness)
