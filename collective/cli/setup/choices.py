"""What is asked for a coordinator and for a node, with defaults that suit a machine at home."""

from __future__ import annotations

import ipaddress
import platform
import posixpath
import re
from collections.abc import Collection, Mapping
from typing import Final

from collective.cli.setup.questions import Check, Questions
from collective.cli.unit_files import check_folder
from collective.core.errors import UsageError
from collective.core.ids import parse_domain, parse_member_id
from collective.core.settings import SETTINGS
from collective.core.units import Address
from collective.rpc.client.own_addresses import own_address

COORDINATOR_PORT: Final = 8001
BOOTSTRAP_PORT: Final = 9001
NODE_PORT: Final = 8101
METRICS: Final = "127.0.0.1:9090"
NODE_METRICS: Final = "127.0.0.1:9091"
"""Another port than a coordinator's: both may run on one machine."""
_EVERYWHERE: Final = "0.0.0.0"  # noqa: S104 - a server listens on every interface
_MEMBER_MAX: Final = 20

Given = Mapping[str, str | None]
"""Name of a setting to what its flag said; ``address`` is the host that others find the machine by."""


def require_used(given: Given, roles: Collection[str]) -> None:
    """Return if each flag that was given means something to a process of ``roles``; raises UsageError."""
    for setting in SETTINGS:
        if given.get(setting.name) is not None and setting.roles.isdisjoint(roles):
            flag = f"--{setting.name.replace('_', '-')}"
            raise UsageError(f"{flag} means nothing to a {'+'.join(roles)}; leave it out.")


def coordinator(questions: Questions, given: Given, *, is_node: bool) -> dict[str, str]:
    """Return the settings of a coordinator, which may store chunks itself; raises UsageError."""
    member = questions.text(
        given["member_id"],
        "--member-id",
        "Your member id (lower-case letters, digits, dashes)",
        _member_here() if questions.is_asking or questions.takes_defaults else None,
        parse_member_id,
    )
    domain = questions.text(
        given["domain"],
        "--domain",
        "Its domain, for good (home.alice, alice.example.org)",
        f"{member}.collective.local",
        parse_domain,
    )
    host = _host(questions, given, "")
    chosen = {
        "member_id": member,
        "domain": domain,
        "coordinator_address": _listening(given, "coordinator_address", COORDINATOR_PORT),
        "bootstrap_address": _listening(given, "bootstrap_address", BOOTSTRAP_PORT),
    }
    chosen["advertise_address"] = _at(host, chosen["coordinator_address"])
    chosen["bootstrap_advertise_address"] = _at(host, chosen["bootstrap_address"])
    chosen["copies"] = questions.text(
        given["copies"],
        "--copies",
        "Copies of each piece of a file, on as many nodes" + (", this one included" * is_node),
        "1" if is_node else "3",
        _check("copies"),
    )
    if is_node:
        chosen["node_address"] = _listening(given, "node_address", NODE_PORT)
        chosen |= _capacity(questions, given)
    chosen["metrics_address"] = given["metrics_address"] or METRICS
    return chosen


def node(questions: Questions, given: Given, *, towards: str) -> dict[str, str]:
    """Return the settings of a node, whose coordinator is reached by way of the host ``towards``."""
    host = _host(questions, given, towards)
    chosen = {"node_address": _listening(given, "node_address", NODE_PORT)}
    chosen["advertise_address"] = _at(host, chosen["node_address"])
    if given["coordinator_address"]:
        _check("coordinator_address")(given["coordinator_address"])
        chosen["coordinator_address"] = given["coordinator_address"]
    chosen |= _capacity(questions, given)
    chosen["metrics_address"] = given["metrics_address"] or NODE_METRICS
    return chosen


def check_data_dir(given: Given) -> dict[str, str]:
    """Return where chunks and catalogue are to lie, where that was said."""
    told = given["data_dir"]
    if not told:
        return {}
    return {"data_dir": check_folder(posixpath.abspath(told))}


def _capacity(questions: Questions, given: Given) -> dict[str, str]:
    all_of_it = "all"

    def check(text: str) -> None:
        if text != all_of_it:
            _check("storage_capacity")(text)

    told = questions.text(
        given["storage_capacity"],
        "--storage-capacity",
        "How much of the disk may be used (500GB, 2TB, all that is free)",
        all_of_it,
        check,
    )
    return {} if told == all_of_it else {"storage_capacity": told}


def _host(questions: Questions, given: Given, towards: str) -> str:
    return questions.text(
        given["address"],
        "--address",
        "Where others find this machine (name or IP address)",
        own_address(towards) or platform.node(),
        _check_host,
    )


def _check_host(text: str) -> None:
    try:
        if ":" in text:
            ipaddress.IPv6Address(text)
        else:
            Address.parse(f"{text}:1")
        is_bare = True
    except (UsageError, ValueError):
        is_bare = False
    if not is_bare:
        raise UsageError(f"{text!r} is no name and no IP address; ports are said by themselves.")


def _listening(given: Given, setting: str, port: int) -> str:
    told = given[setting]
    if told is None:
        return f"{_EVERYWHERE}:{port}"
    _check(setting)(told)
    return told


def _at(host: str, listening: str) -> str:
    """Return where others find what listens: on one address only there, else at ``host``."""
    bound = Address.parse(listening)
    return str(Address(host, bound.port) if bound.is_wildcard else bound)


def _check(setting: str) -> Check:
    return next(one.parse for one in SETTINGS if one.name == setting)


def _member_here() -> str:
    """Return a member id after the machine's name."""
    name = re.sub(r"[^a-z0-9-]+", "-", platform.node().partition(".")[0].lower()).strip("-")
    return name[:_MEMBER_MAX].strip("-") or "home"
