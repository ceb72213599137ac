"""How the bytes of a file become the bytes of a chunk that is stored, and back.

A codec has the number that envelopes and extents name it by.  The writer chooses one; the reader
takes the one that the extent names.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

from collective.chunking import envelope
from collective.core.errors import CorruptionError


class Codec(Protocol):
    """One way to store plain bytes."""

    @property
    def number(self) -> int:
        """What envelopes and extents say."""
        ...

    def wrap(self, plain: memoryview) -> Sequence[bytes | memoryview]:
        """Return the stored bytes of ``plain``, in parts; views into it are allowed."""
        ...

    def open(self, stored: memoryview) -> memoryview:
        """Return the plain bytes of a whole stored chunk; CorruptionError where it is malformed."""
        ...


class PlainCodec:
    """The plain bytes behind a header."""

    number: Final = envelope.PLAIN

    def wrap(self, plain: memoryview) -> Sequence[bytes | memoryview]:
        """Return a header, and ``plain`` itself."""
        return (envelope.encode_header(len(plain)), plain)

    def open(self, stored: memoryview) -> memoryview:
        """Return a view into ``stored``."""
        return envelope.open_plain(stored)


PLAIN: Final = PlainCodec()
_CODECS: Final[dict[int, Codec]] = {PLAIN.number: PLAIN}


def codec_of(number: int) -> Codec:
    """Return the codec that an extent names; CorruptionError for one that is not known."""
    codec = _CODECS.get(number)
    if codec is None:
        raise CorruptionError(
            f"A file is stored by codec {number}, unknown to this version; upgrade."
        )
    return codec
