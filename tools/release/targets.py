"""Where the one-file packages run: processors, Pythons, and which wheels fit them (PEP 425, PEP 600)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from packaging import tags

PROCESSORS: Final = ("x86_64", "aarch64")
PYTHONS: Final = ((3, 11), (3, 12), (3, 13), (3, 14))
GLIBC_NEWEST: Final = 28
"""Wheels that ask for a newer glibc than 2.28 are not taken: Debian 10 and RHEL 8 have it."""
_GLIBC_OLDEST: Final = 17
"""Of manylinux2014."""


@dataclass(frozen=True, slots=True)
class Target:
    """CPython of one minor version on Linux of one processor."""

    processor: str
    python: tuple[int, int]

    @property
    def interpreter(self) -> str:
        """As tags have it: ``cp311``."""
        return f"cp{self.python[0]}{self.python[1]}"

    @property
    def version(self) -> str:
        """As people have it: ``3.11``."""
        return ".".join(map(str, self.python))

    @property
    def platforms(self) -> list[str]:
        """Platform tags of wheels that run there, the best first."""
        return [*self._platforms()]

    def _platforms(self) -> Iterator[str]:
        for minor in range(GLIBC_NEWEST, _GLIBC_OLDEST - 1, -1):
            yield f"manylinux_2_{minor}_{self.processor}"
        yield f"manylinux2014_{self.processor}"

    def description(self) -> dict[str, Any]:
        """Return what pex asks of a platform that it does not run on."""
        fitting = [
            *tags.cpython_tags(self.python, platforms=self.platforms),
            *tags.compatible_tags(self.python, self.interpreter, self.platforms),
        ]
        return {
            "marker_environment": {
                "implementation_name": "cpython",
                "implementation_version": f"{self.version}.0",
                "os_name": "posix",
                "platform_machine": self.processor,
                "platform_python_implementation": "CPython",
                "platform_release": "",
                "platform_system": "Linux",
                "platform_version": "",
                "python_full_version": f"{self.version}.0",
                "python_version": self.version,
                "sys_platform": "linux",
            },
            "compatible_tags": [str(one) for one in fitting],
        }
