"""What an app counts of its work: as its process has counted it, and as the control order tells it."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel

from regrow import App, Context, DurableAgent, DurableContext, Message, Request, Supervisor, Work, child, on, tool
from regrow.actors import Agent
from regrow.actors.tool_errors import InvalidArguments, NotApproved, ToolDenied, ToolFailed, UnknownTool
from regrow.cluster.app import Running
from regrow.cluster.config import MemorySettings, Settings
from regrow.cluster.metrics import AppMetrics, CommitTimes, Counted, HostMetrics, ModelCounts, told
from regrow.router.usage import UsageReport
from regrow.runtime.lifecycle import Crashed
from regrow.runtime.metrics import COMMIT_BOUNDS_S, OTHER, VALUES_KEPT, Metrics, ModelKey
from tests.supervisors.stage import virtual

KEYS = {
    "agents",
    "mailbox_depth",
    "loop_lag_ms",
    "turns",
    "messages",
    "restarts",
    "dead_letters",
    "model_calls",
    "tool_calls",
    "guards",
    "spans_dropped",
    "tokens",
    "cost_usd",
    "commit_ms",
}


class Ping(Request[str]):
    pass


class Break(Message):
    pass


class Look(Request[str]):
    text: str


class Room(Request[str]):
    name: str


class Grab(Request[None]):
    """Has the worker want a tool with what a model might write."""

    tool: str
    arguments: str = '{"room": "blue"}'


class Record(Request[int]):
    pass


class Tally(BaseModel):
    asked: int = 0


@tool
async def book(room: str) -> str:
    """Books a room."""
    if room == "none":
        raise LookupError("there is no such room")
    return f"{room} is booked"


@tool(approval=True)
async def sell(room: str) -> str:
    """Sells a room."""
    return f"{room} is sold"


@tool
async def steal(room: str) -> str:
    """Is in nobody's list."""
    return f"{room} is gone"


class Worker(Agent):
    tools = [book, sell]

    @on
    async def grab(self, want: Grab, ctx: Context) -> None:
        await ctx.tools.call(steal if want.tool == "steal" else want.tool, want.arguments)

    @on
    async def ping(self, _: Ping) -> str:
        return "pong"

    @on
    async def fail(self, _: Break) -> None:
        raise ValueError("broken")

    @on
    async def look(self, look: Look, ctx: Context) -> str:
        return (await ctx.models.complete(Work.EXTRACT, look.text)).text

    @on
    async def use(self, room: Room, ctx: Context) -> str:
        return await ctx.tools.call(book, {"room": room.name})


class Clerk(DurableAgent[Tally]):
    @on
    async def record(self, _: Record, ctx: DurableContext) -> int:
        self.state = Tally(asked=self.state.asked + 1)
        return self.state.asked


def desk() -> App:
    return App("desk", Supervisor(children=[child(Worker, id="worker"), child(Clerk, id="clerk")]), journal="memory")


def started() -> Any:
    return desk().start(engine="inline", settings=Settings(memory=MemorySettings(store="memory")))


async def of_one_host(running: Running) -> dict[str, Any]:
    """What the one process tells, which is what all do together."""
    metrics = await running.metrics()
    (host,) = metrics["hosts"]
    assert {key: host[key] for key in KEYS} == metrics["total"]
    return metrics["total"]


@virtual
async def test_turns_messages_and_agents_are_those_of_the_app_and_not_of_its_supervisors() -> None:
    async with started() as running:
        before = await of_one_host(running)
        for _ in range(3):
            await running.ref("worker").ask(Ping())

        after = await of_one_host(running)

    assert after["turns"] - before["turns"] == 3
    assert after["messages"] - before["messages"] == 3
    assert after["agents"] == 2
    assert after["mailbox_depth"] == 0
    assert after["loop_lag_ms"] == 0.0


@virtual
async def test_restarts_and_dead_letters_are_counted_by_their_reasons() -> None:
    async with started() as running:
        await running.ref("worker").tell(Break())
        await running.ref("worker").ask(Ping())  # answered by the next life
        await running.kill("worker")
        await running.ref("desk/nobody").tell(Ping())

        total = await of_one_host(running)

    assert total["restarts"] == {"crashed": 1, "killed": 1}
    assert total["dead_letters"] == {"crashed": 1, "no_such_agent": 1}


@virtual
async def test_calls_of_tools_are_counted_by_how_they_ended() -> None:
    async with started() as running:
        await running.ref("worker").ask(Room(name="blue"))
        await running.ref("worker").ask(Room(name="red"))
        with pytest.raises(ToolFailed):
            await running.ref("worker").ask(Room(name="none"))

        total = await of_one_host(running)

    assert total["tool_calls"] == {"ok": 2, "failed": 1}


@virtual
async def test_calls_that_the_gate_refuses_are_counted_as_denied_or_invalid() -> None:
    async with started() as running:
        worker = running.ref("worker")
        for want, error in (
            (Grab(tool="steal"), ToolDenied),
            (Grab(tool="sell"), NotApproved),
            (Grab(tool="nothing"), UnknownTool),
            (Grab(tool="book", arguments='{"floor": 3}'), InvalidArguments),
            (Grab(tool="book", arguments="no JSON"), InvalidArguments),
        ):
            with pytest.raises(error):
                await worker.ask(want)

        total = await of_one_host(running)

    assert total["tool_calls"] == {"denied": 2, "invalid": 3}


@virtual
async def test_calls_of_models_are_counted_with_their_tokens_by_model_and_tier() -> None:
    async with started() as running:
        await running.ref("worker").ask(Look(text="the blue room is free"))
        used = await running.ref("desk:services/models").ask(UsageReport())

        total = await of_one_host(running)
        (model,) = (await running.metrics())["models"]

    assert total["model_calls"] == {model["model"]: 1}
    assert total["tokens"] == used.all.input_tokens + used.all.output_tokens == model["tokens"] > 0
    assert (model["tier"], model["calls"], model["cost_usd"]) == ("small", 1, 0.0)


@virtual
async def test_commits_of_durable_agents_are_counted_with_their_times() -> None:
    async with started() as running:
        assert (await of_one_host(running))["commit_ms"] == {"p50": None, "p99": None, "count": 0}

        await running.ref("clerk").ask(Record())
        await running.ref("clerk").ask(Record())

        total = await of_one_host(running)

    assert total["commit_ms"]["count"] == 2
    assert 0 <= total["commit_ms"]["p50"] <= total["commit_ms"]["p99"] <= COMMIT_BOUNDS_S[0] * 1_000


def test_what_failed_and_what_was_paid_is_summed_by_model() -> None:
    metrics = Metrics()
    key = ModelKey("wise", "large")

    metrics.model_called(key, tokens=(10, 5), cost_usd=0.25, failed=False)
    metrics.model_called(key, tokens=(0, 0), cost_usd=0.5, failed=True)

    sums = metrics.models[key]
    assert (sums.calls, sums.failed, sums.input_tokens, sums.output_tokens, sums.cost_usd) == (2, 1, 10, 5, 0.75)


def test_a_label_has_a_bounded_number_of_values_and_the_rest_is_counted_together() -> None:
    metrics = Metrics()

    for number in range(VALUES_KEPT + 7):
        metrics.tool_called(f"outcome-{number}")
        metrics.model_called(ModelKey(f"model-{number}", "small"), tokens=(1, 0), cost_usd=0.0, failed=False)
    metrics.tool_called("outcome-0")

    assert len(metrics.tool_calls) == len(metrics.models) == VALUES_KEPT + 1
    assert metrics.tool_calls[OTHER] == metrics.models[ModelKey(OTHER, OTHER)].calls == 7
    assert metrics.tool_calls["outcome-0"] == 2


def test_an_end_without_a_reason_that_anybody_knows_is_counted_as_other() -> None:
    metrics = Metrics()

    metrics.restarted(None)
    metrics.restarted(Crashed(type_name="ValueError", message="broken"))

    assert metrics.restarts == {OTHER: 1, "crashed": 1}


def test_times_of_commits_are_told_between_the_edges_of_their_bucket() -> None:
    counts = [0] * (len(COMMIT_BOUNDS_S) + 1)
    at = COMMIT_BOUNDS_S.index(0.01)
    counts[at], counts[-1] = 98, 2
    times = CommitTimes(counts=tuple(counts))

    assert times.count == 100
    assert times.quantile_s(0.49) == pytest.approx(0.0075)
    assert times.quantile_s(0.98) == 0.01
    assert times.quantile_s(0.99) == COMMIT_BOUNDS_S[-1]
    assert CommitTimes().quantile_s(0.5) is None


def test_a_time_on_an_edge_belongs_below_it_and_one_beyond_the_last_is_counted_too() -> None:
    commits = Metrics().commits

    for seconds in (COMMIT_BOUNDS_S[0], COMMIT_BOUNDS_S[0] * 1.01, 60.0):
        commits.observe(seconds)

    assert (commits.counts[0], commits.counts[1], commits.counts[-1]) == (1, 1, 1)
    assert commits.sum == pytest.approx(60.0 + COMMIT_BOUNDS_S[0] * 2.01)


def test_the_total_holds_all_processes_and_the_longest_lag() -> None:
    model = ModelCounts(model="wise", tier="large", calls=2, input_tokens=3, output_tokens=4, cost_usd=0.1)
    one = Counted(turns=1, restarts=(("crashed", 1),), models=(model,))
    two = Counted(turns=2, restarts=(("crashed", 2), ("killed", 1)), models=(model,))
    here = HostMetrics(host="here", pid=1, node="n", agents=2, mailbox_depth=5, loop_lag_s=0.25, counted=one)
    gone = HostMetrics(host="gone", pid=2, node="n", agents=1, mailbox_depth=7, loop_lag_s=0.5, counted=two).gone()

    metrics = told(AppMetrics(hosts=(here, gone), earlier=one))

    total = metrics["total"]
    assert (total["agents"], total["mailbox_depth"], total["loop_lag_ms"]) == (2, 5, 250.0)
    assert (total["turns"], total["restarts"]) == (4, {"crashed": 4, "killed": 1})
    assert (total["tokens"], total["cost_usd"], total["model_calls"]) == (21, 0.3, {"wise": 6})
    assert metrics["models"] == [{"model": "wise", "tier": "large", "calls": 6, "tokens": 21, "cost_usd": 0.3}]
    assert [(row["host"], row["alive"]) for row in metrics["hosts"]] == [("here", True), ("gone", False)]
