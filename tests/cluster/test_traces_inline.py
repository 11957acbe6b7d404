"""An inline app whose traces are kept: the whole chain in one trace, and what trouble with keeping them costs."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from regrow.actors import Agent, Context, on, tool
from regrow.cluster.app import App
from regrow.cluster.config import MemorySettings, Settings, TracingSettings
from regrow.cluster.past_traces import files_of, latest, spans_of
from regrow.cluster.span_row import SpanRow
from regrow.cluster.trace_tree import SpanNode, tree_of
from regrow.router import Work
from regrow.runtime import telemetry
from regrow.runtime.message import Request
from regrow.supervisors import Supervisor, child


class Question(Request[str]):
    text: str


class File(Request[int]):
    text: str


@tool
async def book(room: str) -> str:
    """Books a room."""
    return f"{room} is booked for ada@example.com"


class Analyst(Agent):
    tools = [book]

    @on
    async def answer(self, question: Question, ctx: Context) -> str:
        hits = await ctx.memory.recall(question.text, k=2)
        reply = await ctx.models.complete(Work.EXTRACT, question.text, context=hits)
        await ctx.tools.call("book", {"room": "blue"})
        await ctx.ask("desk/scribe", File(text=reply.text))
        return reply.text


class Scribe(Agent):
    @on
    async def file(self, request: File, ctx: Context) -> int:
        await ctx.memory.remember("the answer is filed", source="desk")
        return 1


def desk() -> App:
    return App("desk", Supervisor(children=[child(Analyst), child(Scribe)]))


async def asked(tmp_path: Path, tracing: TracingSettings) -> list[SpanRow]:
    """The spans of one question, read when the app is gone."""
    settings = Settings(data_dir=tmp_path / "desk", memory=MemorySettings(store="memory"), tracing=tracing)
    async with desk().start(engine="inline", settings=settings) as running:
        await running.ref(Scribe).ask(File(text="first"))
        await running.ref(Analyst).ask(Question(text="the password=hunter22 of the blue room"))
    files = files_of(settings)
    found, _ = latest(files)
    (trace,) = [each for each in found if each.root == "send desk/analyst"]
    return spans_of(files, trace.trace_id)


def outline(nodes: tuple[SpanNode, ...]) -> list[object]:
    return [(node.row.name, outline(node.children)) if node.children else node.row.name for node in nodes]


@pytest.mark.slow
async def test_prompt_retrieval_model_tool_and_action_stand_in_one_trace_when_the_app_is_gone(tmp_path: Path) -> None:
    rows = await asked(tmp_path, TracingSettings(enabled=True))

    embeddings = next(row.name for row in rows if row.name.startswith("embeddings "))
    chat = next(row for row in rows if row.name.startswith("chat "))
    turn = [
        ("search_memory", [embeddings]),
        chat.name,
        "execute_tool book",
        ("invoke_agent desk/scribe", [("upsert_memory", [embeddings])]),
    ]
    assert outline(tree_of(rows)) == [("send desk/analyst", [("invoke_agent desk/analyst", turn)])]
    assert chat.input_tokens > 0
    assert chat.cost_usd == 0.0
    assert all(row.end_ns is not None for row in rows)
    assert telemetry.spans.sampling is None


@pytest.mark.slow
async def test_nothing_that_people_or_models_wrote_is_recorded_unless_it_is_switched_on(tmp_path: Path) -> None:
    rows = await asked(tmp_path, TracingSettings(enabled=True))

    assert "blue" not in repr(rows)


@pytest.mark.slow
async def test_content_that_is_switched_on_is_recorded_without_its_secrets(tmp_path: Path) -> None:
    rows = await asked(tmp_path, TracingSettings(enabled=True, content=True, redact=(r"\bblue\b",)))

    told = {row.name.partition(" ")[0]: row.attributes for row in rows}
    assert "of the [redacted] room" in told["chat"]
    assert telemetry.OUTPUT_MESSAGES in told["chat"]
    assert telemetry.MEMORY_QUERY in told["search_memory"]
    assert '"gen_ai.tool.call.result": "[redacted] is booked for [redacted]"' in told["execute_tool"]
    for secret in ("hunter22", "ada@example.com", "blue"):
        assert secret not in repr(rows)


# ---- trouble with keeping them --------------------------------------------------------------------

PROGRAM = """
from regrow import App, agent

@agent
async def greet(name: str) -> str:
    return f"hello {name}"

app = App("hello", greet)
for number in range(3):
    print(app.ask(greet, str(number)), flush=True)
"""

HANGING = """
import threading
from opentelemetry.sdk.trace.export import SpanExporter

class Exporter(SpanExporter):
    def export(self, spans):
        threading.Event().wait()
    def shutdown(self):
        threading.Event().wait()
"""


def ran(folder: Path, program: str = PROGRAM, **variables: str) -> tuple[list[str], str, float]:
    """What a program says, what it logs, and how long it takes."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "REGROW_"))} | variables
    began_s = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", program], env=env, cwd=folder, capture_output=True, text=True, check=True, timeout=120
    )
    return done.stdout.splitlines(), done.stderr, time.monotonic() - began_s


@pytest.mark.slow
@pytest.mark.program
def test_an_exporter_that_hangs_costs_spans_and_the_program_ends(tmp_path: Path) -> None:
    (tmp_path / "hanging.py").write_text(HANGING)
    about = tmp_path / "hanging-1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: hanging\nVersion: 1\n")
    (about / "entry_points.txt").write_text("[opentelemetry_traces_exporter]\nhanging = hanging:Exporter\n")

    said, _, _ = ran(tmp_path, OTEL_TRACES_EXPORTER="hanging", PYTHONPATH=str(tmp_path))

    assert said == ["hello 0", "hello 1", "hello 2"]
    assert len(latest(files_of(Settings(data_dir=tmp_path / ".regrow" / "hello")))[0]) == 3  # the store has them all


@pytest.mark.slow
@pytest.mark.program
def test_a_folder_that_can_not_be_written_costs_spans_that_are_counted_and_told_once(tmp_path: Path) -> None:
    (tmp_path / ".regrow").write_text("a file where the folder should be")

    said, log, _ = ran(tmp_path, REGROW_TRACING__ENABLED="true")

    assert said == ["hello 0", "hello 1", "hello 2"]
    assert log.count("spans were dropped") == 3  # once for each start of the app


FULL_DISK = """
import asyncio, resource, time
from regrow import Agent, App, Request, on
from regrow.cluster import tracing

class Ping(Request[int]):
    pass

class Echo(Agent):
    @on
    async def ping(self, _: Ping) -> int:
        return 1

async def run() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    async with App("hello", Echo).start(engine="inline") as running:
        for asks, limit in ((1, 1_000), (20, 1_000), (1, hard)):
            for _ in range(asks):
                await running.ref(Echo).ask(Ping())
            await tracing.flush()
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
        await running.ref(Echo).ask(Ping())
        print((await running.metrics())["total"]["spans_dropped"]["store: OperationalError"])

asyncio.run(run())
"""


@pytest.mark.slow
@pytest.mark.program
def test_a_disk_that_is_full_for_a_while_costs_the_spans_of_that_while_which_are_told(tmp_path: Path) -> None:
    said, log, _ = ran(tmp_path, FULL_DISK, REGROW_TRACING__ENABLED="true")

    found, left_out = latest(files_of(Settings(data_dir=tmp_path / ".regrow" / "hello")))
    assert len([each for each in found if each.root == "send hello/echo"]) == 2  # the first, and the last
    assert left_out == {"store: OperationalError": int(said[0])}
    assert int(said[0]) >= 42  # a send and a turn of each of 21 questions
    assert log.count("spans were dropped") in (1, 2)
