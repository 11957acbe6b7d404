"""Names of a package that are loaded when somebody first uses them (PEP 562).

Every host imports the rooms that its agents may use. What most of them never use, such as numpy or a model
provider, would cost each host a tenth of a second and megabytes.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from importlib import import_module


def late_names(package: str, names_of: Mapping[str, Iterable[str]]) -> Callable[[str], object]:
    """A `__getattr__` for a package, given the names that each of its files has. Raises AttributeError for others."""
    file_of = {name: file for file, names in names_of.items() for name in names}

    def load(name: str) -> object:
        if name not in file_of:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(import_module(f"{package}.{file_of[name]}"), name)
        setattr(sys.modules[package], name, value)  # so that this runs once for each name
        return value

    return load
