"""Make ``member-COMMIT.tar.xz``: data and certificates of a member as an older commit wrote them.

Run from the repository's root::

    python tests/integration/data/make_old_member.py 99c0f47

The commit's tree is unpacked into a temporary folder and this script runs again inside it, with that
tree's code and that tree's test harness: a coordinator and three nodes, a joined user, and files (empty,
small, deduplicated, several chunks long, replaced, removed).  One node ends cleanly; the coordinator and
two nodes are killed, so that write-ahead logs are part of it.

One thing is not as the commit has it: its limit of 400 days for a certificate is 19 years here, so that
the certificates outlive the test.
"""

from __future__ import annotations

import io
import json
import os
import random
import re
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

LIMITS = {
    "collective/pki/ca.py": r"(LEAF_LIFE_MAX_S: Final = )400( \* 86400\.0)",
    "collective/core/limits.py": r"(CERTIFICATE_LIFE_MOST_S: Final = )400( \* 86400\.0)",
}
LIFE_DAYS = 19 * 365
INSIDE = "MAKE_OLD_MEMBER"
LEFT_OUT = (".log", "catalog.lock")


def main() -> None:
    commit = sys.argv[1]
    here = Path(__file__).resolve()
    with tempfile.TemporaryDirectory() as scratch:
        tree = Path(scratch) / "tree"
        packed = subprocess.run(
            ["git", "archive", commit], capture_output=True, check=True, cwd=here.parents[3]
        ).stdout
        with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
            tar.extractall(tree, filter="data")
        for name, pattern in LIMITS.items():
            text, count = re.subn(pattern, rf"\g<1>{LIFE_DAYS}\2", (tree / name).read_text())
            assert count == 1, name
            (tree / name).write_text(text)
        member = Path(scratch) / "member"
        environment = os.environ | {"PYTHONPATH": str(tree), INSIDE: str(member)}
        subprocess.run([sys.executable, str(here)], check=True, cwd=tree, env=environment)
        target = here.parent / f"member-{commit}.tar.xz"
        with tarfile.open(target, "w:xz", preset=9) as tar:
            tar.add(member, "member", filter=kept)
    sys.stdout.write(f"{target}: {target.stat().st_size} bytes\n")


def kept(found: tarfile.TarInfo) -> tarfile.TarInfo | None:
    """Leave out logs and locks, and who made it."""
    if found.name.endswith(LEFT_OUT):
        return None
    found.uid = found.gid = 0
    found.uname = found.gname = ""
    return found


def make(folder: Path) -> None:
    """Run the member with the code that is on the path."""
    from tests.integration.cluster import Cluster  # noqa: PLC0415 - the old tree's

    cluster = Cluster(
        folder,
        extra={
            "COLLECTIVE_CERTIFICATE_LIFETIME": f"{LIFE_DAYS}d",
            "COLLECTIVE_HEARTBEAT_INTERVAL": "0.5",
            "COLLECTIVE_SNAPSHOT_INTERVAL": "2",
        },
    )
    chance = random.Random(7)
    files = {
        "/shared/empty": b"",
        "/shared/small.txt": b"Welcome to the collective!\n",
        "/shared/Überlänge /naïve name.bin": chance.randbytes(3000),
        "/shared/deep/er/and/deeper": chance.randbytes(20_000),
        "/shared/long.bin": bytes(9 * 1024 * 1024) + chance.randbytes(5000),
        "/private/notes": chance.randbytes(1234),
    }
    try:
        cluster.start()
        for path in files:
            cluster.cli("mkdir", "-p", path.rpartition("/")[0])
        for path, content in files.items():
            cluster.write(path, b"an older version" if "small" in path else content)
        cluster.write("/shared/removed", chance.randbytes(2000))
        cluster.write("/shared/small.txt", files["/shared/small.txt"])
        cluster.cli("rm", "/shared/removed")
        cluster.cli("datastore", "set", "/private", "--copies", "2", "--quota", "1GiB")
        code = cluster.cli(
            "invite", "generate", "--grant", "/shared:read+write", "--max-uses", "2",
            "--validity", "24h", "--description", "old",
        ).text.splitlines()[-1]  # fmt: skip
        environment = cluster.client_environment
        for command in (
            ["identity", "init", "--global-id", "carol@home.alice"],
            ["invite", "redeem", code],
        ):
            subprocess.run(
                [sys.executable, "-m", "collective", *command], check=True, env=environment
            )
        cluster.coordinator.kill()
        first, *others = cluster.nodes
        first.terminate()
        for node in others:
            node.kill()
    finally:
        cluster.kill_all()
    expected = {
        path: {"size": len(content), "blake3": digest(content)} for path, content in files.items()
    }
    (folder / "expected.json").write_text(json.dumps(expected, indent=1))


def digest(content: bytes) -> str:
    from blake3 import blake3  # noqa: PLC0415 - absent where only the archive is made

    return blake3(content).hexdigest()


if __name__ == "__main__":
    if INSIDE in os.environ:
        make(Path(os.environ[INSIDE]))
    else:
        main()
