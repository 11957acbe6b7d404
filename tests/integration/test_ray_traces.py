"""One trace through several processes on Ray, with one of them killed in the midst, read when the app is gone."""

from __future__ import annotations

import asyncio
import json
import tempfile
from pathlib import Path

import pytest

from regrow.cluster.app import EngineName
from regrow.cluster.config import Settings, TracingSettings
from regrow.cluster.past_traces import files_of, latest, spans_of
from regrow.cluster.span_row import SpanRow
from tests.integration.apps import traced
from tests.integration.apps.traced import Question
from tests.integration.conftest import Start, nothing_left
from tests.integration.killing import kill
from tests.integration.waiting import until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.ray,
    pytest.mark.redis,
    pytest.mark.again,
    pytest.mark.asyncio(loop_scope="module"),
]


@pytest.fixture(scope="module")
def engine(local_ray: Path) -> EngineName:
    """Only on Ray are there several processes."""
    return "ray"


@pytest.fixture(scope="module")
def settings(root: Path, engine: EngineName) -> Settings:
    """With a data folder for this module, and tracing."""
    folder = Path(tempfile.mkdtemp(prefix="data-traced-", dir=root))
    return Settings(data_dir=folder, tracing=TracingSettings(enabled=True))


async def test_a_trace_goes_through_all_processes_and_through_the_death_of_one(
    start: Start, settings: Settings, root: Path, tmp_path: Path
) -> None:
    begun, go = tmp_path / "begun", tmp_path / "go"
    question = Question(text="Which room is free?", begun=str(begun), go=str(go))

    with nothing_left(root):
        async with start(traced.app) as running:
            asking = asyncio.create_task(running.ref(traced.Analyst).ask(question, timeout_s=100))
            await until(begun.exists, "the clerk is at work", within_s=60)
            await until(lambda: unended(settings, "invoke_agent traced/clerk"), "its turn is told of", within_s=30)
            await kill(running, "traced/clerk")
            await until(lambda: begun.read_text().count("begun") == 2, "its next life is at work", within_s=60)
            go.touch()
            await asking

    rows = kept(settings)
    by_id = {row.span_id: row for row in rows}
    chain = ("invoke_agent traced/analyst", "upsert_memory", "search_memory", "execute_tool book")
    assert [name for name in chain if len(named(rows, name)) != 1] == []
    assert len([row for row in rows if row.name.startswith("chat ")]) == 1
    first, second = named(rows, "invoke_agent traced/clerk")
    assert (first.end_ns, second.end_ns is None) == (None, False)
    assert first.parent_id == second.parent_id
    assert json.loads(second.links) == [{"trace_id": second.trace_id, "span_id": first.span_id}]
    assert by_id[first.parent_id].name == "invoke_agent traced/analyst"
    (step,) = named(rows, "step notify")
    assert step.parent_id == second.span_id
    (root_span,) = [row for row in rows if not row.parent_id]
    assert root_span.name == "send traced/analyst"
    assert len({row.process for row in rows}) >= 4  # the driver, the analyst's, and the two of the clerk


def kept(settings: Settings) -> list[SpanRow]:
    """The spans of the one question."""
    files = files_of(settings)
    found = [each for each in latest(files)[0] if each.root == "send traced/analyst"]
    return spans_of(files, found[-1].trace_id) if found else []


def unended(settings: Settings, name: str) -> list[SpanRow]:
    """Spans of this name that are known to have begun."""
    files = files_of(settings)
    traces = latest(files)[0]
    rows = [row for each in traces for row in spans_of(files, each.trace_id)]
    return [row for row in rows if row.name == name and row.end_ns is None]


def named(rows: list[SpanRow], name: str) -> list[SpanRow]:
    """Those of this name."""
    return [row for row in rows if row.name == name]
