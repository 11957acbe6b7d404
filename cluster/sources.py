"""The files that an app is made of: what has changed in them, and the app that they make now.

Only modules below the folder of the app count. A changed one is imported anew, and so is whatever imports it, so that
no class of the old code meets one of the new under the same name.
"""

from __future__ import annotations

import ast
import importlib
import os
import sys
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import TYPE_CHECKING

from regrow.actors.skill import SKILL_MODULES
from regrow.cluster.code import app_named
from regrow.cluster.errors import AppNotFound
from regrow.runtime.message import register_as_before, registered_now

if TYPE_CHECKING:
    from regrow.cluster.app import App

NOT_OF_THE_APP = frozenset(("site-packages", "dist-packages", "node_modules", "__pycache__"))
"""Folders whose files are not the app's own, beside those whose names begin with a dot."""
FILES_LIMIT = 2_000
"""More files are not watched: a look at each of them would take too long."""
LIMIT_REAL = 10_000
"""Of so many files it is remembered where they are."""

Stamp = tuple[int, int]
"""When a file was changed, in nanoseconds, and its size."""


class Sources:
    """The modules of one app as they were imported last."""

    def __init__(self, target: str, folder: Path) -> None:
        """`target` is MODULE:APP, imported already; what lies below `folder` is watched."""
        self._target = target
        self._folder = folder.resolve()
        self._imported: dict[str, tuple[Path, Stamp]] = {}
        """The files of the code that runs, as they were when they were imported."""
        self._tried: dict[str, Stamp] = {}
        """How they were at the last try to import them, which may have failed."""
        self._note()

    @property
    def files(self) -> tuple[Path, ...]:
        """What is watched."""
        return tuple(path for path, _ in self._imported.values())

    def stamps(self) -> dict[str, Stamp]:
        """How the files are now; equal as long as nothing changes."""
        return {name: _stamp(path) for name, (path, _) in self._imported.items()}

    def has_changed(self) -> bool:
        """Whether a file has changed since they were last imported, or tried."""
        return self.stamps() != self._tried

    def reload(self) -> tuple[App, frozenset[str]]:
        """The app as its files make it now, and the modules that were imported anew for it.

        Raises AppNotFound with the reason in one sentence; then everything is as before, and the same files are not
        tried again.
        """
        stale = self._stale()
        before: dict[str, ModuleType] = {name: sys.modules[name] for name in stale if name in sys.modules}
        classes, modules, tried = registered_now(), set(sys.modules), self.stamps()
        for name in before:
            del sys.modules[name]
        importlib.invalidate_caches()
        try:
            app = _imported(self._target)
        except AppNotFound:
            for name in {*before, *(set(sys.modules) - modules)}:
                if name in before or self._is_ours(sys.modules.get(name)):
                    sys.modules.pop(name, None)
            sys.modules.update(before)
            register_as_before(classes)
            self._tried = tried
            raise
        self._note(tried)
        return app, stale

    def _note(self, before: Mapping[str, Stamp] = MappingProxyType({})) -> None:
        """What was imported is what there was before it; a file that has changed since is imported once more."""
        ours = [(name, module) for name, module in list(sys.modules.items()) if self._is_ours(module)]
        self._imported = {
            name: (path, before.get(name) or _stamp(path))
            for name, module in ours[:FILES_LIMIT]
            if (path := Path(str(module.__file__))).suffix == ".py"
        }
        self._tried = {name: stamp for name, (_, stamp) in self._imported.items()}

    def _is_ours(self, module: ModuleType | None) -> bool:
        file = getattr(module, "__file__", None)
        if not file or getattr(module, "__name__", "").startswith(SKILL_MODULES):
            return False  # a skill is imported by those who have it, and not by its name
        place = _real(file)
        if not place.startswith(f"{self._folder}{os.sep}"):
            return False
        parts = Path(place).relative_to(self._folder).parts
        return not any(part in NOT_OF_THE_APP or part.startswith(".") for part in parts)

    def _stale(self) -> frozenset[str]:
        """The modules that have changed since they were imported, and all that import them, directly or not."""
        stale = {name for name, (path, stamp) in self._imported.items() if _stamp(path) != stamp}
        imports = {name: _imports(path, name) for name, (path, _) in self._imported.items() if name not in stale}
        while more := {name for name, needed in imports.items() if name not in stale and needed & stale}:
            stale |= more
        return frozenset(stale)


@lru_cache(maxsize=LIMIT_REAL)
def _real(file: str) -> str:
    """Where a file is, past all links; of a thousand modules that are loaded most are asked about at each change."""
    return os.path.realpath(file)


def _imports(path: Path, name: str) -> set[str]:
    """The names that a file imports, those of packages on the way included; more than it needs does no harm."""
    found: set[str] = set()
    package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*above, *([node.module] if node.module else [])])
            found.add(module)
            found.update(f"{module}.{alias.name}" for alias in node.names)
    for each in list(found):
        parts = each.split(".")
        found.update(".".join(parts[:end]) for end in range(1, len(parts)))
    return found


def _imported(target: str) -> App:
    try:
        return app_named(target)
    except SystemExit as error:
        raise AppNotFound(target, f"importing it ends the program (exit {error.code})") from error


def _stamp(path: Path) -> Stamp:
    try:
        status = os.stat(path)  # noqa: PTH116 # half the time of Path.stat, and it is done for each file each time
    except OSError:
        return 0, 0  # an editor is about to put another one in its place
    return status.st_mtime_ns, status.st_size
