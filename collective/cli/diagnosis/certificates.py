"""Certificates and keys on this machine: there, fitting, of the member's CA, valid now, for how long."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

from collective.cli.diagnosis.findings import Finding, fine, problem, warning
from collective.core.disk import Disk
from collective.core.errors import CollectiveError, ExitCode
from collective.pki.certificates import Certified, is_signed_by
from collective.pki.credentials import load_credentials
from collective.pki.renewal_times import is_due


def pair(
    whose: str, paths: tuple[str, str, str], *, now_s: float, disk: Disk, renew: str
) -> tuple[list[Finding], Certified | None]:
    """Look at a certificate, its key and its CA; ``renew`` says how one gets another.

    Returns what was found, and what the certificate says where it could be read.
    """
    certificate, key, authority = paths
    try:
        found = load_credentials(certificate, key, authority, disk=disk)
    except CollectiveError as error:
        return [problem("certificate", f"{whose}: {error.message}", renew, ExitCode.CORRUPT)], None
    if not any(is_signed_by(found.certificate, one) for one in found.trusted):
        text = f"{whose}: {certificate} is not signed by the CA in {authority}."
        return [problem("certificate", text, renew, ExitCode.CORRUPT)], found.certified
    return validity(whose, found.certified, now_s=now_s, renew=renew), found.certified


def validity(whose: str, certified: Certified, *, now_s: float, renew: str) -> list[Finding]:
    """Look at when a certificate counts."""
    if now_s < certified.not_before_s:
        return [
            problem(
                "certificate",
                f"{whose}: the certificate counts only from {_day(certified.not_before_s)}; here it is"
                f" {_day(now_s)}.",
                "set this machine's clock, and keep it right: timedatectl set-ntp true",
                ExitCode.CORRUPT,
            )
        ]
    if now_s >= certified.expires_s:
        text = f"{whose}: the certificate ran out on {_day(certified.expires_s)}."
        return [problem("certificate", text, renew, ExitCode.CORRUPT)]
    until = (
        f"{whose}: the certificate of {certified.identity} counts until {_day(certified.expires_s)}"
    )
    if is_due(certified, now_s):
        return [
            warning(
                "certificate",
                f"{until}, and should have been renewed by now.",
                "start the process: it renews by itself once its coordinator answers",
            )
        ]
    return [fine("certificate", f"{until}.")]


def own_addresses(certified: Certified, told: Sequence[object]) -> list[Finding]:
    """See whether a coordinator's certificate carries the addresses that its settings tell."""
    shown, wanted = [str(one) for one in certified.addresses], [str(one) for one in told]
    if not wanted or shown == wanted:
        return []
    return [
        warning(
            "certificate",
            f"The coordinator's certificate names {', '.join(shown)}; the settings say"
            f" {', '.join(wanted)}.",
            "have the settings read again: systemctl reload (or SIGHUP), or restart it",
        )
    ]


def _day(unix_s: float) -> str:
    return f"{dt.datetime.fromtimestamp(unix_s, dt.UTC):%Y-%m-%d %H:%MZ}"
