"""The folders that tools in processes of their own work in: one for each call, and none stays.

A host that is killed removes nothing. So the name of a folder tells whose it is, from the moment that it is there, and
the first call of a later host removes those whose host has ended.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import shutil
import stat
import tempfile
from functools import lru_cache
from pathlib import Path

from regrow.actors.threads import HandlerThreads, in_thread
from regrow.actors.tool_order import FOLDER_PREFIX
from regrow.runtime.processes import pid_space, started_at

FOLDER_THREADS = 4
"""Which remove folders, apart from those of tools: all of these may hang."""
_SPACE_DIGITS = 8

_NAME = re.compile(rf"{FOLDER_PREFIX}([0-9a-f]{{{_SPACE_DIGITS}}})-(\d+)-(\d+)-\w+")


def new_folder() -> str:
    """A new, empty folder of this process."""
    sweep_once()
    pid = os.getpid()
    space, started = pid_space(), started_at(pid)
    owner = f"{_digits(space)}-{pid}-{started}-" if space and started else ""
    return tempfile.mkdtemp(prefix=f"{FOLDER_PREFIX}{owner}")


async def remove(folder: str) -> None:
    """Removes it in a thread, however much a tool has left there; a wait that is cut off does not cut that off."""
    await asyncio.shield(in_thread(shutil.rmtree, (folder, True), _threads()))


def sweep() -> list[str]:
    """Removes the folders of hosts of this user and machine that have ended; gives their names. Blocks."""
    space = pid_space()
    if not space:
        return []
    found = [path for path in Path(tempfile.gettempdir()).glob(f"{FOLDER_PREFIX}*") if _is_left(path, _digits(space))]
    for path in found:
        shutil.rmtree(path, ignore_errors=True)
    return sorted(path.name for path in found)


def _is_left(path: Path, space: str) -> bool:
    """Whether the name of a folder says that its process has ended; of another's, and of a link, it says nothing."""
    named = _NAME.fullmatch(path.name)
    if named is None or named[1] != space or started_at(int(named[2])) == named[3]:
        return False
    try:
        found = path.lstat()
    except FileNotFoundError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()


def _digits(space: str) -> str:
    return hashlib.blake2b(space.encode(), digest_size=_SPACE_DIGITS // 2).hexdigest()


@lru_cache(maxsize=1)
def sweep_once() -> None:
    """Has it done beside the first call, which does not wait for it."""
    _threads().submit(sweep)


@lru_cache(maxsize=1)
def _threads() -> HandlerThreads:
    return HandlerThreads(FOLDER_THREADS)
