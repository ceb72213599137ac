"""Sizes, durations and addresses as people write them."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from collective.core.errors import UsageError

_SIZE: Final = r"(\d+(?:\.\d+)?)\s*([kmgtp]?)(i?)b?\Z"
"""Compiled where it is used, as the others: most commands parse none."""
_POWER: Final = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5}
_DURATION: Final = r"(?:\d+(?:\.\d+)?(?:ms|s|m|h|d|w))+\Z"
_DURATION_PART: Final = r"(\d+(?:\.\d+)?)(ms|s|m|h|d|w)"
_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_PORT_MAX: Final = 65535
_PORT_MAX_DIGITS: Final = 5
_HOST_MAX_CHARS: Final = 253
_LABEL_MAX_CHARS: Final = 63
_VALIDITY_MOST_S: Final = 36_500 * 86_400.0


def parse_size(text: str) -> int:
    """Return bytes for ``1048576``, ``512MiB`` (1024s) or ``20TB`` (1000s); UsageError otherwise."""
    found = re.match(_SIZE, text.strip(), re.IGNORECASE)
    if not found:
        raise UsageError(f"Size {text!r} must be bytes or like 512MiB or 20TB.")
    number, unit, binary = found.groups()
    base = 1024 if binary else 1000
    return int(float(number) * base ** _POWER[unit.lower()]) if unit else int(float(number))


def parse_duration_s(text: str) -> float:
    """Return seconds for ``24h``, ``7d``, ``1h30m`` or ``500ms``; UsageError otherwise."""
    text = text.strip().lower()
    if not re.match(_DURATION, text):
        raise UsageError(f"Duration {text!r} must be like 30m, 24h or 7d.")
    return sum(float(n) * _SECONDS[unit] for n, unit in re.findall(_DURATION_PART, text))


def parse_validity_s(text: str) -> float:
    """Return seconds for how long something is valid: longer than 0, at most 100 years."""
    seconds = parse_duration_s(text)
    if not 0 < seconds <= _VALIDITY_MOST_S:
        raise UsageError(f"Validity {text!r} must be more than 0 and at most 36500d, like 24h.")
    return seconds


def format_count(number: int, what: str) -> str:
    """Return a number of things as a person says it: ``1 node``, ``2 nodes``."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def format_size(size_bytes: float) -> str:
    """Return ``size_bytes`` for people: ``0 B``, ``1.5 MiB``."""
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if size_bytes < 1024 or unit == "TiB":  # noqa: PLR2004 - the base of the units themselves
            return f"{size_bytes:.0f} {unit}" if unit == "B" else f"{size_bytes:.1f} {unit}"
        size_bytes /= 1024
    raise AssertionError


def format_duration(duration_s: float) -> str:
    """Return ``duration_s`` as :func:`parse_duration_s` reads it, in its largest whole unit."""
    for unit in ("d", "h", "m"):
        if duration_s and duration_s % _SECONDS[unit] == 0:
            return f"{duration_s / _SECONDS[unit]:g}{unit}"
    return f"{duration_s:g}s"


def can_be_host(host: str) -> bool:
    """Tell whether ``host`` is an IP address or has the form of a name (RFC 1035, RFC 5890).

    A resolver raises UnicodeError for anything else instead of not finding it.
    """
    try:
        labels = (host if host.isascii() else host.encode("idna").decode()).split(".")
    except UnicodeError:
        return False
    if len(labels) > 1 and not labels[-1]:
        labels.pop()  # the root, as in 'nas.local.'
    fits = all(0 < len(label) <= _LABEL_MAX_CHARS for label in labels)
    return fits and sum(map(len, labels)) + len(labels) - 1 <= _HOST_MAX_CHARS


class Address(NamedTuple):
    """A host and a TCP port; IPv6 hosts are kept without brackets."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_wildcard(self) -> bool:
        """Whether it stands for every interface of a machine that listens."""
        return self.host in {"0.0.0.0", "::", ""}  # noqa: S104 - compared, not bound

    @property
    def near(self) -> Address:
        """Where the machine that listens on this reaches itself."""
        if not self.is_wildcard:
            return self
        return Address("::1" if self.host == "::" else "127.0.0.1", self.port)

    @property
    def is_loopback(self) -> bool:
        """Whether only the machine that listens on it can mean it."""
        return self.host in {"localhost", "::1"} or self.host.startswith("127.")

    @classmethod
    def parse(cls, text: str, *, default_port: int | None = None) -> Address:
        """Return the address in ``HOST:PORT``, ``[V6]:PORT`` or (with a default) ``HOST``.

        UsageError for any other form, and for a host that no name can be.
        """
        address = cls.parse_stored(text, default_port=default_port)
        if not can_be_host(address.host):
            raise UsageError(
                f"Address {text!r} must name a host: labels of 1 to {_LABEL_MAX_CHARS} characters,"
                " separated by single dots."
            )
        return address

    @classmethod
    def parse_stored(cls, text: str, *, default_port: int | None = None) -> Address:
        """As :meth:`parse`, for what is stored or signed already, whose host is kept as it is.

        One that no name can be is not found when it is dialled, and the others beside it count.
        """
        text = text.strip()
        host, port_text = text, ""
        if text.startswith("["):
            host, bracket, rest = text[1:].partition("]")
            if not bracket or (rest and not rest.startswith(":")):
                raise UsageError(f"Address {text!r} must be HOST:PORT.")
            port_text = rest[1:]
        elif text.count(":") == 1:
            host, _, port_text = text.partition(":")
        if any(char in host for char in "[]/@") or not host.isprintable() or " " in host:
            raise UsageError(f"Address {text!r} must be HOST:PORT.")
        if not host and text.startswith(":"):
            host = "0.0.0.0"  # noqa: S104 - ':8001' means every interface, as the user asked
        if not port_text and default_port is not None:
            return cls(host, default_port)
        is_number = port_text.isdecimal() and len(port_text) <= _PORT_MAX_DIGITS
        if not host or not is_number or int(port_text) > _PORT_MAX:
            raise UsageError(f"Address {text!r} must be HOST:PORT.")
        return cls(host, int(port_text))


def parse_addresses(text: str, *, default_port: int | None = None) -> tuple[Address, ...]:
    """Return the addresses of a list separated by commas or blanks; empty text gives ``()``."""
    return tuple(
        Address.parse(part, default_port=default_port) for part in re.split(r"[,\s]+", text) if part
    )
