"""What the processes of an app print, as it comes out of the driver: Ray brings it there line by line.

Ray puts the process before each line, leaves out lines that are like others, and has paragraphs of its own on workers
that died. Of log lines in JSON all three would make something that no program reads: those come as they were written.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from typing import Any

OF_EVERY_LINE = frozenset({"event", "level", "timestamp"})
"""What a line of our logs has in JSON; see logs."""


def show_output_of_workers() -> None:
    """From now on output of workers comes out as said above; there is no other hook, so this is Ray's own function."""
    worker: Any = sys.modules.get("ray._private.worker")
    show = getattr(worker, "print_to_stdstream", None)
    if show is None or getattr(show, "regrow", False):
        return

    def shown(data: Any, ignore_prefix: bool) -> None:
        if isinstance(data, dict):
            if data.get("pid") in ("raylet", "gcs_server"):
                return
            if data.get("is_err"):
                logged, rest = parted(data.get("lines", ()))
                sys.stderr.writelines(f"{line}\n" for line in logged)
                if not rest:
                    return
                data = data | {"lines": rest}
        show(data, ignore_prefix)

    shown.regrow = True  # type: ignore[attr-defined]
    worker.print_to_stdstream = shown


def parted(lines: Iterable[str]) -> tuple[list[str], list[str]]:
    """The lines of our logs in JSON, and all others; each in their order."""
    logged: list[str] = []
    rest: list[str] = []
    for line in lines:
        (logged if _is_logged(line) else rest).append(line)
    return logged, rest


def _is_logged(line: str) -> bool:
    if not line.startswith("{"):
        return False
    try:
        said = json.loads(line)
    except (ValueError, RecursionError):
        return False
    return isinstance(said, dict) and said.keys() >= OF_EVERY_LINE
