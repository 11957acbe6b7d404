"""`import regrow` is a page of names: quick, light, and the same for people and for type checkers."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

import regrow
from tests.tidy.conftest import refuse

if TYPE_CHECKING:
    from pathlib import Path

    from tests.tidy.conftest import House

IMPORT_LIMIT_S = 0.3
HEAVY = ("ray", "faiss", "openai", "redis", "numpy", "tantivy", "pydantic")


def python(code: str, where: Path) -> str:
    """What the code prints in an interpreter of its own, away from the repository."""
    return subprocess.run(
        [sys.executable, "-c", code], cwd=where, check=True, capture_output=True, text=True, timeout=60
    ).stdout


@pytest.mark.slow
def test_import_regrow_loads_no_room_and_nothing_heavy(tmp_path: Path) -> None:
    loaded = json.loads(python("import json, sys, regrow; print(json.dumps(sorted(sys.modules)))", tmp_path))

    refuse(
        (name for name in loaded if name.partition(".")[0] in HEAVY or name.startswith("regrow.")),
        "`import regrow` loads only the page of names; a room is loaded when one of its names is used. It loaded:",
    )


@pytest.mark.slow
def test_a_host_loads_nothing_that_few_agents_use(tmp_path: Path) -> None:
    code = "import json, sys; before = set(sys.modules); import ray; of_ray = set(sys.modules) - before; "
    code += (
        "import regrow.cluster.ray_host, regrow.cluster.ray_guardian; print(json.dumps([*set(sys.modules) - of_ray]))"
    )
    few = {"numpy", "redis", "faiss", "tantivy", "openai", "genai_prices", "mcp", "pypdf"}

    loaded = {name.partition(".")[0] for name in json.loads(python(code, tmp_path))}

    refuse(sorted(loaded & few), "Every host pays for what these modules import at their top. They loaded:")


@pytest.mark.slow
def test_import_regrow_takes_at_most_300_ms(tmp_path: Path) -> None:
    code = "import time; start = time.perf_counter(); import regrow; print(time.perf_counter() - start)"

    best_s = min(float(python(code, tmp_path)) for _ in range(3))

    assert best_s <= IMPORT_LIMIT_S


def test_every_name_of_the_facade_leads_to_the_room_that_checkers_are_told(house: House) -> None:
    (facade,) = (source for source in house.sources("api") if source.module == "regrow")
    told = {item.name: item.module for item in facade.imports() if item.module.startswith("regrow.")}

    assert set(regrow.__all__) - {"__version__"} == set(told)
    refuse(
        (
            f"{name}: {told[name]} has no such name"
            for name in sorted(set(regrow.__all__) - {"__version__"})
            if getattr(regrow, name, None) is not getattr(sys.modules.get(told[name]), name, regrow)
        ),
        "A name of `regrow` comes from the room that its TYPE_CHECKING import names:",
    )


def test_the_facade_lists_its_names(house: House) -> None:
    assert dir(regrow) == sorted(regrow.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'regrow' has no attribute 'Aktor'"):
        _ = regrow.Aktor  # type: ignore[attr-defined]


def test_the_version_is_the_one_of_the_installed_package(house: House) -> None:
    assert f'\nversion = "{regrow.__version__}"\n' in (house.root / "pyproject.toml").read_text(encoding="utf-8"), (
        "the installed version is another one than pyproject.toml names; run `make setup`"
    )
