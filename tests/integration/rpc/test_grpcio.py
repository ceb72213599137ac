"""Health and reflection driven by another implementation of gRPC, over mTLS.

grpcio insists on a host name and matches no URI.  Coordinators' certificates carry a constant label
as common name for it: ``grpc.ssl_target_name_override`` is set to that.  Which coordinator it is
follows from the CA, which the caller gives.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

import grpc
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)

from collective.core.units import Address
from collective.pki.certificates import COORDINATOR_LABEL
from collective.pki.credentials import Credentials
from collective.rpc.gen.collective.v1.status import Status
from collective.rpc.gen.grpc.health.v1 import (
    HealthCheckRequest,
    HealthCheckResponse,
    HealthCheckResponseServingStatus,
)
from tests.integration.rpc.conftest import NODE, USER, Pki, Serve

T = TypeVar("T")


def read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def with_channel(
    address: Address,
    credentials: Credentials,
    server_name: str,
    act: Callable[[grpc.Channel], T],
) -> T:
    """Run ``act`` with a blocking grpcio channel."""
    tls = grpc.ssl_channel_credentials(
        read(credentials.ca_path), read(credentials.key_path), read(credentials.certificate_path)
    )
    options = [("grpc.ssl_target_name_override", server_name)]
    with grpc.secure_channel(str(address), tls, options) as channel:
        return act(channel)


def check_health(channel: grpc.Channel) -> HealthCheckResponse:
    call = channel.unary_unary(
        "/grpc.health.v1.Health/Check",
        request_serializer=bytes,
        response_deserializer=HealthCheckResponse.parse,
    )
    response: HealthCheckResponse = call(HealthCheckRequest(), timeout=120)
    return response


async def test_grpcio_checks_health(pki: Pki, serve: Serve) -> None:
    async with serve() as served:
        response = await asyncio.to_thread(
            with_channel, served.address, pki.credentials(USER), COORDINATOR_LABEL, check_health
        )
    assert response.status is HealthCheckResponseServingStatus.SERVING


async def test_grpcio_refuses_a_node_that_plays_coordinator(pki: Pki, serve: Serve) -> None:
    async with serve(credentials=pki.credentials(NODE)) as served:
        with pytest.raises(grpc.RpcError) as raised:
            await asyncio.to_thread(
                with_channel, served.address, pki.credentials(USER), COORDINATOR_LABEL, check_health
            )
    assert raised.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_grpcio_calls_by_what_reflection_says(pki: Pki, serve: Serve) -> None:
    def explore(channel: grpc.Channel) -> tuple[list[str], list[str]]:
        database = ProtoReflectionDescriptorDatabase(channel)
        pool = DescriptorPool(database)
        service = pool.FindServiceByName("collective.v1.files.Files")
        return list(database.get_services()), [method.name for method in service.methods]

    async with serve() as served:
        services, methods = await asyncio.to_thread(
            with_channel, served.address, pki.credentials(USER), COORDINATOR_LABEL, explore
        )
    assert {"collective.v1.status.MemberStatus", "grpc.health.v1.Health"} <= set(services)
    assert {"List", "Move", "Stat"} <= set(methods)


async def test_grpcio_gets_status_and_detail_of_our_errors(pki: Pki, serve: Serve) -> None:
    def call_with_too_much(channel: grpc.Channel) -> Status:
        call = channel.unary_unary("/collective.v1.status.MemberStatus/GetStatus")
        return Status.parse(call(bytes(5 * 1024 * 1024), timeout=120))

    async with serve() as served:
        with pytest.raises(grpc.RpcError) as raised:
            await asyncio.to_thread(
                with_channel,
                served.address,
                pki.credentials(USER),
                COORDINATOR_LABEL,
                call_with_too_much,
            )
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "over the limit" in raised.value.details()
    assert "collective-error-bin" in dict(raised.value.trailing_metadata())
