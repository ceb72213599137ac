"""Where things lie in a cert dir, as the spec names them; paths only, no disk.

``ca/<member>-ca.crt`` (every CA that is trusted now) and ``.key`` (of the one that signs);
during a rotation also ``ca/<member>-ca.next.key`` and ``.rotation.json``; ``coordinators/<member>-coordinator.crt`` and ``.key``;
``nodes/<node>.crt`` and ``.key``; ``bootstraps/<id>.crt`` and ``.key``; ``users/<name@domain>.crt``
and ``.key``; ``join/<kind>.code``.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable
from dataclasses import dataclass

from collective.core.errors import UsageError
from collective.core.ids import GlobalId, MemberId, NodeId, parse_member_id, parse_node_id

_CA_SUFFIX = "-ca.crt"
_CERTIFICATE_SUFFIX = ".crt"


@dataclass(frozen=True, slots=True)
class CertDir:
    """The cert dir at ``path`` of one member."""

    path: str
    member: MemberId

    def _in(self, folder: str, name: str) -> str:
        return posixpath.join(self.path, folder, name)

    @property
    def ca_certificate(self) -> str:
        """The CA's certificate."""
        return self._in("ca", f"{self.member}-ca.crt")

    @property
    def ca_key(self) -> str:
        """The CA's key; only the coordinator has it."""
        return self._in("ca", f"{self.member}-ca.key")

    @property
    def ca_next_key(self) -> str:
        """The key of the CA that is to replace the present one; only during a rotation."""
        return self._in("ca", f"{self.member}-ca.next.key")

    @property
    def ca_link(self) -> str:
        """The word of the old CA for the one that replaces it; only during a rotation."""
        return self._in("ca", f"{self.member}-ca.link.pem")

    @property
    def ca_rotation(self) -> str:
        """What the coordinator notes during a rotation."""
        return self._in("ca", f"{self.member}-ca.rotation.json")

    @property
    def coordinator_certificate(self) -> str:
        """The coordinator's certificate."""
        return self._in("coordinators", f"{self.member}-coordinator.crt")

    @property
    def coordinator_key(self) -> str:
        """The coordinator's key."""
        return self._in("coordinators", f"{self.member}-coordinator.key")

    def node_certificate(self, node: NodeId) -> str:
        """Return the path of a node's certificate."""
        return self._in("nodes", f"{node}.crt")

    def node_key(self, node: NodeId) -> str:
        """Return the path of a node's key."""
        return self._in("nodes", f"{node}.key")

    def bootstrap_certificate(self, name: str) -> str:
        """Return the path of a bootstrap's certificate."""
        return self._in("bootstraps", f"{name}.crt")

    def bootstrap_key(self, name: str) -> str:
        """Return the path of a bootstrap's key."""
        return self._in("bootstraps", f"{name}.key")

    def user_certificate(self, who: GlobalId) -> str:
        """Return the path of a user's certificate."""
        return self._in("users", f"{who}.crt")

    def user_key(self, who: GlobalId) -> str:
        """Return the path of a user's key."""
        return self._in("users", f"{who}.key")

    def join_code(self, kind: str) -> str:
        """Return the path of the unattended join code of a kind (``node``)."""
        return self._in("join", f"{kind}.code")


def ca_folder(path: str) -> str:
    """Return the folder of CA certificates in the cert dir ``path``."""
    return posixpath.join(path, "ca")


def nodes_folder(path: str) -> str:
    """Return the folder of node certificates in the cert dir ``path``."""
    return posixpath.join(path, "nodes")


def members_in(names: Iterable[str]) -> list[MemberId]:
    """Return the members whose CA certificate is among ``names`` of :func:`ca_folder`."""
    found = []
    for name in names:
        if name.endswith(_CA_SUFFIX):
            try:
                found.append(parse_member_id(name.removesuffix(_CA_SUFFIX)))
            except UsageError:
                continue
    return sorted(found)


def nodes_in(names: Iterable[str]) -> list[NodeId]:
    """Return the nodes whose certificate is among ``names`` of :func:`nodes_folder`."""
    found = []
    for name in names:
        if name.endswith(_CERTIFICATE_SUFFIX):
            try:
                found.append(parse_node_id(name.removesuffix(_CERTIFICATE_SUFFIX)))
            except UsageError:
                continue
    return sorted(found)
