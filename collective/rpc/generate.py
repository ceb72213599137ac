"""Regenerates ``collective/rpc/gen`` from the protos: ``python -m collective.rpc.generate``.

With ``--check`` it writes nothing and exits 1 if the committed code differs from what the protos
give.  Needs the development dependencies (protoc by grpcio-tools, betterproto2's compiler).
"""

from __future__ import annotations

import filecmp
import os
import shutil
import subprocess
import sys
import tempfile
from typing import Final

_HERE: Final = os.path.dirname(os.path.abspath(__file__))
PROTO_DIR: Final = os.path.join(_HERE, "proto")
GEN_DIR: Final = os.path.join(_HERE, "gen")
DESCRIPTORS: Final = "descriptors.binpb"
_OWN: Final = frozenset(("py.typed",))
"""Files in ``gen`` that protoc does not make."""


def generate(target: str) -> None:
    """Write all generated files under ``target``; raises CalledProcessError if protoc fails."""
    protos = sorted(
        os.path.relpath(os.path.join(folder, name), PROTO_DIR)
        for folder, _, names in os.walk(PROTO_DIR)
        for name in names
        if name.endswith(".proto")
    )
    environment = dict(os.environ)
    environment["PATH"] = os.path.dirname(sys.executable) + os.pathsep + environment["PATH"]
    subprocess.run(  # noqa: S603 - our own interpreter, our own arguments
        [
            sys.executable,
            "-m",
            "grpc_tools.protoc",
            f"-I{PROTO_DIR}",
            f"--python_betterproto2_out={target}",
            "--python_betterproto2_opt=server_generation=async",
            "--python_betterproto2_opt=client_generation=async",
            f"--descriptor_set_out={os.path.join(target, DESCRIPTORS)}",
            "--include_imports",
            *protos,
        ],
        check=True,
        env=environment,
        cwd=target,  # the compiler formats by the configuration that it finds from here
    )


def files_below(root: str) -> set[str]:
    """Return the generated files below ``root`` as relative paths."""
    return {
        os.path.relpath(os.path.join(folder, name), root)
        for folder, _, names in os.walk(root)
        for name in names
        if not name.endswith(".pyc") and name not in _OWN
    }


def differences(target: str) -> list[str]:
    """Return the files that ``target`` and the committed code do not have alike."""
    ours, fresh = files_below(GEN_DIR), files_below(target)
    changed = {
        name
        for name in ours & fresh
        if not filecmp.cmp(os.path.join(GEN_DIR, name), os.path.join(target, name), shallow=False)
    }
    return sorted(changed | (ours ^ fresh))


def main(arguments: list[str]) -> int:
    """Regenerate, or with ``--check`` compare; return the exit code."""
    with tempfile.TemporaryDirectory() as scratch:
        generate(scratch)
        changed = differences(scratch)
        if "--check" in arguments:
            for name in changed:
                sys.stderr.write(f"collective/rpc/gen/{name} is not what the protos give.\n")
            return 1 if changed else 0
        for name in changed:
            fresh, ours = os.path.join(scratch, name), os.path.join(GEN_DIR, name)
            if os.path.exists(fresh):
                os.makedirs(os.path.dirname(ours), exist_ok=True)
                shutil.copyfile(fresh, ours)
            else:
                os.remove(ours)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
