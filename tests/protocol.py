"""Every message and service of the protocol in one namespace, for tests that use many of them."""

# ruff: noqa: F405

from collective.rpc.gen.collective.v1 import *  # noqa: F403
from collective.rpc.gen.collective.v1.bootstrap import *  # noqa: F403
from collective.rpc.gen.collective.v1.datastores import *  # noqa: F403
from collective.rpc.gen.collective.v1.files import *  # noqa: F403
from collective.rpc.gen.collective.v1.node import *  # noqa: F403
from collective.rpc.gen.collective.v1.nodes import *  # noqa: F403
from collective.rpc.gen.collective.v1.people import *  # noqa: F403
from collective.rpc.gen.collective.v1.reads import *  # noqa: F403
from collective.rpc.gen.collective.v1.status import *  # noqa: F403
from collective.rpc.gen.collective.v1.streams import *  # noqa: F403
from collective.rpc.gen.collective.v1.transfer import *  # noqa: F403
from collective.rpc.gen.collective.v1.trust import *  # noqa: F403
from collective.rpc.gen.collective.v1.uploads import *  # noqa: F403


class FileStubs(FilesStub, UploadsStub, ReadsStub, StreamsStub):
    """The four services about files as one stub."""


class MemberStubs(
    MemberStatusStub, NodesStub, PeopleStub, TrustStub, CertificatesStub, DatastoresStub
):
    """The services about the member as one stub."""
