"""Where user code comes from: hosts import it by name, they never unpickle it.

A `CodeBase` says which module holds the app, where it is imported from, and what its file hashes
to; a host whose file hashes differently refuses to join. A module run as `__main__` is imported by
its file's name elsewhere, as multiprocessing's spawn does.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from regrow.actors import Agent, FunctionAgent
from regrow.actors.adopted import adopted_from
from regrow.actors.skill_places import look_in
from regrow.cluster.errors import AppNotFound
from regrow.runtime import CodeNotImportable
from regrow.runtime.errors import Misuse
from regrow.runtime.immutable import importable_module

if TYPE_CHECKING:
    from regrow.cluster.app import App


@dataclass(frozen=True, slots=True)
class CodeName:
    """`module:qualname` of something that only a host imports; the guardian runs no user code.

    It stands where a class would, in specs that cross processes.
    """

    makes_behavior: ClassVar[bool] = True
    name: str
    durable: bool = False
    """Whether it is a durable agent, which nobody can see by its name."""


@dataclass(frozen=True, slots=True)
class CodeBase:
    """The module of an app, as another process can import it; `skills` is the folder that its settings name."""

    module: str
    attribute: str
    import_root: str
    digest: str
    skills: str = ""

    @classmethod
    def of(cls, app: App) -> CodeBase:
        """The code base of an app object. Raises CodeNotImportable for a notebook, a REPL or `python -c`."""
        module = sys.modules.get(app.module)
        file = getattr(module, "__file__", None)
        if module is None or file is None:
            raise CodeNotImportable(
                f"the app {app.name!r} was typed into a notebook or prompt, and a host process can not import that; "
                "put it into a file such as desk.py, or run it with engine='inline'"
            )
        attribute = next((name for name, value in vars(module).items() if value is app), None)
        if attribute is None:
            raise CodeNotImportable(
                f"the app {app.name!r} is no top-level name of {file}, so a host process can not find it; "
                f"assign it there, such as app = App({app.name!r}, …)"
            )
        path = Path(file).resolve()
        if _digest(path) != app.digest:
            raise CodeNotImportable(
                f"{path} has changed since this program imported it, so hosts would run other code than it does; "
                "start the program again"
            )
        name = importable_module(app.module)
        return cls(name, attribute, str(_import_root(path, name)), app.digest)

    def load(self) -> App:
        """Imports the module and gives its app. Raises CodeNotImportable with the mend."""
        if self.import_root not in sys.path:
            sys.path.insert(0, self.import_root)
        look_in(Path(self.skills) if self.skills else None)
        try:
            module = importlib.import_module(self.module)
        except Exception as error:  # an import runs user code, which may raise anything
            raise CodeNotImportable(
                f"a host could not import {self.module} from {self.import_root} ({type(error).__name__}: {error}); "
                f"{_mend(error)}"
            ) from error
        file = getattr(module, "__file__", None)
        if file is None or _digest(Path(file)) != self.digest:
            raise CodeNotImportable(
                f"{self.module} at {file} is not the file that the app was started from; "
                "bring the same version to every node, or restart the app"
            )
        app: App = getattr(module, self.attribute)
        return app


def digest_of(module_name: str) -> str:
    """The hash of a loaded module's file, as it is now; empty where there is no file to read."""
    file = getattr(sys.modules.get(module_name), "__file__", None)
    try:
        return _digest(Path(file)) if file is not None else ""
    except OSError:
        return ""  # inside an archive, or gone; `CodeBase.of` says so where it matters


def app_named(target: str) -> App:
    """The App that `MODULE:APP` names, imported from the current folder. Raises AppNotFound."""
    from regrow.cluster.app import App

    module_name, _, attribute = target.partition(":")
    if not module_name or not attribute:
        raise AppNotFound(target, "write it as MODULE:APP, such as hello:app for `app = App(…)` in hello.py")
    if module_name.endswith(".py") or "/" in module_name or module_name.startswith("."):
        raise AppNotFound(target, _module_advice(module_name, attribute))
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        wanted = error.name
        if wanted is not None and wanted != module_name and not module_name.startswith(f"{wanted}."):
            raise AppNotFound(target, f"importing {module_name} needs {wanted!r}, which is not installed") from error
        raise AppNotFound(
            target,
            f"there is no module {module_name!r} here; start it in the folder that holds {_file_of(module_name)}",
        ) from error
    except Exception as error:  # an import runs user code, which may raise anything
        raise AppNotFound(target, f"importing {module_name} failed ({_where(error)})") from error
    app = getattr(module, attribute, None)
    if isinstance(app, App):
        return app
    known = ", ".join(name for name, value in vars(module).items() if isinstance(value, App)) or "none"
    raise AppNotFound(target, f"{module_name} has no app {attribute!r}; its apps are: {known}")


def _file_of(module: str) -> str:
    return f"{module.replace('.', '/')}.py"


def _module_advice(path: str, attribute: str) -> str:
    """What to write instead of the path of a file, or of a name that begins with dots."""
    parts = [part for part in path.removesuffix(".py").split("/") if part.strip(".")]
    if not parts:
        return "write it as MODULE:APP, such as hello:app for `app = App(…)` in hello.py"
    if path.startswith("/") or ".." in path.split("/"):
        name = parts[-1]
        return f"give a module of the current folder; go to the folder of {name}.py and give {name}:{attribute}"
    module = ".".join(part.lstrip(".") for part in parts)
    return f"give the module and not a path, such as {module}:{attribute}"


def name_of(target: object) -> str:
    """The name under which another process finds an agent class or function. Raises CodeNotImportable."""
    own_name = getattr(target, "code_name", None)
    if isinstance(own_name, str):
        return own_name
    qualname = getattr(target, "__qualname__", None)
    module = getattr(target, "__module__", None)
    if not isinstance(qualname, str) or not isinstance(module, str) or "<locals>" in qualname:
        raise CodeNotImportable(
            f"{target!r} is defined inside a function, so a host process can not import it; "
            "move it to the top of its module"
        )
    if module == "__main__" and getattr(sys.modules["__main__"], "__file__", None) is None:
        raise CodeNotImportable(
            f"{qualname} was typed into a notebook or prompt; put it into a file, or use engine='inline'"
        )
    return f"{importable_module(module)}:{qualname}"


def found(name: str) -> Any:
    """What `module:qualname` names. Raises CodeNotImportable."""
    module_name, _, qualname = name.partition(":")
    try:
        value: Any = importlib.import_module(module_name)
        for part in qualname.split("."):
            value = inspect.getattr_static(value, part) if isinstance(value, type) else getattr(value, part)
    except (ImportError, AttributeError) as error:
        raise CodeNotImportable(f"a host could not import {name} ({error})") from error
    return value


def agent_class(target: object) -> type[Agent] | None:
    """The agent class behind a child's target, None when it is something else."""
    if isinstance(target, FunctionAgent):
        return target.agent_class
    if isinstance(target, type) and issubclass(target, Agent):
        return target
    adopted = adopted_from(target)  # a host finds the function itself by its name
    return adopted.agent_class if adopted is not None else None


def not_an_agent(target: object) -> Misuse:
    """The error for a child that is made of something else."""
    return Misuse(f"{target!r} is no agent; derive a class from Agent, or put @agent above the function")


def _mend(error: Exception) -> str:
    """The next step for an import that failed in a host; most often a script starts its app when imported."""
    if isinstance(error, RuntimeError | Misuse):
        return 'put what starts the app under `if __name__ == "__main__":`, since hosts import the file as well'
    return "mend the import, or install what it needs where the hosts run"


def _import_root(path: Path, module: str) -> Path:
    depth = module.count(".") + (path.name == "__init__.py")
    return path.parents[depth]


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _where(error: BaseException) -> str:
    """The error, and the line of the user's own code that it came from."""
    place = ""
    trace = error.__traceback__
    while trace is not None:
        module = str(trace.tb_frame.f_globals.get("__name__", ""))
        if not module.startswith(("regrow.", "importlib.")):
            place = f" at {Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}"
        trace = trace.tb_next
    if isinstance(error, SyntaxError):
        place = ""  # its text says so, and no frame is at the place
    return f"{type(error).__name__}: {error}{place}"
