"""Starts a local Ray or joins a running one, and leaves nothing of one that it started.

The one place that touches Ray's private parts: its printing of worker deaths, which the keeper tells
better, and its count of restarts. Without them everything works, only noisier and with longer numbers.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
import os
import subprocess
import time
import warnings
from concurrent.futures import wait
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError

from regrow.cluster import ray_folder
from regrow.cluster.config import RaySettings
from regrow.cluster.errors import RayUnavailable
from regrow.cluster.ray_address import RayAddress, ray_address
from regrow.cluster.ray_address import trouble as address_trouble
from regrow.cluster.ray_output import show_output_of_workers
from regrow.cluster.ray_thread import RayThread
from regrow.cluster.ray_transport import NAMESPACE

PRELOADED = "regrow.cluster.ray_host,regrow.cluster.ray_guardian,regrow.cluster.span_processor"
"""Imported by every worker before it is asked for, which makes a host's start ten times faster."""
LIVES_SINCE_S = 1_760_000_000
"""From here on the seconds are counted that stand for an unknown number of lives."""
LEAVE_LIMIT_S = 30.0
"""How long leaving Ray may take, with what is left of connecting before; then its processes are ended."""
TROUBLES = (RayError, RayUnavailable, ConnectionError, RuntimeError, ValueError, OSError)
"""What connecting to Ray raises when it is the world's fault."""


class RaySession:
    """The Ray that one driver uses."""

    def __init__(self, settings: RaySettings) -> None:
        self._settings = settings
        self._address: RayAddress | None = None
        self._folder: Path | None = None
        self._janitor: subprocess.Popen[bytes] | None = None
        self._thread: RayThread | None = None

    async def aopen(self) -> None:
        """Joins the Ray that the config or RAY_ADDRESS names, or starts one for this process. Takes seconds.

        May be cancelled; `aclose` then undoes what it has done. Raises RayUnavailable with what to do.
        """
        thread = self._begin()
        if thread is None:
            return
        try:
            await asyncio.shield(asyncio.wrap_future(thread.entered))
        except TROUBLES as error:
            await self.aclose()
            raise self._explained(error) from error

    async def aclose(self) -> None:
        """Leaves Ray, ends what is left of one that was started here, and removes its files. Idempotent."""
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.leave_soon()
            # Its error, if it has one, is of no use any more: what counts is ended below.
            await asyncio.wait([asyncio.wrap_future(thread.left)], timeout=LEAVE_LIMIT_S)
        self._tidy()

    def open(self) -> None:
        """The same as `aopen`, where no loop runs. Blocks."""
        thread = self._begin()
        if thread is None:
            return
        try:
            thread.entered.result()
        except TROUBLES as error:
            self.close()
            raise self._explained(error) from error

    def close(self) -> None:
        """The same as `aclose`, where no loop runs. Blocks."""
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.leave_soon()
            wait([thread.left], timeout=LEAVE_LIMIT_S)
        self._tidy()

    # ---- inside --------------------------------------------------------------------------------

    def _begin(self) -> RayThread | None:
        """Begins to connect; None when the program has a connection of its own, which it keeps."""
        if ray.is_initialized():
            return None
        show_output_of_workers()
        self._address = ray_address(self._settings)
        if self._address is None:
            if trouble := ray_folder.trouble():
                raise RayUnavailable(f"Ray can not start here: {trouble}")
            self._folder = ray_folder.make()
            self._janitor = ray_folder.janitor(self._folder)
        self._thread = RayThread(self._enter, _leave)
        return self._thread

    def _enter(self) -> None:
        if self._address is None:
            self._start()
            return
        if trouble := address_trouble(self._address):
            raise RayUnavailable(trouble)
        ray.init(address=self._address.text, namespace=NAMESPACE, log_to_driver=True, logging_level=logging.ERROR)

    def _start(self) -> None:
        os.environ.setdefault("RAY_preload_python_modules", PRELOADED)
        os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        try:
            ray.init(
                address="local",
                namespace=NAMESPACE,
                num_cpus=self._settings.num_cpus,
                include_dashboard=False,
                log_to_driver=True,
                logging_level=logging.ERROR,
                _temp_dir=str(self._folder),
            )
        except Exception as error:  # which is the very class that Ray raises where a node does not come up in time
            raise self._explained(error) from error

    def _tidy(self) -> None:
        if self._folder is not None:
            ray_folder.end(self._folder)
            self._folder = None
        if self._janitor is not None:
            self._janitor.communicate(b"done")
            self._janitor = None

    def _explained(self, error: Exception) -> RayUnavailable:
        if isinstance(error, RayUnavailable):
            return error
        said = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        if "InvalidAuthToken" in str(error.__cause__):
            place = self._address.text if self._address is not None else "this machine"
            return RayUnavailable(
                f"the Ray at {place!r} wants a token, and this program has none; "
                "set RAY_AUTH_MODE=token, and see `ray get-auth-token`"
            )
        if self._address is not None:
            place, said_by = self._address.text, self._address.said_by
            return RayUnavailable(
                f"no Ray answers at {place!r} ({said}); start one with `ray start --head`, or unset {said_by}"
            )
        return RayUnavailable(
            f"Ray could not start here ({said}); `regrow doctor` looks for the cause, --engine inline needs no Ray"
        )


def earlier_lives() -> int:
    """How many lives this process's actor has had before; where Ray does not tell, a larger number that grows too."""
    restarts = own_restarts()
    return restarts if restarts is not None else int(time.time()) - LIVES_SINCE_S


def own_restarts() -> int | None:
    """How often Ray has restarted this process's actor; None where it has, and does not tell how often."""
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
        return None


def _leave() -> None:
    """Also after an `init` that failed half-way: at the end of the program Ray would make its files anew."""
    ray.shutdown()
