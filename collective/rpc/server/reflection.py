"""gRPC server reflection, v1 and v1alpha, from the descriptor set that protoc made.

Only whoever passed the listener's gate can ask; the descriptors are those of the public protos.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from importlib import resources
from typing import TYPE_CHECKING, Any, Final

from grpclib.const import Status

from collective.rpc.gen.grpc.reflection import v1, v1alpha
from collective.rpc.server.descriptors import ProtoFile, read_descriptor_set

if TYPE_CHECKING:
    from grpclib._typing import IServable

_NOT_FOUND: Final = "not found"


def load_descriptors() -> tuple[ProtoFile, ...]:
    """Return the files of the committed descriptor set."""
    raw = resources.files("collective.rpc.gen").joinpath("descriptors.binpb").read_bytes()
    return read_descriptor_set(raw)


def service_names(services: Collection[IServable]) -> frozenset[str]:
    """Return the full names of ``services``."""
    return frozenset(path.split("/")[1] for service in services for path in service.__mapping__())


class Directory:
    """Finds files by name and by symbol; answers with messages of either version."""

    def __init__(self, names: frozenset[str], files: tuple[ProtoFile, ...]) -> None:
        """List ``names``; look up in ``files``."""
        self._names = sorted(names)
        self._by_name = {file.name: file for file in files}
        self._by_symbol = {symbol: file for file in files for symbol in file.symbols}

    def respond(self, request: Any, messages: Any) -> Any:
        """Return the response to ``request``, both of the generated module ``messages``."""
        response = messages.ServerReflectionResponse(
            valid_host=request.host, original_request=request
        )
        if request.list_services is not None:
            response.list_services_response = messages.ListServiceResponse(
                service=[messages.ServiceResponse(name=name) for name in self._names]
            )
            return response
        found: ProtoFile | None = None
        if request.file_by_filename is not None:
            found = self._by_name.get(request.file_by_filename)
        elif request.file_containing_symbol is not None:
            found = self._by_symbol.get(request.file_containing_symbol)
        if found is None:  # extensions too: the protos have none
            response.error_response = messages.ErrorResponse(
                error_code=Status.NOT_FOUND.value, error_message=_NOT_FOUND
            )
        else:
            response.file_descriptor_response = messages.FileDescriptorResponse(
                file_descriptor_proto=[file.raw for file in self._with_imports(found)]
            )
        return response

    def _with_imports(self, file: ProtoFile) -> list[ProtoFile]:
        """Return ``file`` and all that it needs, itself first."""
        found: dict[str, ProtoFile] = {}
        pending = [file]
        while pending:
            here = pending.pop(0)
            if here.name not in found:
                found[here.name] = here
                pending.extend(self._by_name[name] for name in here.imports)
        return list(found.values())


class Reflection(v1.ServerReflectionBase):
    """``grpc.reflection.v1``."""

    def __init__(self, directory: Directory) -> None:
        """Answer from ``directory``."""
        self._directory = directory

    async def server_reflection_info(
        self, messages: AsyncIterator[v1.ServerReflectionRequest]
    ) -> AsyncIterator[v1.ServerReflectionResponse]:
        """Answer each request in turn."""
        async for request in messages:
            yield self._directory.respond(request, v1)


class ReflectionAlpha(v1alpha.ServerReflectionBase):
    """``grpc.reflection.v1alpha``, which many tools still ask for."""

    def __init__(self, directory: Directory) -> None:
        """Answer from ``directory``."""
        self._directory = directory

    async def server_reflection_info(
        self, messages: AsyncIterator[v1alpha.ServerReflectionRequest]
    ) -> AsyncIterator[v1alpha.ServerReflectionResponse]:
        """Answer each request in turn."""
        async for request in messages:
            yield self._directory.respond(request, v1alpha)


def reflection_services(names: frozenset[str]) -> tuple[Reflection, ReflectionAlpha]:
    """Return both reflection services, listing ``names`` (full service names)."""
    directory = Directory(names, load_descriptors())
    return Reflection(directory), ReflectionAlpha(directory)
