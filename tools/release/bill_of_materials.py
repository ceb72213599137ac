"""The software bill of materials: CycloneDX 1.6, from what the wheels say of themselves.

Every distribution is a component with its licence and package URL; its wheels are files below it, with
SHA-256.  What depends on what is taken from their metadata, for all targets together.
"""

from __future__ import annotations

import hashlib
import json
import uuid
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.message import Message
from email.parser import BytesHeaderParser
from pathlib import Path
from typing import Final

from cyclonedx.factory.license import LicenseFactory
from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.license import License
from cyclonedx.output import make_outputter
from cyclonedx.schema import OutputFormat, SchemaVersion
from packageurl import PackageURL
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tools.release.source import Source
from tools.release.targets import Target

_LONGEST_LICENCE_NAME: Final = 64
"""Some metadata has a licence's whole text where its name belongs."""
_CLASSIFIER: Final = "License :: OSI Approved :: "


@dataclass(slots=True)
class _Distribution:
    name: str
    version: str
    metadata: Message
    wheels: list[Path]


def build_bill_of_materials(
    source: Source, targets: Sequence[Target], wheels: Iterable[Path], output: Path
) -> Path:
    """Write the bill for the wheels, ours among them, to ``output`` and return it."""
    found = _distributions(wheels)
    components = {name: _component(one) for name, one in found.items()}
    own = components["collective"]
    bom = Bom(components=[one for one in components.values() if one is not own])
    bom.metadata.component = own
    bom.metadata.timestamp = datetime.fromtimestamp(source.time_s, UTC)
    bom.serial_number = _serial_number(found)
    for name, one in found.items():
        needed = sorted(_needed(one.metadata, targets) & set(components))
        bom.register_dependency(components[name], [components[other] for other in needed])
    text = make_outputter(bom, OutputFormat.JSON, SchemaVersion.V1_6).output_as_string(indent=2)
    json.loads(text)
    output.write_text(text + "\n")
    return output


def _distributions(wheels: Iterable[Path]) -> dict[str, _Distribution]:
    found: dict[str, _Distribution] = {}
    for path in sorted(wheels, key=lambda one: one.name):
        metadata = _metadata(path)
        name = canonicalize_name(metadata["Name"])
        one = found.setdefault(name, _Distribution(name, metadata["Version"], metadata, []))
        assert one.version == metadata["Version"], f"two versions of {name}"
        one.wheels.append(path)
    return found


def _metadata(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        name = next(one for one in archive.namelist() if one.endswith(".dist-info/METADATA"))
        return BytesHeaderParser().parsebytes(archive.read(name))


def _component(one: _Distribution) -> Component:
    reference = PackageURL("pypi", name=one.name, version=one.version)
    files = [
        Component(
            name=path.name,
            type=ComponentType.FILE,
            bom_ref=f"{reference}#{path.name}",
            hashes=[HashType(alg=HashAlgorithm.SHA_256, content=_sha256(path))],
        )
        for path in one.wheels
    ]
    return Component(
        name=one.name,
        version=one.version,
        type=ComponentType.APPLICATION if one.name == "collective" else ComponentType.LIBRARY,
        bom_ref=str(reference),
        purl=reference,
        licenses=_licences(one.metadata),
        components=files,
    )


def _licences(metadata: Message) -> list[License]:
    """Return the licence as the metadata has it: an expression, a name, or classifiers."""
    make = LicenseFactory()
    told = metadata["License-Expression"] or metadata["License"] or ""
    if told and "\n" not in told and len(told) <= _LONGEST_LICENCE_NAME:
        return [make.make_from_string(told)]
    classifiers = (one for one in metadata.get_all("Classifier", []) if one.startswith(_CLASSIFIER))
    return [make.make_with_name(one.removeprefix(_CLASSIFIER)) for one in classifiers]


def _needed(metadata: Message, targets: Sequence[Target]) -> set[str]:
    """Return the distributions that this one asks for on any of the targets, as they are installed."""
    found = set()
    for text in metadata.get_all("Requires-Dist", []):
        wanted = Requirement(text)
        environments = [one.description()["marker_environment"] for one in targets]
        if wanted.marker is None or any(
            wanted.marker.evaluate({**one, "extra": ""}) for one in environments
        ):
            found.add(str(canonicalize_name(wanted.name)))
    return found


def _serial_number(found: dict[str, _Distribution]) -> uuid.UUID:
    """Return an id that depends on the contents alone."""
    told = "".join(
        f"{path.name} {_sha256(path)}\n" for one in found.values() for path in one.wheels
    )
    return uuid.uuid5(uuid.NAMESPACE_OID, told)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
