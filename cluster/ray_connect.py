"""Starts a local Ray or joins a running one, and leaves nothing of one that it started.

The one place that touches Ray's private parts: its printing of worker deaths, which the keeper tells
better, and its count of restarts. Without them everything works, only noisier and with longer numbers.
"""

from __future__ import annotations

import importlib
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError

from regrow.cluster.config import RaySettings
from regrow.cluster.errors import RayUnavailable
from regrow.cluster.ray_transport import NAMESPACE

PRELOADED = "regrow.cluster.ray_host,regrow.cluster.ray_guardian"
"""Imported by every worker before it is asked for, which makes a host's start ten times faster."""
PREFIX = "regrow-ray-"
LIVES_SINCE_S = 1_760_000_000
"""From here on the seconds are counted that stand for an unknown number of lives."""


class RaySession:
    """The Ray that one driver uses."""

    def __init__(self, settings: RaySettings) -> None:
        self._settings = settings
        self._folder: Path | None = None
        self._janitor: subprocess.Popen[bytes] | None = None
        self._connected_here = False

    def open(self) -> None:
        """Joins the Ray that the config or RAY_ADDRESS names, or starts one for this process. Blocks for seconds.

        Raises RayUnavailable with what to do.
        """
        if ray.is_initialized():
            return  # the program has its own connection, and keeps it
        _quiet_death_notices()
        address = self._settings.address or os.environ.get("RAY_ADDRESS")
        try:
            if address:
                ray.init(address=address, namespace=NAMESPACE, log_to_driver=True, logging_level=logging.ERROR)
            else:
                self._start()
        except (RayError, ConnectionError, RuntimeError, ValueError, OSError) as error:
            self.close()
            raise RayUnavailable(_explained(address, error)) from error
        self._connected_here = True

    def close(self) -> None:
        """Leaves Ray, and removes the files of one that was started here. Idempotent."""
        if self._connected_here and ray.is_initialized():
            ray.shutdown()
        self._connected_here = False
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None
        if self._janitor is not None:
            self._janitor.communicate(b"done")
            self._janitor = None

    def _start(self) -> None:
        os.environ.setdefault("RAY_preload_python_modules", PRELOADED)
        os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        root = Path(os.environ.get("RAY_TMPDIR") or tempfile.gettempdir())
        # Short, since Ray puts sockets below it and a socket's path may have 107 characters.
        self._folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-", dir=root))
        self._janitor = _janitor(self._folder)
        ray.init(
            address="local",
            namespace=NAMESPACE,
            num_cpus=self._settings.num_cpus,
            include_dashboard=False,
            log_to_driver=True,
            logging_level=logging.ERROR,
            _temp_dir=str(self._folder),
        )


def earlier_lives() -> int:
    """How many lives this process's actor has had before; where Ray does not tell, a larger number that grows too."""
    with warnings.catch_warnings():
        # Ray 2.60 warns of a deprecated call that it makes itself in here.
        warnings.simplefilter("ignore", DeprecationWarning)
        context = ray.get_runtime_context()
        if not context.was_current_actor_reconstructed:
            return 0
        actor = context.get_actor_id()
    try:
        state: Any = importlib.import_module("ray._private.state")
        return int(state.actors(actor)["NumRestarts"])
    except (ImportError, AttributeError, KeyError, TypeError, ValueError):
        return int(time.time()) - LIVES_SINCE_S


def _janitor(folder: Path) -> subprocess.Popen[bytes]:
    """A shell that waits for this process to end, however it ends, and then removes the folder.

    It reads a pipe that only this process holds open. Where this process was killed, Ray's raylet ends
    by itself, but Ray's agents may not (they look for a parent that is process 1); so whoever still has
    a file of this folder open after a while is ended.
    """
    script = (
        '[ "$(cat)" = done ] || { sleep 3; for p in /proc/[0-9]*; do '
        'ls -l "$p/fd" 2>/dev/null | grep -q "$1/" && kill -9 "${p#/proc/}"; done; sleep 1; }; rm -rf "$1"'
    )
    return subprocess.Popen(
        ["/bin/sh", "-c", script, "regrow-janitor", str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def _explained(address: str | None, error: Exception) -> str:
    said = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    if "InvalidAuthToken" in str(error.__cause__):
        return (
            f"the Ray at {address!r} wants a token, and this program has none; "
            "set RAY_AUTH_MODE=token, and see `ray get-auth-token`"
        )
    if address:
        return f"no Ray answers at {address!r} ({said}); start one with `ray start --head`, or unset ray.address"
    return f"Ray could not start here ({said}); `regrow doctor` looks for the cause, --engine inline needs no Ray"


def _quiet_death_notices() -> None:
    """Keeps Ray's paragraphs about dead workers off the driver's output, and what workers print off stdout."""
    worker: Any = sys.modules.get("ray._private.worker")
    show = getattr(worker, "print_to_stdstream", None)
    if show is None or getattr(show, "regrow", False):
        return

    def shown(data: Any, ignore_prefix: bool) -> None:
        if isinstance(data, dict) and data.get("pid") == "raylet":
            return
        show(data, ignore_prefix)

    shown.regrow = True  # type: ignore[attr-defined]
    worker.print_to_stdstream = shown
