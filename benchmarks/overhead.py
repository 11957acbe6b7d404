"""What seeing costs: messages with tracing as installed beside the same with tracing off, and the look at one trace.

Inside one process, asks come from outside, each of which could begin a trace, and from a turn whose trace is recorded;
the worse of the two counts. Between processes they come from a turn whose trace is recorded. So many spans are made
as `runtime/sampling.py` lets pass, and a run before the clock starts uses up what it lets pass at once, which is
stored before the clock starts, too, where it is of this process. The store for
the look has 100,000 spans in 1,000 traces; its time is that from the beginning of an id to the last line of the tree.
What the page of `regrow observe` takes is measured by `benchmarks/overhead_page.py`, as it says there.
"""

from __future__ import annotations

import asyncio
import io
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from time import perf_counter

from figures import OVERHEAD
from measure import (
    Options,
    Result,
    Screen,
    alternated,
    ends_within,
    finish,
    limit_s,
    median,
    options_of,
    ratio_by_rounds,
    rounded,
    versions,
)
from overhead_page import page
from overhead_work import Run, Runner, traced_app, untraced_app
from workload import Desk, question

from regrow import App, Running
from regrow.cluster import tracing
from regrow.cluster.config import Settings, TracingSettings
from regrow.cluster.past_traces import files_of, latest, spans_of
from regrow.cluster.span_row import SpanRow
from regrow.cluster.span_store import SpanStore
from regrow.cluster.trace_tree import summary_of, tree_of
from regrow.cluster.trace_views import show_trace, show_traces

BURST_ASKS = 12_000
"""More than may have a span at once."""
WINDOW = 200
TIMES_ROUNDS = 3
"""So many times the rounds of other comparisons, unless quick: those of one side differ by more than is sought."""
TRACES = 1_000
SPANS = 100
"""Of one trace, each with about as much to tell as a real one."""
LOOKS = 5
ATTRIBUTES = (
    '{"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "desk/analyst", "regrow.agent.id": "desk/analyst", '
    '"regrow.agent.incarnation": 3, "messaging.system": "regrow", "messaging.destination.name": "desk/analyst", '
    '"regrow.message.type": "Question"}'
)

Rate = Callable[[int], Awaitable[float]]


async def measured(options: Options, screen: Screen) -> Result:
    """Every figure."""
    with tempfile.TemporaryDirectory(prefix="regrow-overhead-") as name:
        folder = Path(name)
        here = await in_process(folder, options, screen)
        remote = await across(folder, options, screen)
        return {**here, **remote, **looks(folder, options, screen), **await page(folder, options, screen)}


def rounds_of(options: Options) -> int:
    """How often tracing on and off alternate."""
    return options.rounds if options.quick else TIMES_ROUNDS * options.rounds


async def in_process(folder: Path, options: Options, screen: Screen) -> Result:
    """Asks inside one process, from outside and from a turn that is recorded."""
    result: Result = {}
    for key, title, ways in (
        ("tracing_ratio_outside", "Asks from outside, in one process", from_outside),
        ("tracing_ratio_within", "Asks of a turn that is recorded, in one process", from_turn),
    ):

        async def side(*, enabled: bool, ways: Callable[[Running], Rate] = ways) -> float:
            async with untraced_app.start(engine="inline", settings=settings(folder, enabled=enabled)) as running:
                rate = ways(running)
                probed = await rate(BURST_ASKS)
                await tracing.flush()
                return await rate(int(probed * options.side_s))

        off_side, on_side = partial(side, enabled=False), partial(side, enabled=True)
        rounds = await alternated(rounds_of(options), {"tracing off": off_side, "as installed": on_side})
        screen.rates(title, rounds, "/s")
        result[key] = ratio_by_rounds(rounds)
    worse = max(value for value in result.values() if value is not None)
    return {"tracing_ratio": worse, **result}


def from_outside(running: Running) -> Rate:
    """One ask after the other, from this program."""
    desk = running.ref(Desk)

    async def rate(count: int) -> float:
        begun = perf_counter()
        for seq in range(count):
            await desk.ask(question(seq))
        return count / (perf_counter() - begun)

    return rate


def from_turn(running: Running) -> Rate:
    """One ask after the other, in one turn."""
    runner = running.ref(Runner)

    async def rate(count: int) -> float:
        return await runner.ask(Run(count=count, window=1), timeout_s=120.0)

    return rate


async def across(folder: Path, options: Options, screen: Screen) -> Result:
    """Asks between two hosts, many under way, in one turn that is recorded."""
    async with on_ray(untraced_app, folder, enabled=False) as off, on_ray(traced_app, folder, enabled=True) as on:
        sides: dict[str, Callable[[], Awaitable[float]]] = {}
        for name, running in (("tracing off", off), ("as installed", on)):
            runner = running.ref(Runner)
            probed = await runner.ask(Run(count=BURST_ASKS, window=WINDOW), timeout_s=120.0)

            async def side(runner=runner, count=int(probed * options.side_s)) -> float:  # type: ignore[no-untyped-def]
                await runner.ask(Run(count=BURST_ASKS, window=WINDOW), timeout_s=120.0)  # what came back meanwhile
                return await runner.ask(Run(count=max(count, WINDOW), window=WINDOW), timeout_s=120.0)  # type: ignore[no-any-return]

            sides[name] = side
        rounds = await alternated(rounds_of(options), sides)
    screen.rates("Asks of a turn that is recorded, between two hosts", rounds, "/s")
    return {"tracing_ratio_remote": ratio_by_rounds(rounds)}


@asynccontextmanager
async def on_ray(app: App, folder: Path, *, enabled: bool) -> AsyncIterator[Running]:
    """An app on the Ray of this program."""
    async with app.start(engine="ray", settings=settings(folder / app.name, enabled=enabled)) as running:
        yield running


def settings(folder: Path, *, enabled: bool) -> Settings:
    """As installed, or with tracing off."""
    return Settings(data_dir=folder, tracing=TracingSettings(enabled=enabled))


def looks(folder: Path, options: Options, screen: Screen) -> Result:
    """The time to draw one trace, and to list the latest."""
    store = SpanStore(folder / "looks", limit_bytes=10**10)
    begun = perf_counter()
    for trace in range(TRACES):
        store.write([_span(trace, number) for number in range(SPANS)], {})
    store_s = perf_counter() - begun
    store.close()
    files = files_of(settings(folder / "looks", enabled=True))
    views, lists = [], []
    for look in range(LOOKS):
        begun = perf_counter()
        rows = spans_of(files, f"{7_919 * (look + 1) % TRACES:016x}")
        show_trace(summary_of(rows), tree_of(rows), to=io.StringIO())
        views.append(perf_counter() - begun)
        begun = perf_counter()
        show_traces(*latest(files), to=io.StringIO())
        lists.append(perf_counter() - begun)
    screen.rates(f"A look at {TRACES * SPANS:,} spans", {"one trace": views, "the latest traces": lists}, "s")
    return {
        "trace_view_s": rounded(median(views)),
        "traces_list_s": rounded(median(lists)),
        "store_us_per_span": rounded(store_s / TRACES / SPANS * 1e6),
    }


def _span(trace: int, number: int) -> SpanRow:
    start_ns = 1_764_000_000_000_000_000 + (trace * SPANS + number) * 1_000_000
    return SpanRow(
        trace_id=f"{trace:016x}{trace:016x}",
        span_id=f"{number + 1:016x}",
        parent_id=f"{number // 3:016x}" if number else "",
        name="invoke_agent desk/analyst",
        kind="server",
        start_ns=start_ns,
        end_ns=start_ns + 400_000,
        failed=False,
        status="",
        input_tokens=0,
        output_tokens=0,
        cost_usd=None,
        attributes=ATTRIBUTES,
        events="[]",
        links="[]",
        process="host 1",
    )


def main() -> None:
    """Measures, and prints tables and the JSON line."""
    options = options_of(__doc__)
    screen = Screen(options)
    with ends_within(limit_s(options)):
        result = asyncio.run(measured(options, screen))
    found = versions("regrow", "ray")
    screen.figures("Overhead", OVERHEAD, result)
    screen.say(" · ".join(f"{name} {version}" for name, version in found.items()))
    finish(result | {"versions": found, "quick": options.quick})


if __name__ == "__main__":
    main()
