"""Bubblewrap around the processes of tools, where it is installed and works: no network, and nothing to write to.

With it they have namespaces of their own, so that also what tries to get away ends with them. Without it they have
the limits of `ProcessLimits` alone, and run as the user of their host.
"""

from __future__ import annotations

import asyncio
import shutil

import structlog

TRY_S = 10.0
"""How long the first try may take; some machines allow no namespaces, and say so at once."""

log = structlog.get_logger("regrow.tools")

_FLAGS = (
    "--ro-bind", "/", "/",
    "--dev", "/dev",
    "--proc", "/proc",
    "--unshare-all",
    "--die-with-parent",
)  # fmt: skip
_WHEN_ALONE = '"$@" || rm -rf -- "$0"'
"""A shell outside, since what is within can not remove the folder, which is a mount there."""

_works: dict[str, bool] = {}
"""By the path of bwrap, so that it is tried once."""


async def sandbox(folder: str) -> list[str]:
    """What stands before the command of a tool's process, which may write into `folder` alone; empty without bwrap.

    Where the command fails, as it does when its host is gone, nobody else removes the folder, so this does.
    """
    found = shutil.which("bwrap")
    if found is None or not await _tried(found):
        return []
    return ["sh", "-c", _WHEN_ALONE, folder, found, *_FLAGS, "--bind", folder, folder, "--chdir", folder, "--"]


async def _tried(bwrap: str) -> bool:
    if bwrap not in _works:
        trial = await asyncio.create_subprocess_exec(
            bwrap, *_FLAGS, "--", "true", stdin=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
        )
        try:
            async with asyncio.timeout(TRY_S):
                _, said = await trial.communicate()
        finally:
            if trial.returncode is None:
                trial.kill()
        _works[bwrap] = trial.returncode == 0
        if not _works[bwrap]:
            log.warning(
                "bubblewrap is installed and does not work here, so tools in processes run without it",
                said=said.decode(errors="replace")[:300],
            )
    return _works[bwrap]
