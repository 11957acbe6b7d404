"""Whole systems: the App and its engines, config, embedded Redis, Ray, and the command line.

Reading order: errors, config → app, engine → roots, inline → services, redis_owner → code → the
`ray_*` files → control, cli. Importing the room loads none of it: a name is loaded when it is first
used, so that `regrow --version` answers at once.
"""

if __name__ != "regrow.cluster":
    raise ImportError(f"this is regrow.cluster; import it under that name, not as {__name__!r}")

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from regrow.cluster.app import App, Running
    from regrow.cluster.config import Settings
    from regrow.cluster.deeds import Deed, Life, Replaced
    from regrow.cluster.errors import (
        AppNotFound,
        AppNotRunning,
        AppNotStarted,
        ConfigError,
        NoSuchAgent,
        PortInUse,
        RayUnavailable,
        RedisUnavailable,
    )
    from regrow.cluster.letters import Letter, Letters
    from regrow.cluster.tree import Counts, TreeNode

__all__ = [
    "App",
    "AppNotFound",
    "AppNotRunning",
    "AppNotStarted",
    "ConfigError",
    "Counts",
    "Deed",
    "Letter",
    "Letters",
    "Life",
    "NoSuchAgent",
    "PortInUse",
    "RayUnavailable",
    "RedisUnavailable",
    "Replaced",
    "Running",
    "Settings",
    "TreeNode",
]

_FILE_OF = {
    "App": "app",
    "Counts": "tree",
    "Deed": "deeds",
    "Letter": "letters",
    "Letters": "letters",
    "Life": "deeds",
    "Replaced": "deeds",
    "Running": "app",
    "Settings": "config",
    "TreeNode": "tree",
}
"""The file of each name that is not from `errors`."""


if not TYPE_CHECKING:  # a checker that saw this function would take every misspelt name for a good one

    def __getattr__(name: str) -> object:
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(import_module(f"regrow.cluster.{_FILE_OF.get(name, 'errors')}"), name)
        globals()[name] = value
        return value
