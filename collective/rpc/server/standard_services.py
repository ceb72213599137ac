"""The services that every gRPC listener has beside its own: health and reflection."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Final

from collective.rpc.server.health_service import HealthService
from collective.rpc.server.reflection import reflection_services, service_names

if TYPE_CHECKING:
    from grpclib._typing import IServable

_STANDARD: Final = frozenset(("grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection"))


def with_standard_services(
    services: Collection[IServable], ready: Callable[[], bool]
) -> list[IServable]:
    """Return ``services`` with health (by ``ready``) and both versions of reflection."""
    names = service_names(services)
    return [*services, HealthService(names, ready), *reflection_services(names | _STANDARD)]
