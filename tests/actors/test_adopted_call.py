"""Adopted code while it runs: its deadline, its stop, its trace, and whatever comes out of it."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from regrow.actors import Context, FunctionAgent, Prompt, adopt, adopted_call, threads
from regrow.actors import adopted as adopted_module
from regrow.actors.threads import HandlerThreads
from regrow.cluster import App, Running
from regrow.cluster.config import Settings
from regrow.runtime import telemetry
from regrow.runtime.cell import State
from regrow.runtime.errors import AskFailed, AskTimeout, Refused
from regrow.runtime.lifecycle import Crashed, Killed, Shutdown
from regrow.runtime.testing import pass_time, virtual
from regrow.supervisors import Supervisor, child
from tests.runtime.scripted import Process, settle

PATIENCE_S = 30.0
"""How long a thread of a test that fails waits at most."""

BEGIN_S = 1.0
"""Within this a thread has begun, also on a busy machine."""


async def started(function: FunctionAgent[..., Any]) -> tuple[Process, Any]:
    process = Process()
    return process, await process.start("desk/it", lambda: function.agent_class.made(None))


class Heard:
    """What adopted code was told while it ran."""

    def __init__(self, swallows: int = 0) -> None:
        self.cancelled = 0
        self.runs = 0
        self._swallows = swallows

    async def wait(self, text: str = "") -> str:
        """Waits for ever; swallows its first cancellations, as code that catches BaseException does."""
        self.runs += 1
        while True:
            try:
                await asyncio.get_running_loop().create_future()
            except asyncio.CancelledError:
                self.cancelled += 1
                if self.cancelled > self._swallows:
                    raise


# ---- the deadline --------------------------------------------------------------------------------


@virtual
async def test_code_is_cancelled_at_the_deadline_of_its_request_and_the_agent_lives() -> None:
    heard = Heard()
    process, ref = await started(adopt(heard.wait))

    with pytest.raises(
        AskTimeout, match="within 3 s; its code is cancelled, unless that runs in a thread, and may have"
    ):
        await ref.ask(Prompt(text="why"), timeout_s=3.0)
    await settle()

    assert heard.cancelled == 1
    assert process.cell("desk/it").incarnation == 1
    assert not process.cell("desk/it").in_turn


@virtual
async def test_code_that_makes_an_error_of_its_own_of_a_cancellation_is_cut_off_all_the_same() -> None:
    async def wait() -> str:
        try:
            return str(await asyncio.get_running_loop().create_future())
        except asyncio.CancelledError:
            raise RuntimeError("the request was aborted") from None

    process, ref = await started(adopt(lambda text: wait()))

    with pytest.raises(AskTimeout):
        await ref.ask(Prompt(text="why"), timeout_s=3.0)
    await settle()

    assert not process.cell("desk/it").in_turn
    assert process.cell("desk/it").incarnation == 1


@virtual
async def test_code_that_swallows_its_cancellation_at_the_deadline_ends_its_agent_by_name() -> None:
    heard = Heard(swallows=1)
    async with running(adopt(heard.wait)) as app:
        waiting = asyncio.ensure_future(app.ref("it").ask(Prompt(text="why"), timeout_s=3.0))
        behind = asyncio.ensure_future(app.ref("it").ask(Prompt(text="and this"), timeout_s=9.0))

        with pytest.raises(AskTimeout):
            await waiting
        with pytest.raises(AskTimeout):
            await behind  # nothing hung: it was with the next life when its own deadline came

        (child_row,) = await app.which_children()
        assert (heard.runs, child_row.state) == (2, "running")


@virtual
async def test_what_held_on_is_named_with_the_mend() -> None:
    heard = Heard(swallows=1)
    process, ref = await started(adopt(heard.wait))
    exits = list[Any]()
    announce = process.runtime.announce_exit

    def announced(cell: Any, reason: Any, *, quiet: bool) -> None:
        exits.append(reason)
        announce(cell, reason, quiet=quiet)

    process.runtime.announce_exit = announced  # type: ignore[method-assign]
    with pytest.raises(AskTimeout):
        await ref.ask(Prompt(text="why"), timeout_s=3.0)
    await pass_time(adopted_call.LET_GO_S + 0.1)

    (reason,) = exits
    assert isinstance(reason, Crashed) and reason.type_name == "HeldOn"
    assert reason.message.startswith(
        "the code that desk/it adopted swallowed its cancellation, and still ran 5 s after"
    )


@pytest.mark.heavy  # in real time
async def test_a_thread_is_waited_for_after_the_deadline_and_then_its_agent_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(adopted_call, "LET_GO_S", 0.02)
    gate, begun, went_on = threading.Event(), threading.Event(), threading.Event()

    def hold(text):  # type: ignore[no-untyped-def]
        begun.set()
        gate.wait(PATIENCE_S)
        went_on.set()
        return str(text)

    process, ref = await started(adopt(hold))
    cell = process.cell("desk/it")
    ended = asyncio.ensure_future(cell.wait_ended())

    with pytest.raises((AskTimeout, AskFailed)):
        await ref.ask(Prompt(text="why"), timeout_s=BEGIN_S)
    process.runtime.forget(cell.actor)  # else its end would only be the end of a life
    await asyncio.wait_for(ended, PATIENCE_S)

    assert begun.is_set()
    assert not went_on.is_set()
    gate.set()


@pytest.mark.slow
async def test_code_that_waits_for_a_thread_is_cut_off_at_the_deadline_and_never_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pool, gate, ran = HandlerThreads(1), threading.Event(), list[str]()
    monkeypatch.setattr(threads, "_threads", lambda: pool)
    pool.submit(gate.wait, PATIENCE_S)

    def note(text: str) -> None:
        ran.append(text)

    notes = adopt(note)
    process, ref = await started(notes)

    with pytest.raises(AskTimeout):
        await ref.ask(notes.request("late"), timeout_s=0.02)
    gate.set()
    await ref.ask(notes.request("in time"), timeout_s=PATIENCE_S)

    assert process.cell("desk/it").incarnation == 1
    assert ran == ["in time"]


# ---- a stop --------------------------------------------------------------------------------------


def running(*adopted: FunctionAgent[..., Any], restart: str = "permanent") -> Any:
    """An app of adopted code on virtual time; the first is `it`."""
    children = [
        child(each, id="it" if number == 0 else f"it-{number}", restart=restart, shutdown_s=10.0)  # type: ignore[arg-type]
        for number, each in enumerate(adopted)
    ]
    return App("adopted", Supervisor(children=children)).start(engine="inline", settings=Settings.model_construct())


@virtual
async def test_a_stop_cancels_code_that_waits_at_once() -> None:
    heard = Heard()
    async with running(adopt(heard.wait)) as app:
        asked = asyncio.ensure_future(app.ref("it").ask(Prompt(text="why")))
        await settle()
        begun = asyncio.get_running_loop().time()
        await app.stop_child("it")

        assert asyncio.get_running_loop().time() == begun
        assert heard.cancelled == 1
        with pytest.raises(AskFailed) as failed:
            await asked
        assert isinstance(failed.value.reason, Shutdown)


@virtual
async def test_code_that_swallows_the_cancellation_of_a_stop_is_killed_when_its_grace_is_over() -> None:
    heard = Heard(swallows=1)
    async with running(adopt(heard.wait)) as app:
        asked = asyncio.ensure_future(app.ref("it").ask(Prompt(text="why")))
        await settle()
        begun = asyncio.get_running_loop().time()
        await app.stop_child("it")

        assert asyncio.get_running_loop().time() - begun == pytest.approx(10.0)
        with pytest.raises(AskFailed) as failed:
            await asked
        assert failed.value.reason == Killed(detail="did not stop within 10 s")
        assert heard.cancelled >= 2  # at the stop, and again at the kill


@virtual
async def test_after_a_kill_the_next_life_answers() -> None:
    heard = Heard()

    async def ask(question: str) -> str:
        return await heard.wait() if question == "hang" else f"{question}!"

    asks = adopt(ask)
    async with running(asks) as app:
        hung = asyncio.ensure_future(app.ref("it").ask(asks.request("hang")))
        await settle()
        await app.kill("it")

        with pytest.raises(AskFailed) as failed:
            await hung
        assert isinstance(failed.value.reason, Killed)
        assert await app.ref("it").ask(asks.request("and now")) == "and now!"
        assert heard.cancelled == 1


@pytest.mark.slow
async def test_a_stop_waits_for_a_thread_that_ends_within_the_grace() -> None:
    gate, begun = threading.Event(), threading.Event()
    done = list[str]()

    def hold(text: str) -> str:
        begun.set()
        gate.wait(PATIENCE_S)
        done.append(text)
        return text

    holds = adopt(hold)
    async with running(holds) as app:
        asked = asyncio.ensure_future(app.ref("it").ask(holds.request("why")))
        await asyncio.to_thread(begun.wait, PATIENCE_S)
        stopped = asyncio.ensure_future(app.stop_child("it"))
        await settle()
        assert not stopped.done()
        gate.set()
        await stopped

        assert done == ["why"]
        with pytest.raises(AskFailed):
            await asked


# ---- what comes out of it ------------------------------------------------------------------------


def leave(text: str) -> str:
    sys.exit(4)


async def leave_the_loop(text: str) -> str:
    sys.exit(4)


async def group(text: str) -> str:
    raise BaseExceptionGroup("several", [SystemExit(4), ValueError("no")])


def interrupt(text: str) -> str:
    raise KeyboardInterrupt


async def generator_exit(text: str) -> str:
    raise GeneratorExit


async def cancelled(text: str) -> str:
    raise asyncio.CancelledError


async def broken(text: str) -> str:
    raise ValueError("the model said no")


ENDS: dict[str, Callable[[str], object]] = {
    "SystemExit": leave_the_loop,
    "SystemExit in a thread": leave,
    "BaseExceptionGroup": group,
    "KeyboardInterrupt in a thread": interrupt,
    "GeneratorExit": generator_exit,
    "CancelledError": cancelled,
    "ValueError": broken,
}


@pytest.mark.parametrize("error", ENDS)
def test_whatever_leaves_adopted_code_ends_that_agent_and_no_other(error: str) -> None:
    @virtual
    async def scene() -> None:
        ends, lives = adopt(ENDS[error]), adopt(str.upper)
        async with running(ends, lives) as app:
            with pytest.raises(AskFailed) as failed:
                await app.ref("it").ask(ends.request("why"))
            assert isinstance(failed.value.reason, Crashed)
            assert failed.value.reason.type_name == error.split()[0]
            assert await app.ref("it-1").ask(Prompt(text="why")) == "WHY"
            assert [row.state for row in await app.which_children()] == ["running", "running"]

    scene()


@virtual
async def test_a_refusal_of_adopted_code_answers_and_the_agent_lives() -> None:
    async def no(text: str) -> str:
        raise Refused("not today")

    asks = adopt(no)
    process, ref = await started(asks)

    with pytest.raises(Refused, match="not today"):
        await ref.ask(asks.request("why"))

    assert process.cell("desk/it").incarnation == 1


# ---- as a stream ---------------------------------------------------------------------------------


class Counting:
    """Counts, and says when it is closed."""

    def __init__(self) -> None:
        self.is_closed = False

    async def count(self, start: int) -> AsyncIterator[int]:
        try:
            while True:
                yield start
                start += 1
                await asyncio.sleep(0)
        finally:
            self.is_closed = True


@virtual
async def test_an_async_iterator_is_read_part_by_part() -> None:
    async def letters(word: str) -> AsyncIterator[str]:
        for letter in word:
            yield letter

    adopted = adopt(letters)
    _, ref = await started(adopted)

    async with ref.stream(adopted.request("word")) as stream:
        parts = [part async for part in stream]

    assert parts == ["w", "o", "r", "d"]
    assert stream.reply == ("w", "o", "r", "d")


@virtual
async def test_texts_of_an_object_without_types_are_read_part_by_part() -> None:
    class Framework:
        async def tokens(self, prompt: str) -> AsyncIterator[str]:
            for token in (prompt, " ", "done"):
                yield token

    _, ref = await started(adopt(Framework().tokens))

    async with ref.stream(Prompt(text="why")) as stream:
        assert [part async for part in stream] == ["why", " ", "done"]


@virtual
async def test_the_reader_of_a_stream_that_goes_cancels_the_code() -> None:
    counting = Counting()

    async def count(start: int) -> AsyncIterator[int]:
        async for number in counting.count(start):
            yield number

    adopted = adopt(count)
    process, ref = await started(adopted)

    async with ref.stream(adopted.request(3)) as stream:
        async for number in stream:
            if number == 5:
                break
    await settle()

    assert not process.cell("desk/it").in_turn
    assert counting.is_closed


@virtual
async def test_code_that_holds_on_when_its_reader_goes_ends_its_agent_after_the_deadline() -> None:
    heard = Heard(swallows=1)

    async def tell(text: str) -> AsyncIterator[str]:
        yield text
        yield await heard.wait()

    adopted = adopt(tell)
    process, ref = await started(adopted)

    async with ref.stream(adopted.request("why"), timeout_s=3.0) as stream:
        async for _ in stream:
            break
    await pass_time(3.0 + adopted_call.LET_GO_S - 0.1)
    assert process.state("desk/it") is State.RUNNING
    await pass_time(0.2)

    assert process.state("desk/it") is State.RESTARTING


# ---- its own work --------------------------------------------------------------------------------


class Job:
    """Work that ends as it is told."""

    def __init__(self) -> None:
        self.lives = 0
        self.ends: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def run(self) -> None:
        self.lives += 1
        try:
            await self.ends
        finally:
            self.ends = asyncio.get_running_loop().create_future()


async def state_of(app: Running) -> str:
    await pass_time(0.01)
    rows = await app.which_children()
    return rows[0].state if rows else "gone"


@pytest.mark.parametrize(
    ("restart", "error", "lives", "state"),
    [
        ("permanent", None, 2, "running"),
        ("transient", None, 1, "finished"),
        ("temporary", None, 1, "gone"),
        ("transient", ValueError("broken"), 2, "running"),
        ("temporary", ValueError("broken"), 1, "gone"),
    ],
)
def test_the_end_of_work_is_normal_and_its_exception_a_crash(
    restart: str, error: Exception | None, lives: int, state: str
) -> None:
    @virtual
    async def scene() -> None:
        job = Job()
        async with running(adopt(job.run), restart=restart) as app:
            await pass_time(0.01)
            assert job.lives == 1
            if error is None:
                job.ends.set_result(None)
            else:
                job.ends.set_exception(error)

            assert await state_of(app) == state
            assert job.lives == lives

    scene()


@virtual
async def test_a_stop_cancels_work() -> None:
    heard = Heard()

    async def work(ctx: Context) -> None:
        await heard.wait(ctx.id)

    async with running(adopt(work)) as app:
        await pass_time(0.01)
        await app.stop_child("it")

        assert (heard.runs, heard.cancelled) == (1, 1)


@virtual
async def test_plain_work_runs_in_a_thread_that_no_handler_waits_for() -> None:
    ran = list[str]()
    async with running(adopt(lambda: ran.append(threading.current_thread().name)), restart="transient") as app:
        while await state_of(app) == "running":
            pass

    assert len(ran) == 1
    assert ran[0] != threading.current_thread().name


def test_work_threads_are_full_when_each_has_one_that_does_not_end() -> None:
    pool, gate, begun = HandlerThreads(1), threading.Event(), threading.Event()

    def hold() -> None:
        begun.set()
        gate.wait(PATIENCE_S)

    assert not pool.is_full
    pool.submit(hold)
    begun.wait(PATIENCE_S)

    assert pool.is_full
    gate.set()
    assert adopted_module.WORK_THREADS == 64


@virtual
async def test_work_that_finds_no_thread_ends_its_agent_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    pool, gate = HandlerThreads(1), threading.Event()
    monkeypatch.setattr(adopted_module, "_work_threads", lambda: pool)
    pool.submit(gate.wait, PATIENCE_S)

    process, _ = await started(adopt(lambda: None))
    down = asyncio.ensure_future(process.cell("desk/it").wait_exited())
    await pass_time(0.01)
    await down

    assert process.state("desk/it") is State.RESTARTING
    gate.set()


# ---- its trace -----------------------------------------------------------------------------------


def test_spans_of_adopted_code_stand_below_its_turn_in_the_trace_of_the_asker(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("framework")
    monkeypatch.setattr(telemetry, "_tracer", tracer)

    async def on_loop(text: str) -> str:
        with tracer.start_as_current_span("chat m"):
            return text

    def in_thread(text: str) -> str:
        with tracer.start_as_current_span("chat m"):
            return text

    async def scene(adopted: FunctionAgent[..., Any]) -> None:
        _, ref = await started(adopted)
        with tracer.start_as_current_span("outside"):
            await ref.ask(adopted.request("why"))

    for code in (on_loop, in_thread):
        exporter.clear()
        virtual(scene)(adopt(code))

        spans = {span.name: span for span in exporter.get_finished_spans()}
        chat, turn, outside = spans["chat m"], spans["invoke_agent desk/it"], spans["outside"]
        assert chat.parent is not None and turn.parent is not None
        assert turn.context is not None and outside.context is not None
        assert chat.parent.span_id == turn.context.span_id
        assert turn.parent.span_id == outside.context.span_id
        assert turn.attributes is not None
        assert turn.attributes["gen_ai.operation.name"] == "invoke_agent"


@virtual
async def test_code_that_takes_the_context_sees_how_long_it_may_take() -> None:
    async def left(ctx: Context, text: str) -> float:
        assert ctx.deadline is not None
        return ctx.deadline

    asks = adopt(left)
    _, ref = await started(asks)

    assert await ref.ask(asks.request("why"), timeout_s=8.0) == pytest.approx(8.0)
