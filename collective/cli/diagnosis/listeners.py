"""What a look at an address means, by what should be there."""

from __future__ import annotations

from typing import Final

from collective.cli.diagnosis.findings import Finding, fine, problem
from collective.core.errors import ExitCode, UnreachableError
from collective.core.units import Address
from collective.rpc.client import probing
from collective.rpc.client.metrics_page import ask
from collective.rpc.client.probing import Answer, Seen

_STARTED: Final = (
    "is it started there (systemctl status, docker compose ps), and is the port right?"
)


async def coordinator_at(address: Address, domain: str) -> Finding:
    """See what answers where a coordinator of ``domain`` should."""
    seen = await probing.look(address)
    if seen.answer is Answer.MEMBER and seen.certified is not None:
        identity = seen.certified.identity
        if identity.role != "coordinator":
            return problem(
                "reachable",
                f"{address} is a {identity.role} of {identity.trust_domain}, and no coordinator.",
                "give the coordinator's address (port 8001 unless it was changed)",
                ExitCode.CORRUPT,
            )
        if str(identity.trust_domain) != domain:
            return problem(
                "reachable",
                f"{address} is the coordinator of {identity.trust_domain}, and not of {domain}.",
                "give the address of your own coordinator, or choose with --collective NAME",
                ExitCode.CORRUPT,
            )
        return fine("reachable", f"{address} answers in {seen.latency_ms:.0f} ms.")
    return await _not_it(address, seen)


async def _not_it(address: Address, seen: Seen) -> Finding:
    check, code = "reachable", ExitCode.NOT_REACHABLE
    match seen.answer:
        case Answer.REFUSED:
            says = f"{address} refuses connections: that machine is there, and nothing listens."
            advice = _STARTED
        case Answer.SILENT:
            says = f"{address} says nothing: the machine is off, or a firewall or NAT drops it."
            advice = (
                f"open and forward port {address.port} there; over the internet, use a VPN that both"
                " have joined, or the address outside of the NAT"
            )
        case Answer.UNKNOWN_NAME:
            says = f"The name {address.host} does not resolve here."
            advice = "use an IP address, or mend DNS or /etc/hosts"
        case Answer.MUTE:
            says = f"{address} accepts connections and answers nothing: the process there hangs?"
            advice = "have its operator restart it"
        case Answer.NO_TLS:
            return await _without_tls(address)
        case Answer.OTHER_TLS:
            says = f"What answers at {address} speaks TLS, and is no part of a member."
            advice = "give the coordinator's address and port"
        case _:
            says = f"{address} cannot be reached: {seen.why}."
            advice = "look at this machine's network and routes"
    return problem(check, says, advice, code)


async def _without_tls(address: Address) -> Finding:
    try:
        status, _ = ask(address, "/healthz", timeout_s=probing.TIMEOUT_S)
        is_metrics = status == 200  # noqa: PLR2004 - OK of HTTP
    except UnreachableError:
        is_metrics = False
    if is_metrics:
        says = f"{address} is a metrics listener, which serves monitoring alone."
        advice = "give the coordinator's own port (8001 unless it was changed)"
    else:
        says = (
            f"What answers at {address} ends the handshake: every call needs TLS and a certificate."
        )
        advice = "give the coordinator's own port, or see its log for why it refuses"
    return problem("reachable", says, advice, ExitCode.NOT_REACHABLE)
