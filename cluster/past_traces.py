"""The traces that were recorded, found in the data folders of apps, whether or not these run."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from regrow.cluster import cli_calls
from regrow.cluster.config import Settings
from regrow.cluster.errors import NoSuchTrace, TracesUnreadable
from regrow.cluster.span_row import SpanRow
from regrow.cluster.span_store import FILE_NAME, SpanFile
from regrow.cluster.trace_tree import TraceSummary, summary_of

LISTED = 20
"""How many traces are listed unless it is said."""
MATCHES_TOLD = 5

_ID = re.compile(r"[0-9a-f]{1,32}")


def files_of(settings: Settings, app: str | None = None) -> list[SpanFile]:
    """The stores that there are: of one app, or of all whose data lies where the settings say."""
    if app is not None:
        paths = [settings.data_dir_of(app) / FILE_NAME]
    elif settings.data_dir is not None:
        paths = [settings.data_dir.absolute() / FILE_NAME]
    else:
        paths = sorted(Path(".regrow").absolute().glob(f"*/{FILE_NAME}"))
    return [SpanFile(path) for path in paths if path.exists()]


def files_anywhere(settings: Settings, app: str | None = None) -> list[SpanFile]:
    """The same with those of apps that run on this machine, wherever their data lies."""
    here = files_of(settings, app)
    known = {file.path for file in here}
    paths = [folder / FILE_NAME for folder in cli_calls.data_dirs(app)]
    return [*here, *(SpanFile(path) for path in paths if path not in known and path.exists())]


def latest(files: Sequence[SpanFile], *, limit: int = LISTED) -> tuple[list[TraceSummary], dict[str, int]]:
    """The latest traces, the oldest of them first, and what was left out, by reason. Raises TracesUnreadable."""
    found: list[TraceSummary] = []
    left_out: dict[str, int] = {}
    for file in files:
        with _reading(file):
            found += [summary_of(file.spans(trace_id)) for trace_id in file.latest(limit)]
            for reason, count in file.left_out().items():
                left_out[reason] = left_out.get(reason, 0) + count
    return sorted(found, key=lambda each: each.start_ns)[-limit:], left_out


def spans_of(files: Sequence[SpanFile], id: str) -> list[SpanRow]:
    """The spans of the trace whose id is this, or begins so. Raises NoSuchTrace, TracesUnreadable."""
    wanted = id.strip().lower()
    if not _ID.fullmatch(wanted):
        raise NoSuchTrace(
            f"{id!r:.60} is no id of a trace: these are hexadecimal digits, as `regrow traces` shows them"
        )
    found: dict[str, SpanFile] = {}
    for file in files:
        with _reading(file):
            found |= dict.fromkeys(file.named(wanted, MATCHES_TOLD), file)
    if not found:
        where = "no traces were recorded where the data of apps lies" if not files else "none of those recorded has it"
        raise NoSuchTrace(f"there is no trace {wanted}: {where}; list them with: regrow traces")
    if len(found) > 1:
        listed = ", ".join(sorted(found)[:MATCHES_TOLD])
        raise NoSuchTrace(f"{wanted} begins the ids of several traces: {listed}; give more of it")
    ((trace_id, file),) = found.items()
    with _reading(file):
        return file.spans(trace_id)


def spent(files: Sequence[SpanFile], *, limit: int) -> list[dict[str, Any]]:
    """What agents have spent, by agent and model, the most expensive first. Raises TracesUnreadable."""
    names = ("agent", "model", "calls", "input_tokens", "output_tokens", "cost_usd")
    found: list[dict[str, Any]] = []
    for file in files:
        with _reading(file):
            for row in file.spent(limit):
                found.append(dict(zip(names, row, strict=True)))
    return sorted(found, key=lambda each: -(each["cost_usd"] or 0.0))[:limit]


@contextmanager
def _reading(file: SpanFile) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise TracesUnreadable(
            f"the traces in {file.path} can not be read ({error}); look at the file and its folder"
        ) from error
