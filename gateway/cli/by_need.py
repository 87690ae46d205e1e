"""A package loaded module by module as each is needed.

aiohttp's own front door loads its client, too, with a TLS context that holds all of the system's certificates: a third of
its time and memory, for nothing that is used here. Who does ask for another name gets the whole, as ever. (`aiohttp.web` is such a
door, too: what serves is imported from the modules behind it.)
"""

import sys
from importlib import import_module, util


def load_by_need(package: str) -> None:
    """`import package` runs nothing of it from now on, until a name is asked for that is none of its modules."""
    spec = util.find_spec(package)
    if spec is None or spec.loader is None or package in sys.modules:
        return
    module, loader = util.module_from_spec(spec), spec.loader

    def part(name: str) -> object:
        if util.find_spec(f"{package}.{name}") is not None:
            return import_module(f"{package}.{name}")
        del vars(module)["__getattr__"]
        loader.exec_module(module)
        return getattr(module, name)

    vars(module).update(__getattr__=part, __version__="")
    sys.modules[package] = module
