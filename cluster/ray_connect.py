"""Starts a local Ray or joins a running one, and leaves nothing of one that it started.

The one place that touches Ray's private parts: its printing of worker deaths, which the keeper tells
better, and its count of restarts. Without them everything works, only noisier and with longer numbers.
"""

from __future__ import annotations

import importlib
import logging
import os
import socket
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError

from regrow.cluster import ray_folder
from regrow.cluster.config import RaySettings
from regrow.cluster.errors import RayUnavailable
from regrow.cluster.ray_transport import NAMESPACE

PRELOADED = "regrow.cluster.ray_host,regrow.cluster.ray_guardian"
"""Imported by every worker before it is asked for, which makes a host's start ten times faster."""
LIVES_SINCE_S = 1_760_000_000
"""From here on the seconds are counted that stand for an unknown number of lives."""
PROBE_S = 2.0
"""How long the machine of a Ray may take to answer at all; Ray itself would wait two minutes for it."""


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
                _probe(address)
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
            ray_folder.end(self._folder)
            self._folder = None
        if self._janitor is not None:
            self._janitor.communicate(b"done")
            self._janitor = None

    def _start(self) -> None:
        os.environ.setdefault("RAY_preload_python_modules", PRELOADED)
        os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        if trouble := ray_folder.trouble():
            raise RayUnavailable(f"Ray can not start here: {trouble}")
        self._folder = ray_folder.make()
        self._janitor = ray_folder.janitor(self._folder)
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


def _probe(address: str) -> None:
    """Raises OSError when nobody listens at an address of the form HOST:PORT."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), timeout=PROBE_S).close()


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
        if isinstance(data, dict) and data.get("pid") in ("raylet", "gcs_server"):
            return
        show(data, ignore_prefix)

    shown.regrow = True  # type: ignore[attr-defined]
    worker.print_to_stdstream = shown
