"""Imports: what import-linter cannot say about the walls, and what nobody may import at all."""

from __future__ import annotations

import sys
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING

from tests.tidy.conftest import refuse

if TYPE_CHECKING:
    from tests.tidy.conftest import House

PICKLES = {"pickle", "cPickle", "_pickle", "cloudpickle", "dill", "shelve", "marshal", "joblib"}

KERNEL_MAY_IMPORT = {"pydantic", "pydantic_core", "msgpack", "structlog", "opentelemetry", "regrow"}
"""Beside the standard library. Of OpenTelemetry only the API: the SDK is set up in regrow.cluster."""


def test_only_ray_files_import_ray(house: House) -> None:
    refuse(
        (
            f"{source.name}:{item.line}: {item.module}"
            for source in [*house.rooms, *house.sources("api", "examples")]
            for item in source.imports()
            if item.top == "ray" and not source.name.startswith("cluster/ray_")
        ),
        "Only cluster/ray_*.py imports ray, so that the rest runs inline and under the simulator; move it there:",
    )


def test_the_kernel_imports_only_its_four_libraries(house: House) -> None:
    allowed = KERNEL_MAY_IMPORT | set(sys.stdlib_module_names)

    refuse(
        (
            f"{source.name}:{item.line}: {item.module}"
            for source in house.sources("runtime")
            for item in source.imports()
            if item.top not in allowed or f"{item.module}.{item.name}".startswith("opentelemetry.sdk")
        ),
        "runtime/ imports the standard library, pydantic, msgpack, structlog and the OpenTelemetry API; not:",
    )


def test_nothing_is_pickled(house: House) -> None:
    refuse(
        (
            f"{source.name}:{item.line}: {item.module}"
            for source in house.programs
            for item in source.imports()
            if item.top in PICKLES or (item.top == "ray" and "pickle" in f"{item.module}.{item.name}")
        ),
        "What is stored or sent is msgpack, never pickle, which runs code while it reads:",
    )


def test_rooms_import_names_from_where_they_are_defined(house: House) -> None:
    modules = {source.module for source in house.rooms}

    refuse(
        (
            f"{source.name}:{item.line}: from {item.module} import {item.name}"
            for source in house.rooms
            for item in source.imports()
            if item.module in ("regrow", f"regrow.{source.name.partition('/')[0]}")
            and f"{item.module}.{item.name}" not in modules
        ),
        "A room imports neither the facade nor its own contract, for both import it; name the file:",
    )


def test_no_module_needs_itself_to_load(house: House) -> None:
    modules = {source.module for source in house.rooms}
    needs: dict[str, set[str]] = {source.module: set() for source in house.rooms}
    for source in house.rooms:
        for item in source.imports():
            submodule = f"{item.module}.{item.name}"
            target = submodule if submodule in modules else item.module
            if item.needed_to_load and target in modules:
                needs[source.module].add(target)

    circle: list[str] = []
    try:
        TopologicalSorter(needs).prepare()
    except CycleError as error:
        circle = error.args[1][::-1]

    refuse(
        [" → ".join(circle)] if circle else [],
        "Modules import each other in a circle; move what both need below:",
    )
