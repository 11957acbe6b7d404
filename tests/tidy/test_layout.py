"""Every room is flat, mapped, linked, typed, and says in its `__init__.py` what it promises."""

from __future__ import annotations

import ast
import json
import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.tidy.conftest import PROGRAMS, ROOMS, refuse

if TYPE_CHECKING:
    from tests.tidy.conftest import House, Source

EMPTY_NAMES = {"utils", "util", "common", "core", "base", "helpers", "helper", "manager", "misc", "info", "data"}
"""Names that say nothing of what is inside."""

FOLDERS_IN_ROOMS = {"cluster/testing", "memory/lua", "cluster/lua"}
"""The test tools that need an App, and scripts that run inside Redis."""


def settings(house: House) -> dict[str, Any]:
    return tomllib.loads((house.root / "pyproject.toml").read_text(encoding="utf-8"))


def contract(house: House, room: str) -> Source:
    (source,) = (source for source in house.rooms if source.name == f"{room}/__init__.py")
    return source


def assigned(source: Source, name: str) -> ast.expr | None:
    """The value the file gives to a name at its top level."""
    for node in source.tree.body:
        if isinstance(node, ast.Assign) and any(ast.unparse(target) == name for target in node.targets):
            return node.value
    return None


def test_no_file_has_a_name_that_says_nothing(house: House) -> None:
    refuse(
        (source.name for source in [*house.programs, *house.tests] if Path(source.name).stem in EMPTY_NAMES),
        "Name a file for what it holds:",
    )


def test_rooms_are_flat(house: House) -> None:
    folders = [
        path.relative_to(house.root).as_posix()
        for room in ROOMS
        for path in (house.root / room).rglob("*")
        if path.is_dir() and path.name != "__pycache__"
    ]

    refuse(
        (folder for folder in folders if folder not in FOLDERS_IN_ROOMS),
        "A room has no folders of its own; its files stand side by side:",
    )


def test_every_room_has_its_errors_and_is_typed(house: House) -> None:
    needed = [f"{room}/{name}" for room in ROOMS for name in ("errors.py", "py.typed")]

    refuse(
        (name for name in [*needed, "api/py.typed"] if not (house.root / name).is_file()),
        "Every room has errors.py, with its errors drawn as a tree on top, and py.typed; missing:",
    )


def test_every_room_is_packaged_mapped_linked_and_checked(house: House) -> None:
    tool = settings(house)["tool"]
    checked = re.sub(r"^\s*//.*$", "", (house.root / ".types/pyrightconfig.json").read_text("utf-8"), flags=re.M)
    names = {f"regrow.{room}" for room in ROOMS}
    layers = " | ".join(tool["importlinter"]["contracts"][0]["layers"]).split(" | ")
    wanted = {
        "[tool.setuptools] packages": (
            set(tool["setuptools"]["packages"]),
            {"regrow"} | names,
        ),
        "[tool.setuptools.package-dir]": (
            {f"{name}={folder}" for name, folder in tool["setuptools"]["package-dir"].items()},
            {"regrow=api", *(f"regrow.{room}={room}" for room in ROOMS)},
        ),
        "the layers contract": (set(layers), names),
        ".types/regrow": (
            {f"{path.name} -> {path.readlink()}" for path in (house.root / ".types/regrow").iterdir()},
            {
                *(f"{room} -> ../../{room}" for room in ROOMS),
                *(f"{name} -> ../../api/{name}" for name in ("__init__.py", "py.typed", "testing.py")),
            },
        ),
        ".types/pyrightconfig.json": (
            set(json.loads(checked)["include"]),
            {
                *(f"regrow/{part}" for part in (*ROOMS, "__init__.py", "testing.py")),
                *(f"../{folder}" for folder in ("tests", *PROGRAMS) if folder != "api"),
            },
        ),
    }

    refuse(
        (f"{place}: {sorted(found ^ meant)}" for place, (found, meant) in wanted.items() if found != meant),
        "A room stands in five lists that must agree; these entries are missing, or too many:",
    )


def test_no_folder_at_the_root_shadows_the_installed_package(house: House) -> None:
    assert not (house.root / "regrow").exists(), "a folder `regrow` at the root hides the package"


def test_a_contract_only_hands_on_names_and_says_how_to_read_the_room(house: House) -> None:
    offences: list[str] = []
    for room in ROOMS:
        source = contract(house, room)
        offences += [
            f"{source.name}:{node.lineno}: {ast.unparse(node).splitlines()[0]}"
            for node in source.tree.body
            if not _hands_on(node, room)
        ]
        offences += [] if ast.get_docstring(source.tree) else [f"{source.name}: no docstring"]

    refuse(offences, "A room's __init__.py has a docstring, imports from its own room, `__all__` and the guard; not:")


LATE_NAMES = "regrow.runtime.late_names"
"""What a contract is made with whose names are loaded when they are first used."""


def _hands_on(node: ast.stmt, room: str) -> bool:
    """Whether the statement is one of the few that a contract is made of. A lazy room may add PEP 562's functions."""
    match node:
        case ast.Expr(value=ast.Constant(value=str())):
            return True
        case ast.ImportFrom(module=str(module)):
            return module.startswith(f"regrow.{room}.") or module in ("__future__", "typing", "importlib", LATE_NAMES)
        case ast.Assign(targets=[ast.Name(id=name)]):
            return name.startswith("_")
        case ast.If(test=test):
            return ast.unparse(test) in (f"__name__ != 'regrow.{room}'", "TYPE_CHECKING", "not TYPE_CHECKING")
        case ast.FunctionDef(name=name):
            return name in ("__getattr__", "__dir__")
        case _:
            return False


def test_a_contract_lists_exactly_the_names_it_hands_on(house: House) -> None:
    offences: list[str] = []
    for room in ROOMS:
        source = contract(house, room)
        listed = assigned(source, "__all__")
        if listed is None:
            offences.append(f"{source.name}: no __all__")
            continue
        names = set(ast.literal_eval(listed))
        ours = [item for item in source.imports() if item.module.startswith("regrow.") and item.module != LATE_NAMES]
        handed_on = {item.name for item in ours if item.name}
        offences += [f"{source.name}: {name} is imported, not listed" for name in sorted(handed_on - names)]
        offences += [f"{source.name}: {name} is listed, not imported" for name in sorted(names - handed_on)]

    refuse(offences, "`__all__` is the room's contract and holds what is imported there, no more and no less:")


def test_a_room_refuses_to_load_under_its_bare_name(house: House) -> None:
    refuse(
        (f"{room}/__init__.py" for room in ROOMS if f'__name__ != "regrow.{room}"' not in contract(house, room).text),
        "A bare import from the root would load a second copy of every class; add "
        '`if __name__ != "regrow.<room>": raise ImportError(…)` to:',
    )


def test_every_public_name_has_a_docstring(house: House) -> None:
    by_module = {source.module: source for source in house.programs}
    offences: list[str] = []
    for room in ROOMS:
        for item in contract(house, room).imports():
            home = by_module.get(item.module)
            definition = home and item.name and _definition(home, item.name)
            if home and definition and not ast.get_docstring(definition):
                offences.append(f"{home.name}:{definition.lineno}: {item.name}")

    refuse(offences, "What a room hands on says in its docstring what it gives:")


def _definition(source: Source, name: str) -> ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef | None:
    """The class or function of that name; of several overloads the last, which holds the docstring."""
    found = None
    for node in source.tree.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and node.name == name:
            found = node
    return found
