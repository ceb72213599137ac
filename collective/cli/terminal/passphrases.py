"""Passphrases of keys: taken from a variable, else asked for on the terminal."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from collective.cli.terminal.interrupts import ending_in_order
from collective.core.errors import UsageError

if TYPE_CHECKING:
    from collective.core.disk import Disk

PASSPHRASE_VARIABLE: Final = "COLLECTIVE_PASSPHRASE"  # noqa: S105 - a name, not a secret


def passphrase_of(key_path: str) -> Callable[[], bytes]:
    """Return what gives the passphrase of a key: $COLLECTIVE_PASSPHRASE, else the terminal."""

    def ask() -> bytes:
        given = os.environ.get(PASSPHRASE_VARIABLE)
        if given:
            return given.encode()
        if not sys.stdin.isatty():
            raise UsageError(f"Key {key_path} has a passphrase; set {PASSPHRASE_VARIABLE} to it.")
        return unseen(f"Passphrase of {key_path}: ").encode()

    return ask


def key_passphrase(key_path: str, disk: Disk) -> bytes | None:
    """Return the passphrase of a key file, None if it needs none."""
    from collective.pki.pem_files import is_encrypted_key  # noqa: PLC0415 - heavy

    return passphrase_of(key_path)() if is_encrypted_key(key_path, disk=disk) else None


def new_passphrase(*, is_wanted: bool) -> bytes | None:
    """Return the passphrase for a new key: the variable's, else asked for twice if wanted."""
    given = os.environ.get(PASSPHRASE_VARIABLE)
    if given:
        return given.encode()
    if not is_wanted:
        return None
    if not sys.stdin.isatty():
        raise UsageError(f"There is no terminal to ask on; set {PASSPHRASE_VARIABLE}.")
    first = unseen("Passphrase for the new key: ")
    if not first or first != unseen("The same again: "):
        raise UsageError("The passphrases are empty or differ; try again.")
    return first.encode()


def unseen(prompt: str) -> str:
    """Return what is typed at the terminal, which does not show it."""
    from getpass import getpass  # noqa: PLC0415 - only where it is asked for

    with ending_in_order():  # the terminal shows what is typed again
        return getpass(prompt)
