"""Errors on the wire: every class survives, nothing internal leaks, junk is harmless."""

from __future__ import annotations

import pytest
from grpclib.const import Status
from grpclib.exceptions import GRPCError, StreamTerminatedError
from hypothesis import given
from hypothesis import strategies as st

from collective.core.errors import (
    CollectiveError,
    InternalError,
    NotFoundError,
    RejectedError,
    UnreachableError,
    error_classes,
)
from collective.rpc.errors import ERROR_KEY, from_grpc, from_metadata, to_metadata, to_status

CONCRETE = [cls for cls in error_classes().values() if cls is not CollectiveError]


@pytest.mark.parametrize("cls", CONCRETE, ids=lambda cls: cls.__name__)
def test_class_survives_the_wire(cls: type[CollectiveError]) -> None:
    error = cls("One sentence.")
    back = from_grpc(GRPCError(to_status(error), "x"), to_metadata(error, "r1"))
    assert type(back) is cls
    assert (back.message == "One sentence.") is (cls is not InternalError)


def test_internal_text_stays_here() -> None:
    back = from_metadata(to_metadata(InternalError("secret path"), "r1"))
    assert back is not None
    assert "secret" not in back.message
    assert "r1" in back.message


@given(st.binary(max_size=200))
def test_junk_detail_gives_an_error_or_none(raw: bytes) -> None:
    found = from_metadata({ERROR_KEY: raw})
    assert found is None or isinstance(found, CollectiveError)


@pytest.mark.parametrize(
    "error",
    [ConnectionResetError(), TimeoutError(), StreamTerminatedError("gone"), OSError(5, "I/O")],
)
def test_lost_connections_are_unreachable(error: Exception) -> None:
    assert isinstance(from_grpc(error), UnreachableError)


def test_status_of_another_server_is_understood() -> None:
    assert isinstance(from_grpc(GRPCError(Status.NOT_FOUND, "no")), NotFoundError)
    assert isinstance(from_grpc(GRPCError(Status.DEADLINE_EXCEEDED)), UnreachableError)


def test_a_lost_connection_says_what_may_be_wrong_with_the_caller() -> None:
    """A server says nothing to a revoked certificate, so that the sentence must."""
    told = from_grpc(StreamTerminatedError("Connection lost"), peer="10.0.0.1:8001").message
    assert told == (
        "The connection to 10.0.0.1:8001 failed: connection lost; check that it runs and that your"
        " certificate was not revoked."
    )


def test_what_a_server_does_not_serve_is_told_as_a_wrong_address() -> None:
    error = from_grpc(GRPCError(Status.UNIMPLEMENTED, "Method not found"), peer="10.0.0.1:9001")
    assert isinstance(error, RejectedError)
    assert error.message == (
        "10.0.0.1:9001 does not serve this; give the coordinator's address, or update one side."
    )
