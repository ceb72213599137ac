"""The committed descriptor set as reflection reads it."""

from __future__ import annotations

import pytest

from collective.rpc.server.descriptors import read_descriptor_set
from collective.rpc.server.reflection import load_descriptors


def test_symbols_of_all_kinds_are_found() -> None:
    symbols = {symbol for file in load_descriptors() for symbol in file.symbols}
    assert {
        "collective.v1.files.Files",
        "collective.v1.streams.Streams.Read",
        "collective.v1.Entry",
        "collective.v1.Entry.path",
        "grpc.health.v1.HealthCheckResponse.ServingStatus",
    } <= symbols


def test_every_import_is_in_the_set() -> None:
    files = load_descriptors()
    assert {name for file in files for name in file.imports} <= {file.name for file in files}


def test_truncated_set_is_refused() -> None:
    with pytest.raises(ValueError, match="cut short"):
        read_descriptor_set(b"\x0a\x7f\x0a")
