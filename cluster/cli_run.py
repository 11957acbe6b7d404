"""`regrow run`: finds the app and its settings, and runs it."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

from regrow.cluster.app import App, EngineName, Running
from regrow.cluster.code import app_named
from regrow.cluster.config import Settings
from regrow.cluster.errors import AppNotFound
from regrow.cluster.pausable_loop import run_pausable
from regrow.cluster.running import Ended, supervise
from regrow.cluster.tree import TreeNode

JOB_FOLDERS = "working_dir_files"
"""Below a folder of this name Ray unpacks what `ray job submit --working-dir` uploads: anew for each change."""


def run(
    target: str,
    *,
    engine: EngineName | None,
    config: Path | None,
    reload: bool = False,
    say: Callable[[str], None],
    show: Callable[[str, str, tuple[TreeNode, ...]], None],
) -> Ended:
    """Runs `MODULE:APP` until its root ends or somebody stops it. Blocks.

    `say` gets lines for a person, `show` the name, the engine and the tree once it runs. With `reload` its agents
    take new code as its files change. Raises AppNotFound, ConfigError, AppAlreadyRunning and what `App.start` raises;
    then nothing is left running.
    """
    if reload:
        # Of two versions that are saved within one second, Python would take the compiled first one for the second.
        sys.dont_write_bytecode = True
    settings = Settings.load(config)
    app = _imported(target)
    if JOB_FOLDERS in Path.cwd().parts and settings.data_dir is None and settings.redis.url is None:
        say("what this app remembers lies in Ray's copy of its folder and goes with it; keep it with REGROW_DATA_DIR")
    if reload:
        return run_pausable(_reloading(app, target, engine, settings, say=say, show=show))
    return run_pausable(supervise(app, engine, settings, say=say, show=show))


async def _reloading(
    app: App,
    target: str,
    engine: EngineName | None,
    settings: Settings,
    *,
    say: Callable[[str], None],
    show: Callable[[str, str, tuple[TreeNode, ...]], None],
) -> Ended:
    from regrow.cluster.reloading import start_reloading  # only here, since few runs need it
    from regrow.cluster.sources import Sources

    name: EngineName = engine or settings.engine
    sources = Sources(target, Path.cwd())

    def start() -> Awaitable[Running]:
        return start_reloading(app, name, settings, sources, say)

    if name == "inline":
        return await supervise(app, name, settings, say=say, show=show, start=start)
    from regrow.cluster.ray_connect import RaySession

    ray = RaySession(settings.ray)  # one for the whole run: each start of the app would else bring up a Ray of its own
    await ray.aopen()
    try:
        return await supervise(app, name, settings, say=say, show=show, start=start)
    finally:
        await ray.aclose()


def _imported(target: str) -> App:
    try:
        return app_named(target)
    except SystemExit as error:
        raise AppNotFound(
            target, f"importing it ends the program (exit {error.code}); put that below: if __name__ == '__main__'"
        ) from error
