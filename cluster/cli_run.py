"""`regrow run`: finds the app and its settings, and runs it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from regrow.cluster.app import App, EngineName
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
    say: Callable[[str], None],
    show: Callable[[str, str, tuple[TreeNode, ...]], None],
) -> Ended:
    """Runs `MODULE:APP` until its root ends or somebody stops it. Blocks.

    `say` gets lines for a person, `show` the name, the engine and the tree once it runs. Raises AppNotFound,
    ConfigError, AppAlreadyRunning and what `App.start` raises; then nothing is left running.
    """
    settings = Settings.load(config)
    app = _imported(target)
    if JOB_FOLDERS in Path.cwd().parts and settings.data_dir is None and settings.redis.url is None:
        say("what this app remembers lies in Ray's copy of its folder and goes with it; keep it with REGROW_DATA_DIR")
    return run_pausable(supervise(app, engine, settings, say=say, show=show))


def _imported(target: str) -> App:
    try:
        return app_named(target)
    except SystemExit as error:
        raise AppNotFound(
            target, f"importing it ends the program (exit {error.code}); put that below: if __name__ == '__main__'"
        ) from error
