"""The npm packages of these tests: each with a version and a hash, and no registry named."""

import json
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.mark.parametrize("folder", ["node", "conformance"])
def test_every_npm_package_has_a_version_and_a_hash_and_names_no_registry(folder: str) -> None:
    packages = json.loads((HERE / folder / "package-lock.json").read_text())["packages"]
    installed = [package for place, package in packages.items() if place]

    assert installed
    for package in installed:
        assert package["version"]
        assert package["integrity"].startswith("sha512-")
        assert "resolved" not in package


@pytest.mark.parametrize("folder", ["node", "conformance"])
def test_the_npm_packages_asked_for_are_pinned(folder: str) -> None:
    asked = json.loads((HERE / folder / "package.json").read_text())["dependencies"].values()

    assert all(version[-1].isdigit() and not version.startswith(("^", "~")) for version in asked)
