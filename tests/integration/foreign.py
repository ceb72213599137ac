"""A client that shares no code with the product: grpcio, and stubs that protoc makes from our .proto files."""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
from grpc_tools import protoc

from tests.integration.cluster import Cluster

SERVER_NAME = "collective-coordinator"
"""The label in every coordinator's certificate; grpcio matches no URI."""
PROTO = Path(__file__).parents[2] / "collective" / "rpc" / "proto"


@dataclass(frozen=True, slots=True)
class Stubs:
    """What protoc made."""

    modules: dict[str, Any]
    """By the names of the protos."""
    services: tuple[Any, ...]
    """The modules with the services about files, and those with nodes and the member's state."""

    @property
    def messages(self) -> Any:
        """All messages and enums in one namespace."""
        return SimpleNamespace(
            **{k: v for one in self.modules.values() for k, v in vars(one).items()}
        )

    def files_of(self, channel: grpc.Channel) -> Any:
        """Return the methods of all services about files."""
        files, uploads, reads, streams, *_ = self.services
        stubs = (
            files.FilesStub(channel), uploads.UploadsStub(channel), reads.ReadsStub(channel),
            streams.StreamsStub(channel),
        )  # fmt: skip
        return SimpleNamespace(**{k: v for one in stubs for k, v in vars(one).items()})

    def status_of(self, channel: grpc.Channel) -> Any:
        """Return the methods about the member's state."""
        return self.services[-1].MemberStatusStub(channel)

    def nodes_of(self, channel: grpc.Channel) -> Any:
        """Return the methods about nodes."""
        return self.services[-2].NodesStub(channel)


def generate(folder: Path) -> Stubs:
    """Generate stubs into ``folder`` and import them under their own package."""
    sources = sorted(str(one) for one in (PROTO / "collective" / "v1").glob("*.proto"))
    well_known = str(files("grpc_tools") / "_proto")
    code = protoc.main(
        ["protoc", f"-I{PROTO}", f"-I{well_known}", f"--python_out={folder}",
         f"--grpc_python_out={folder}", *sources]
    )  # fmt: skip
    assert code == 0
    for package in (folder / "collective", folder / "collective" / "v1"):
        (package / "__init__.py").touch()
    with _importing_from(folder):
        names = [Path(one).stem for one in sources]
        return Stubs(
            {one: importlib.import_module(f"collective.v1.{one}_pb2") for one in names},
            tuple(
                importlib.import_module(f"collective.v1.{one}_pb2_grpc")
                for one in ("files", "uploads", "reads", "streams", "nodes", "status")
            ),
        )


@contextlib.contextmanager
def _importing_from(folder: Path) -> Iterator[None]:
    """Let ``collective.v1`` be the generated package while it is imported, and the product after."""
    mine = {
        name: module
        for name, module in sys.modules.items()
        if name == "collective" or name.startswith("collective.")
    }
    for name in mine:
        del sys.modules[name]
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        for name in [one for one in sys.modules if one.split(".")[0] == "collective"]:
            del sys.modules[name]
        sys.modules.update(mine)


@contextlib.contextmanager
def channel(cluster: Cluster, certificate: str | None = None) -> Iterator[grpc.Channel]:
    """Yield a channel over mTLS; ``certificate`` is a path without suffix (None: the operator)."""
    certs = cluster.cert_dir("coordinator")
    own = certificate or str(certs / "coordinators" / f"{cluster.member}-coordinator")
    tls = grpc.ssl_channel_credentials(
        (certs / "ca" / f"{cluster.member}-ca.crt").read_bytes(),
        Path(f"{own}.key").read_bytes(),
        Path(f"{own}.crt").read_bytes(),
    )
    options = [("grpc.ssl_target_name_override", SERVER_NAME)]
    with grpc.secure_channel(f"127.0.0.1:{cluster.coordinator_port}", tls, options) as made:
        grpc.channel_ready_future(made).result(timeout=120)
        yield made
