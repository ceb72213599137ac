"""``grpc.health.v1``: whether the process can serve, for load balancers and tools."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Final

from grpclib.const import Status
from grpclib.exceptions import GRPCError

from collective.rpc.gen.grpc.health.v1 import (
    HealthBase,
    HealthCheckRequest,
    HealthCheckResponse,
    HealthCheckResponseServingStatus,
)

WATCH_POLL_S: Final = 1.0
WATCHES_MAX: Final = 64


class HealthService(HealthBase):
    """Answers for the whole process (the empty name) and for each service by name."""

    def __init__(self, services: frozenset[str], ready: Callable[[], bool]) -> None:
        """``services`` are full names; ``ready`` says whether the process can serve now."""
        self._services = services
        self._ready = ready
        self._watches = 0

    async def check(self, message: HealthCheckRequest) -> HealthCheckResponse:
        """Return the state now; NOT_FOUND for a service that is not here."""
        status = self._status(message.service)
        if status is HealthCheckResponseServingStatus.SERVICE_UNKNOWN:
            raise GRPCError(Status.NOT_FOUND, "There is no such service here.")
        return HealthCheckResponse(status=status)

    async def watch(self, message: HealthCheckRequest) -> AsyncIterator[HealthCheckResponse]:
        """Yield the state now and at each change until the caller leaves."""
        if self._watches >= WATCHES_MAX:
            raise GRPCError(Status.RESOURCE_EXHAUSTED, "Too many watches; try again later.")
        self._watches += 1
        try:
            last: HealthCheckResponseServingStatus | None = None
            while True:
                status = self._status(message.service)
                if status != last:
                    last = status
                    yield HealthCheckResponse(status=status)
                await asyncio.sleep(WATCH_POLL_S)
        finally:
            self._watches -= 1

    def _status(self, service: str) -> HealthCheckResponseServingStatus:
        if service and service not in self._services:
            return HealthCheckResponseServingStatus.SERVICE_UNKNOWN
        if self._ready():
            return HealthCheckResponseServingStatus.SERVING
        return HealthCheckResponseServingStatus.NOT_SERVING
