"""Which gateway this is: its version, and whether what a call passes is compiled."""

from importlib.util import find_spec
from typing import Literal

Code = Literal["compiled", "pure Python"]


def product_version() -> str:
    """The installed distribution's, or that of a source tree."""
    # Imported here: the start need not wait for it.
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("tool-gateway")
    except PackageNotFoundError:
        return "0+source"


def code() -> Code:
    """The same sources either way. All modules of pyproject.toml's list are compiled together, so any of them tells."""
    found = find_spec("gateway.pipeline.pipeline")
    return "compiled" if found and found.origin and not found.origin.endswith(".py") else "pure Python"
