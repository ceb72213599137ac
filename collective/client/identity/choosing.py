"""Which joined collective a word means.

Pure.  Members choose the name, member id and domain that a client keeps of them, so a word counts
only where it is one collective's alone: none can pass for another.
"""

from __future__ import annotations

from collections.abc import Sequence

from collective.client.identity.documents import JoinedCollective
from collective.core.errors import NotJoinedError, UsageError


def find(joined: Sequence[JoinedCollective], wanted: str) -> JoinedCollective:
    """Return the one of ``joined`` that ``wanted`` (a name, member id or domain) means.

    A word never means one collective where it is a word of another as well, whichever came first.

    Raises NotJoinedError if none has that word, UsageError if several do.
    """
    found = [one for one in joined if one.answers_to(wanted)]
    if len(found) > 1:
        ways = " or ".join(_way_to(one, joined) for one in found)
        raise UsageError(f"{wanted!r} may mean several collectives here: say {ways}.")
    if not found:
        raise NotJoinedError(
            f"No collective {wanted!r} is joined here; see 'collective identity"
            " list-collectives', or join it: collective invite redeem CODE"
        )
    return found[0]


def only(joined: Sequence[JoinedCollective]) -> JoinedCollective:
    """Return the one that is joined, where none is current; NotJoinedError if not exactly one."""
    if not joined:
        raise NotJoinedError(
            "You need to join via invite first: collective invite redeem CODE"
            " (or give --ca, --cert and --key)."
        )
    if len(joined) > 1:
        raise NotJoinedError(
            "No collective is current; choose one: collective identity switch NAME"
            f" (joined: {', '.join(one.name for one in joined)})."
        )
    return joined[0]


def _way_to(wanted: JoinedCollective, joined: Sequence[JoinedCollective]) -> str:
    """Return a word that means ``wanted`` alone, with its domain."""
    for word in (wanted.name, wanted.domain, wanted.member):
        if not any(one.answers_to(word) for one in joined if one.name != wanted.name):
            return word if word == wanted.domain else f"{word} ({wanted.domain})"
    return f"(after leaving the others) {wanted.name}"
