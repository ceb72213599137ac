"""A member as its status tells of it: warnings, nodes, peers, codes left; and what a path needs."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Sequence
from typing import Final

from collective import __version__
from collective.cli.diagnosis.findings import Finding, fine, problem, warning
from collective.cli.diagnosis.installation import version_findings
from collective.client.collective import Collective
from collective.core import limits
from collective.core.errors import CollectiveError, ExitCode, NotFoundError
from collective.core.paths import FilePath
from collective.core.units import Address
from collective.model.nodes import ShownState
from collective.model.peers import PeerFacts, PeerState, Reach
from collective.model.status import Status
from collective.rpc.client import probing
from collective.rpc.client.probing import Answer

CODE_USES_FEW: Final = 3
CODE_SOON_S: Final = 3 * 86_400.0
_LOOK_S: Final = 0.5
_LOOKS_MAX: Final = round((limits.NODE_DOWN_AFTER_S + limits.HEARTBEAT_INTERVAL_S) / _LOOK_S)
_WHAT_TO_DO: Final = {
    Reach.NOT_REACHED: (
        "behind NAT, forward the coordinator's port and advertise the address outside; over the internet"
        " use a VPN that both have joined, and advertise its address (advertise_address, reload); its"
        " operator sees the exact reason: collective peer show"
    ),
    Reach.OTHER_AUTHORITY: (
        "advertise an address that leads to this coordinator (advertise_address, reload); after its CA was"
        " made anew, peer again: collective peer invite"
    ),
    Reach.CLOCKS_DIFFER: "use NTP on both machines; then see: collective status",
}
_SEE_STATUS: Final = "do what it says, and look again: collective status"


async def settled_status(collective: Collective) -> Status:
    """Return the status, once it tells of each node whether it is up: one may have joined just now.

    A node of which that is not known yet is waited for until it must have been heard, or is down.
    """
    status = await collective.status()
    for _ in range(_LOOKS_MAX):
        if all(node.state is not ShownState.SUSPECT for node in status.nodes):
            break
        await asyncio.sleep(_LOOK_S)
        status = await collective.status()
    return status


def of_status(status: Status, now_s: float) -> list[Finding]:
    """Return what the status says, as findings."""
    found = version_findings(status.version)
    found += [warning("member", one, _SEE_STATUS) for one in status.warnings]
    found += _nodes(status)
    found += _peers(status)
    code = status.node_code
    if code is not None:
        found.append(_code(code.uses_left, code.expires_ms / 1000 - now_s))
    health = status.totals.health
    if health is not None and health.unavailable:
        found.append(
            problem(
                "chunks",
                f"{health.unavailable} chunks have no copy that can be read now.",
                "bring the nodes back that are down",
                ExitCode.NOT_ENOUGH,
            )
        )
    return found


def _nodes(status: Status) -> list[Finding]:
    found = []
    for node in status.nodes:
        if node.is_healthy:
            continue
        found.append(
            problem(
                "node",
                f"Node {node.node} is {node.state.value}.",
                "on its machine: collective doctor --config /etc/collective/node.toml",
                ExitCode.NOT_ENOUGH,
            )
        )
    old = [one.node for one in status.nodes if one.version and one.version != status.version]
    if old:
        found.append(
            warning(
                "version",
                f"Not of the coordinator's version {status.version}: {', '.join(old)}.",
                "update and restart them, one after the other",
            )
        )
    if not found and status.nodes:
        found.append(fine("node", f"Nodes that are healthy: all {len(status.nodes)}."))
    return found


def _peers(status: Status) -> list[Finding]:
    found = [
        problem(
            "peer",
            f"The peer {one.domain} is away: {one.address} does not answer.",
            f"ask its operator; nothing of your own waits for it (collective peer show {one.domain})",
            ExitCode.NOT_REACHABLE,
        )
        for one in status.peers
        if not one.is_healthy
    ]
    if not found and status.peers:
        found.append(fine("peer", f"Peers that answer: all {len(status.peers)}."))
    return found


def _code(uses_left: int, left_s: float) -> Finding:
    if uses_left < CODE_USES_FEW or left_s < CODE_SOON_S:
        return warning(
            "node-code",
            f"The node join code has {uses_left} uses left, for {max(0.0, left_s) / 86_400:.0f} days.",
            "make another where nodes are to come: collective invite generate --for node",
        )
    return fine("node-code", f"The node join code has {uses_left} uses left.")


async def direct_reach(status: Status) -> list[Finding]:
    """See which nodes this machine reaches itself; what goes to the others passes the coordinator."""
    far = []
    for node in status.nodes:
        if not node.is_healthy or not node.address:
            continue
        seen = await probing.look(Address.parse_stored(node.address), timeout_s=1.0)
        if seen.answer is not Answer.MEMBER:
            far.append(f"{node.node} at {node.address}")
    if not far:
        return []
    return [
        warning(
            "route",
            f"Not reached from this machine: {', '.join(far)}; their bytes pass the coordinator.",
            "that works, and is slower; where nodes are in a network of their own (Docker, another"
            " house), advertise mapped ports or a VPN's addresses to go directly",
        )
    ]


async def for_path(collective: Collective, text: str, status: Status) -> list[Finding]:
    """See what stands between the caller and a path: a peer, a parent directory, a grant."""
    path = FilePath.parse(text)
    domain = path.peer_domain
    if domain is not None and str(domain) not in {one.domain for one in status.peers}:
        known = ", ".join(one.domain for one in status.peers) or "nobody yet"
        return [
            problem(
                "path",
                f"{domain} is no peer of {status.domain}, which is peered with {known}.",
                f"the operators peer: collective peer invite {domain}, and there: collective peer"
                " accept CODE",
                ExitCode.NOT_FOUND,
            )
        ]
    missing: list[FilePath] = []
    here = path
    while not here.is_root:
        try:
            entry = await collective.stat(str(here))
        except NotFoundError:
            missing.append(here)
            here = here.parent
        except CollectiveError as error:
            advice = "ask the operator: collective grant add PATH:RIGHT NAME@DOMAIN"
            return [problem("path", error.message, advice, error.exit_code)]
        else:
            if missing and entry.kind.is_leaf:
                says = f"{here} is a file, so nothing can lie in it."
                return [problem("path", says, "choose another path", ExitCode.CONFLICT)]
            break
    if len(missing) > 1:
        parent = missing[1]
        return [
            problem(
                "path",
                f"Parent directory does not exist: {parent}.",
                f"create it first: collective mkdir -p {parent}",
                ExitCode.NOT_FOUND,
            )
        ]
    if missing:
        return [fine("path", f"{path} does not exist yet, and its parent does: it can be written.")]
    return [fine("path", f"{path} is there.")]


def invite_finding(state: str, uses_left: int, expires_ms: int) -> Finding:
    """Return what the member's own list says of an invite."""
    if state == "open":
        return fine("code", f"The code is open: {uses_left} uses left.")
    until = f"{dt.datetime.fromtimestamp(expires_ms / 1000, dt.UTC):%Y-%m-%d %H:%MZ}"
    said = {"used up": "is used up", "expired": f"expired on {until}", "revoked": "was revoked"}
    return problem(
        "code",
        f"Invalid invite code: it {said.get(state, f'is {state}')}.",
        "codes are for one use unless --max-uses says more; make another: collective invite generate",
        ExitCode.CONFLICT,
    )


def of_peers(peers: Sequence[PeerFacts]) -> list[Finding]:
    """Return what peers say of reaching this member, and their versions; for admins."""
    active = [one for one in peers if one.state is PeerState.ACTIVE]
    found = [_reached_from(one) for one in active if one.reach is not None]
    return [*found, *_peer_versions([(one.domain, one.version) for one in active])]


def _reached_from(one: PeerFacts) -> Finding:
    """Return whether a peer reaches this member from where it is."""
    assert one.reach is not None
    if one.reach.is_reached:
        return fine("reachable-from", f"{one.domain} reaches this member.")
    return problem(
        "reachable-from",
        f"{one.domain} does not reach this member. {one.reach.why}",
        _WHAT_TO_DO[one.reach],
        ExitCode.NOT_REACHABLE,
    )


def _peer_versions(peers: Sequence[tuple[str, str]]) -> list[Finding]:
    other = [f"{domain} ({version})" for domain, version in peers if version != __version__]
    if not other:
        return []
    text = f"Peers of another version than {__version__}: {', '.join(other)}."
    return [warning("version", text, "they work together; see the changelog for what is new")]
