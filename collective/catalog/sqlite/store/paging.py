"""Pages of listings, bounded in bytes: whatever a listing holds, each answer fits into a message.

A page's token is the key of its last row, so a listing goes on correctly while rows come and go.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from collective.core.errors import UsageError
from collective.model.pages import Page

T = TypeVar("T")
TOKEN_MAX_CHARS = 16 * 1024

Key = Sequence[str | float]


def page_of(
    found: Iterable[T], *, weigh: Callable[[T], int], key: Callable[[T], Key], max_bytes: int
) -> Page[T]:
    """Return the first of ``found`` that have ``max_bytes`` together, and one at least.

    Args:
        found: in the order of the listing; no more is taken from it than goes into the page.
        weigh: bytes of one on the wire, or more.
        key: what :func:`parse_token` returns for the listing to go on after one.
        max_bytes: of a page.
    """
    page: Page[T] = Page()
    size = 0
    for one in found:
        size += weigh(one)
        if page and size > max_bytes:
            page.next_token = _token(key(page[-1]))
            break
        page.append(one)
    return page


def parse_token(token: str, *kinds: type | tuple[type, ...]) -> tuple[Any, ...] | None:
    """Return the key in a token, which has fields of ``kinds``; None for none, else UsageError."""
    if not token:
        return None
    try:
        key = json.loads(base64.urlsafe_b64decode(token[:TOKEN_MAX_CHARS].encode()))
    except (binascii.Error, ValueError, RecursionError) as error:
        raise _malformed() from error
    if not isinstance(key, list) or len(key) != len(kinds):
        raise _malformed()
    if not all(isinstance(one, kind) for one, kind in zip(key, kinds, strict=True)):
        raise _malformed()
    return tuple(key)


def _token(key: Key) -> str:
    return base64.urlsafe_b64encode(json.dumps(list(key)).encode()).decode()


def _malformed() -> UsageError:
    return UsageError("The page token is malformed; begin the listing again.")
