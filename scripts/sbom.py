"""Prints what is installed where this Python runs as a CycloneDX bill of materials, with the hashes of the lock it was installed from.

    python scripts/sbom.py requirements-otel.lock > sbom.cdx.json

The same installation gives the same bytes: no time, no serial number.
"""

import json
import re
import sys
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any

ROOT = "tool-gateway"


def normalised(name: str) -> str:
    """As the lock and package URLs write it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def hashes(lock: str) -> dict[str, list[str]]:
    """Package → SHA-256 of each file that may be installed."""
    entries = re.split(r"^(?=[a-z0-9])", lock, flags=re.MULTILINE)[1:]
    return {
        normalised(entry.partition("==")[0]): re.findall(r"--hash=sha256:([0-9a-f]{64})", entry) for entry in entries
    }


def reference(distribution: Distribution) -> str:
    """The package's URL, which is its name in the file, too."""
    return f"pkg:pypi/{normalised(distribution.name)}@{distribution.version}"


def said(distribution: Distribution, field: str) -> str:
    """The first line of a field of its metadata, which may hold a whole licence; "" where it says nothing."""
    return str((distribution.metadata.get_all(field) or [""])[0]).partition("\n")[0]


def component(distribution: Distribution, files: list[str]) -> dict[str, Any]:
    """One installed package."""
    found: dict[str, Any] = {
        "type": "application" if distribution.name == ROOT else "library",
        "bom-ref": reference(distribution),
        "name": normalised(distribution.name),
        "version": distribution.version,
        "purl": reference(distribution),
    }
    if expression := said(distribution, "License-Expression"):
        found["licenses"] = [{"expression": expression}]
    elif name := said(distribution, "License"):
        found["licenses"] = [{"license": {"name": name}}]
    if files:  # which of them it was depends on the machine it was installed on
        found["externalReferences"] = [
            {"type": "distribution", "url": reference(distribution), "hashes": [{"alg": "SHA-256", "content": file}]}
            for file in files
        ]
    return found


def needs(distribution: Distribution, installed: dict[str, Distribution]) -> list[str]:
    """Of what is installed, what it asks for."""
    asked = {normalised(match[0]) for line in distribution.requires or () if (match := re.match(r"[\w.-]+", line))}
    return sorted(reference(installed[name]) for name in asked & installed.keys())


def bill(lock: str) -> dict[str, Any]:
    """The whole of it."""
    installed = {normalised(found.name): found for found in distributions()}
    files = hashes(lock)
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": component(installed[ROOT], [])},
        "components": [component(installed[name], files.get(name, [])) for name in sorted(installed) if name != ROOT],
        "dependencies": [
            {"ref": reference(installed[name]), "dependsOn": needs(installed[name], installed)}
            for name in sorted(installed)
        ],
    }


if __name__ == "__main__":
    json.dump(bill(Path(sys.argv[1]).read_text("utf-8")), sys.stdout, indent=1)
    print()
