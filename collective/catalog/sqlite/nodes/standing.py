"""What the word of a node is worth: founding, enrolment, approval, doubt."""

from __future__ import annotations

from typing import Final

from collective.catalog.decisions.generations import first_of_new
from collective.catalog.decisions.standing import approves, unknown_node
from collective.catalog.sqlite.store import rows
from collective.catalog.sqlite.store.writer import Transaction
from collective.core.ids import NodeId
from collective.core.randomness import Randomness
from collective.model.calls import Call
from collective.model.nodes import Approval, Standing
from collective.model.people import Invite
from collective.placement.evidence import standing_at_enrolment

FOUNDING_MS: Final = 24 * 3600 * 1000
"""How long after its catalogue was made a member is being founded, while it has no file."""


def begin_catalogue(tx: Transaction, randomness: Randomness) -> None:
    """Let founding begin in a catalogue that was just made, and its generations at a random number."""
    if tx.value("SELECT founding_until_ms FROM state") is not None:
        return
    first = first_of_new(randomness.token(8))
    tx.skip_numbers(first - tx.given_generations, 0)
    tx.run(
        "UPDATE state SET founding_until_ms = ?, first_generation = ?",
        tx.now_ms + FOUNDING_MS,
        first,
    )


def is_founding(tx: Transaction) -> bool:
    """Tell whether the member is being founded: no file was committed, and it is not a day old."""
    until_ms = tx.value("SELECT founding_until_ms FROM state")
    return not tx.has_versions and until_ms is not None and tx.now_ms < until_ms


def record_enrolment(
    tx: Transaction, node: NodeId, serial: str, expires_ms: int, code: Invite
) -> None:
    """Write the record of a node that is given a certificate by ``code``, with its standing.

    One that is there keeps the rest; a code that approves ends its probation, and no code a doubt.
    The audit has it as the redemption of a code.
    """
    founding = is_founding(tx)
    standing = standing_at_enrolment(is_founding=founding, is_approving_code=code.approves)
    reason = "" if standing is Standing.APPROVED else f"it enrolled by the code {code.id}"
    tx.run(
        "INSERT INTO nodes (name, store_uuid, capacity, used, chunk_count, addresses, last_seen_ms,"
        " draining, removed, serial, expires_ms, standing, standing_reason, is_new, is_founder)"
        " VALUES (?,NULL,0,0,0,'[]',0,0,0,?,?,?,?,1,?)"
        " ON CONFLICT (name) DO UPDATE SET serial = excluded.serial,"
        " expires_ms = excluded.expires_ms",
        node,
        serial,
        expires_ms,
        standing.value,
        reason,
        int(founding),
    )
    if standing is Standing.APPROVED:
        tx.run(
            "UPDATE nodes SET standing = 'approved', standing_reason = ''"
            " WHERE name = ? AND standing = 'probation'",
            node,
        )


def doubt_node(tx: Transaction, node: NodeId, reason: str) -> bool:
    """Put a node in doubt for what no honest node says; return whether that is new.

    Its copies count for nothing from now on, and nothing is placed there.

    Args:
        tx: the transaction that learnt of it.
        node: one that is doubted already keeps its first reason; one that was removed stays so.
        reason: a clause that goes on "Node X is doubted: …".
    """
    standing = tx.value("SELECT standing FROM nodes WHERE name = ? AND removed = 0", node)
    if standing is None or standing == Standing.DOUBTED.value:
        return False
    tx.run(
        "UPDATE nodes SET before_doubt = standing, standing = ?, standing_reason = ?"
        " WHERE name = ?",
        Standing.DOUBTED.value,
        reason,
        node,
    )
    rows.raise_trust_epoch(tx, node)
    tx.deltas.doubts += 1
    tx.audit_of("coordinator", "node-doubt", node, reason)
    return True


def approve_node(tx: Transaction, actor: Call, node: NodeId, *, even_doubted: bool) -> Approval:
    """Approve a node, and note that it was seen; return what it was."""
    row = tx.one(
        "SELECT standing, is_new, removed, standing_reason FROM nodes WHERE name = ?", node
    )
    if row is None or row[2]:
        raise unknown_node(node)
    found = Approval(node, Standing(row[0]), bool(row[1]))
    if approves(found, row[3], even_doubted=even_doubted):
        tx.run(
            "UPDATE nodes SET standing = ?, standing_reason = '', before_doubt = '', is_new = 0"
            " WHERE name = ?",
            Standing.APPROVED.value,
            node,
        )
        tx.audit(actor, "node-approve", node, f"was {found.was.value}")
    return found
