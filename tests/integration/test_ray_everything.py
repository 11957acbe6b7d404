"""An app over two hosts with faults: its traces, drawn, and its numbers, each right after events that are known."""

from __future__ import annotations

import asyncio
import io
import json
import os
import re
import signal
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.request import urlopen

import pytest
import pytest_asyncio
from prometheus_client.parser import text_string_to_metric_families

from regrow import AskFailed, Running
from regrow.actors.durable_errors import InQuarantine
from regrow.cluster.app import EngineName
from regrow.cluster.config import MemorySettings, MetricsSettings, Settings, TracingSettings
from regrow.cluster.past_traces import files_of, latest, spans_of
from regrow.cluster.set_aside import Decision, decided
from regrow.cluster.span_row import SpanRow
from regrow.cluster.trace_tree import summary_of, tree_of
from regrow.cluster.trace_views import show_trace
from regrow.runtime.command_ids import new_command_id
from tests.integration.apps import everything
from tests.integration.apps.everything import Account, Block, Broken, Count, Fall, Learn, Pid, Question, Slow
from tests.integration.conftest import Start, nothing_left
from tests.integration.model_server import model_server
from tests.integration.waiting import until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.ray,
    pytest.mark.redis,
    pytest.mark.again,  # what each count and span is, tests within one process say
    pytest.mark.asyncio(loop_scope="module"),
]

PATIENCE_S = 90.0
TREE = """\
send everything/analyst  Question  in driver
└── invoke_agent everything/analyst  Question  in H
    ├── search_memory  1 hit  in H
    │   └── embeddings hashing-1-1024
    ├── agent_loop everything/analyst  2 turns, 1 call
    │   ├── chat gpt-4.1-mini  1→1  in H
    │   ├── execute_tool temperature
    │   └── chat gpt-4.1-mini  1→1  in H
    ├── look closer
    │   ├── execute_tool weigh
    │   ├── execute_tool raw_echo
    │   │   └── invoke_agent everything/raw  CallTool  in H
    │   │       └── MCP send tools/call echo
    │   └── execute_tool counter
    │       └── invoke_agent everything/counter  Count  in H
    ├── invoke_agent everything/analyst/own  Count
    ├── invoke_agent everything/teller  Tell  in H
    └── invoke_agent everything/account/東京  Note  in H
        ├── step write  ✗ ConnectionError: the bank does not answer
        └── step write  attempt 2  again"""

KEY = "東京"
COUNTER, ACCOUNT = "everything/counter", f"everything/account/{KEY}"


@pytest.fixture(scope="module")
def engine(local_ray: Path) -> EngineName:
    """Only on Ray are there several hosts."""
    return "ray"


@pytest.fixture(scope="module")
def settings(root: Path, engine: EngineName) -> Iterator[Settings]:
    """With a model, an address at which metrics are scraped, and all traces."""
    folder = Path(tempfile.mkdtemp(prefix="data-everything-", dir=root))
    with model_server() as server, pytest.MonkeyPatch.context() as patch:
        for name, value in (("BASE_URL", f"{server.url}/v1"), ("API_KEY", "none"), ("MODEL", "gpt-4.1-mini")):
            patch.setenv(f"OPENAI_{name}", value)
        patch.setenv("no_proxy", "127.0.0.1")
        patch.chdir(folder)
        models = Settings.load().models
        yield Settings(
            data_dir=folder,
            memory=MemorySettings(store="memory"),
            metrics=MetricsSettings(address="0"),
            models=models,
            tracing=TracingSettings(enabled=True),
        )


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(start: Start, root: Path) -> AsyncIterator[Running]:
    with nothing_left(root):
        async with start(everything.app) as started:
            yield started


# ---- traces ---------------------------------------------------------------------------------------


async def traced(settings: Settings, root: str, *, spans: int) -> list[SpanRow]:
    """The last trace that begins so and has so many spans that have ended."""

    def found() -> list[SpanRow]:
        files = files_of(settings)
        traces = [spans_of(files, each.trace_id) for each in latest(files, limit=100)[0] if each.root == root]
        whole = [rows for rows in traces if sum(row.end_ns is not None for row in rows) >= spans]
        return whole[-1] if whole else []

    return await until(found, f"a trace of {root} with {spans} spans is kept", within_s=PATIENCE_S)


def drawn(rows: list[SpanRow]) -> str:
    """The tree without what differs from run to run."""
    out = io.StringIO()
    show_trace(summary_of(rows), tree_of(rows), to=out)
    _, _, tree = out.getvalue().rstrip().partition("\n")
    tree = re.sub(r", after that at \+[\d.,]+ (µs|ms|s)", "", tree)
    return re.sub(r"  in h\d+", "  in H", re.sub(r"  \+?[\d.,]+ (µs|ms|s)(?=  |\n|$)", "", tree))


async def test_one_trace_through_everything_over_two_hosts_is_drawn_with_each_part_where_it_belongs(
    running: Running, settings: Settings
) -> None:
    analyst = running.ref(everything.Analyst)
    await analyst.ask(Learn(text="Bern is warm."), timeout_s=PATIENCE_S)
    await analyst.ask(Question(text="How warm is it in Bern?"), timeout_s=PATIENCE_S)

    rows = await traced(settings, "send everything/analyst", spans=len(TREE.splitlines()))

    assert drawn(rows) == TREE
    assert len({row.process for row in rows if "everything/" in row.name}) >= 3


def chain_of(rows: list[SpanRow], name: str) -> list[SpanRow]:
    """The turns of this name in their order, each of which is linked to the one before."""
    turns = [row for row in rows if row.name == name]
    links = [[link["span_id"] for link in json.loads(turn.links)] for turn in turns]
    assert links == [[], *([turn.span_id] for turn in turns[:-1])]
    return turns


async def test_what_a_client_asks_again_after_the_kill_of_a_host_stays_in_its_trace_with_all_attempts_linked(
    running: Running, settings: Settings, tmp_path: Path
) -> None:
    account, command = running.ref(Account, key=KEY), new_command_id()
    slow = Slow(begun=str(tmp_path / "begun"), go=str(tmp_path / "go"))
    pid = await account.ask(Pid(), timeout_s=PATIENCE_S)

    asking = asyncio.create_task(account.ask(slow, timeout_s=PATIENCE_S, command_id=command))
    await until((tmp_path / "begun").exists, "its turn has begun", within_s=PATIENCE_S)
    asking.cancel()
    await until(lambda: unended(settings, f"invoke_agent {ACCOUNT}"), "its turn is told of", within_s=PATIENCE_S)
    os.kill(pid, signal.SIGKILL)
    again = asyncio.create_task(account.ask(slow, timeout_s=PATIENCE_S, command_id=command))
    await until(lambda: (tmp_path / "begun").read_text().count("begun") == 2, "it runs again", within_s=PATIENCE_S)
    (tmp_path / "go").touch()
    await again

    rows = await traced(settings, f"send {ACCOUNT}", spans=3)
    first, second = chain_of(rows, f"send {ACCOUNT}")
    before, after = chain_of(rows, f"invoke_agent {ACCOUNT}")
    assert second.parent_id == before.parent_id == after.parent_id == first.span_id
    assert (before.end_ns, after.end_ns is None) == (None, False)
    assert before.process != after.process


async def test_what_is_put_back_from_quarantine_stays_in_its_trace_with_the_last_attempt_linked(
    running: Running, settings: Settings, tmp_path: Path
) -> None:
    account, command = running.ref(Account, key=KEY), new_command_id()
    with pytest.raises(InQuarantine):
        await account.ask(Broken(mended=str(tmp_path / "mended")), timeout_s=PATIENCE_S, command_id=command)
    await traced(settings, f"send {ACCOUNT}", spans=1 + Account.poison_after)  # a kill takes the last of them along
    os.kill(await account.ask(Pid(), timeout_s=PATIENCE_S), signal.SIGKILL)
    await account.ask(Pid(), timeout_s=PATIENCE_S)  # the next life is not to find it at the head of its mailbox

    (tmp_path / "mended").touch()
    await decided(running, f"{ACCOUNT}@{command}", Decision.REQUEUE, None)

    rows = await traced(settings, f"send {ACCOUNT}", spans=2 + Account.poison_after)
    turns = chain_of(rows, f"invoke_agent {ACCOUNT}")
    assert len(turns) == Account.poison_after + 1
    assert [bool(turn.failed) for turn in turns] == [*[True] * Account.poison_after, False]


def unended(settings: Settings, name: str) -> list[SpanRow]:
    """Spans of this name that are known to have begun."""
    files = files_of(settings)
    rows = [row for each in latest(files)[0] for row in spans_of(files, each.trace_id)]
    return [row for row in rows if row.name == name and row.end_ns is None]


# ---- numbers --------------------------------------------------------------------------------------


async def scraped(running: Running) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
    """What Prometheus reads: by name and labels without the host, summed over hosts."""
    assert running.endpoint is not None
    host, port = running.endpoint.address
    with await asyncio.to_thread(urlopen, f"http://{host}:{port}/metrics", timeout=PATIENCE_S) as answer:
        text = answer.read().decode()
    found: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = tuple(item for item in sample.labels.items() if item[0] not in ("app", "host", "node", "pid"))
            of = found.setdefault(sample.name, {})
            of[labels] = of.get(labels, 0.0) + sample.value
    return found


async def fallen(running: Running, times: int) -> None:
    """Has the counter crash so often, each time with a life after it."""
    for _ in range(times):
        await running.ref(COUNTER).tell(Fall())

        async def counts() -> bool:
            try:
                return await running.ref(COUNTER).ask(Count(text="x"), timeout_s=PATIENCE_S) == 1
            except AskFailed:
                return False

        await until(counts, "the counter is back", within_s=PATIENCE_S)


async def grown(running: Running, before: dict[str, dict[tuple[tuple[str, str], ...], float]], name: str) -> object:
    """By how much each series of a counter has grown, where it has."""
    now = (await scraped(running)).get(name, {})
    return {
        "".join(value for _, value in labels): value - before.get(name, {}).get(labels, 0.0)
        for labels, value in now.items()
        if value != before.get(name, {}).get(labels, 0.0)
    }


async def test_each_number_is_right_after_events_that_are_known(running: Running) -> None:
    before = await scraped(running)

    await fallen(running, 3)
    await running.kill(COUNTER)
    for _ in range(5):
        await running.ref("everything/nobody").tell(Fall())
    await running.ref(everything.Analyst).ask(Question(text="How warm is it in Bern?"), timeout_s=PATIENCE_S)

    async def counted() -> bool:
        return await grown(running, before, "regrow_dead_letters_total") == {"crashed": 3.0, "no_such_agent": 5.0}

    await until(counted, "all dead letters are counted", within_s=PATIENCE_S)
    assert await grown(running, before, "regrow_restarts_total") == {"crashed": 3.0, "killed": 1.0}
    assert await grown(running, before, "regrow_tool_calls_total") == {"ok": 4.0}
    calls = await grown(running, before, "regrow_model_calls_total")
    assert isinstance(calls, dict)
    assert [(name[:12], count) for name, count in calls.items()] == [("gpt-4.1-mini", 2.0)]
    tokens = await grown(running, before, "regrow_model_tokens_total")
    assert isinstance(tokens, dict)
    assert sorted(tokens.values()) == [2.0, 2.0]
    assert await grown(running, before, "regrow_commit_duration_seconds_count") == {"": 1.0}
    # Falls and asks of the counter, the question, and what it asks: the MCP server, two counters, teller and account;
    # memory and models; and what their supervisor hears of four lives that have ended.
    assert await grown(running, before, "regrow_turns_total") == {"": 2 * 3.0 + 1 + 5 + 3 + 4}


async def test_a_host_that_hangs_holds_up_no_scrape_and_what_it_had_counted_stays_when_it_is_killed(
    running: Running, tmp_path: Path
) -> None:
    pid = await running.ref(COUNTER).ask(Pid(), timeout_s=PATIENCE_S)
    block = Block(begun=str(tmp_path / "begun"), go=str(tmp_path / "go"))
    blocking = asyncio.create_task(running.ref(COUNTER).ask(block, timeout_s=PATIENCE_S))
    await until((tmp_path / "begun").exists, "a handler holds up its host", within_s=PATIENCE_S)

    async def is_late() -> bool:
        return (await scraped(running))["regrow_loop_lag_seconds"][()] > 1.0

    await until(is_late, "the lag of its loop is told", within_s=PATIENCE_S)
    (tmp_path / "go").touch()
    await blocking
    busy = await scraped(running)
    os.kill(pid, signal.SIGSTOP)
    hung = await scraped(running)
    os.kill(pid, signal.SIGKILL)
    await fallen(running, 1)
    after = await scraped(running)

    for name in ("regrow_turns_total", "regrow_messages_total", "regrow_restarts_total", "regrow_dead_letters_total"):
        for labels, value in busy[name].items():
            assert value <= hung[name][labels] <= after[name][labels]
