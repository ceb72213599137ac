"""What the word of a node is worth: founding, enrolment, approval."""

from __future__ import annotations

from collective.catalog.decisions.generations import first_of_new
from collective.catalog.decisions.standing import (
    FOUNDING_MS,
    approves,
    enrolment_by,
    is_founding,
    unknown_node,
)
from collective.catalog.sqlite.store.writer import Transaction
from collective.core.ids import NodeId
from collective.core.randomness import Randomness
from collective.model.calls import Call
from collective.model.nodes import Approval, Standing
from collective.model.people import Invite


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


def record_enrolment(
    tx: Transaction, node: NodeId, serial: str, expires_ms: int, code: Invite
) -> None:
    """Write the record of a node that is given a certificate by ``code``, with its standing.

    One that is there keeps the rest; a code that approves ends its probation, and no code a doubt.
    The audit has it as the redemption of a code.
    """
    until_ms = tx.value("SELECT founding_until_ms FROM state")
    is_early = is_founding(until_ms, tx.now_ms, has_files=tx.has_versions)
    standing, reason, is_founder = enrolment_by(code, is_founding=is_early)
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
        int(is_founder),
    )
    if standing is Standing.APPROVED:
        tx.run(
            "UPDATE nodes SET standing = 'approved', standing_reason = ''"
            " WHERE name = ? AND standing = 'probation'",
            node,
        )


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
