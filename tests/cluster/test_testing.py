"""Tests of one's own agents: TestApp inline, on the virtual clock."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import threading
import time

import pytest
from pydantic import BaseModel

from regrow import (
    Agent,
    App,
    AskFailed,
    Context,
    DurableAgent,
    DurableContext,
    Message,
    Refused,
    Request,
    StreamRequest,
    Supervisor,
    Work,
    adopt,
    agent,
    child,
    keyed,
    on,
    tool,
)
from regrow.actors import ToolTimedOut
from regrow.router import RateLimited
from regrow.runtime import Killed, Misuse
from regrow.runtime.testing import pass_time
from regrow.supervisors.intensity import Backoff
from regrow.testing import (
    CrashesLeft,
    LeftRunning,
    NoSuchAgent,
    NotSettled,
    ProviderReply,
    RehearsalFailed,
    ScriptedModel,
    ScriptLeft,
    TestApp,
)
from tests.supervisors.stage import virtual


class Question(Request[str]):
    text: str


class Urgent(Question):
    pass


class Wait(Request[str]):
    seconds: float


class Later(Message):
    pass


class Set(Request[bool]):
    after_s: float


class Leave(Request[bool]):
    what: str


class Record(Request[int]):
    pass


class Tally(BaseModel):
    asked: int = 0


left: list[object] = []


class Analyst(Agent):
    def __init__(self) -> None:
        self.ticks = 0

    @on
    async def answer(self, question: Question, ctx: Context) -> str:
        return (await ctx.models.complete(Work.REASON, question.text)).text

    @on
    async def wait(self, request: Wait) -> str:
        await pass_time(request.seconds)
        return "waited"

    @on
    async def set(self, request: Set, ctx: Context) -> bool:
        ctx.after(request.after_s, Later())
        return True

    @on
    async def later(self, message: Later) -> None:
        self.ticks += 1

    @on
    async def leave(self, request: Leave) -> bool:
        if request.what == "task":
            left.append(asyncio.create_task(pass_time(1_000.0), name="poll the mail"))
        elif request.what == "thread":
            done = threading.Event()
            left.append(done)
            threading.Thread(target=done.wait, name="poller", daemon=True).start()
        else:
            left.append(subprocess.Popen(["sleep", "1000"]))
        return True


class Clerk(DurableAgent[Tally]):
    @on
    async def record(self, request: Record, ctx: DurableContext) -> int:
        self.state.asked += 1
        return self.state.asked


@agent
async def greet(name: str) -> str:
    return f"hello {name}"


app = App(
    "desk",
    Supervisor(
        max_restarts=10,
        children=[
            child(Analyst, id="analyst"),
            child(greet, id="greet"),
            child(Supervisor(children=[child(Clerk, id="clerk")]), id="back"),
            keyed(Clerk, id="clerks"),
        ],
    ),
)


def desk(models: ScriptedModel | None = None) -> TestApp:
    return TestApp(app, models=models, journal="memory")


# ---- what the design shows -----------------------------------------------------------------------


class Count(StreamRequest[int, int]):
    pass


class Counter(Agent):
    """Counts the seconds since it was started, one by one."""

    async def started(self, ctx: Context) -> None:
        self.since_s = asyncio.get_running_loop().time()

    @on
    async def count(self, request: Count, ctx: Context) -> int:
        passed = round(asyncio.get_running_loop().time() - self.since_s)
        for second in range(passed):
            await ctx.emit(second)
        return passed


@virtual
async def test_an_answer_is_read_in_parts_behind_the_time_that_was_ordered() -> None:
    async with TestApp(App("time", Supervisor(children=[child(Counter)]))) as t:
        t.advance(3)  # type: ignore[unused-awaitable]
        async with t.stream("counter", Count()) as stream:
            assert [second async for second in stream] == [0, 1, 2]
        assert stream.reply == 3

        with pytest.raises(NoSuchAgent):
            async with t.stream("nobody", Count()):
                pass


@virtual
async def test_an_agent_is_killed_crashed_and_looked_at_by_the_lines_that_the_design_shows() -> None:
    async with desk(ScriptedModel(["42"])) as t:
        await t.kill("analyst")
        t.crash_on(Question, times=2)
        for _ in range(2):
            with pytest.raises(AskFailed, match=r"crash_on\(Question\)"):
                await t.ask("analyst", Question(text="?"))
        t.advance(30)  # type: ignore[unused-awaitable] # passes before the next await of t
        await t.settled()

        assert t.restarts("analyst") == 3
        assert await t.ask("analyst", Question(text="what?")) == "42"
        assert [question.text for question in t.seen(Question)] == ["?", "?", "what?"]


@virtual
async def test_a_kill_is_seen_as_killed_and_the_next_life_answers() -> None:
    async with desk() as t:
        asking = asyncio.create_task(t.ask("analyst", Wait(seconds=10.0)))
        await t.advance(1.0)

        replaced = await t.kill(Analyst)

        with pytest.raises(AskFailed) as failed:
            await asking
        assert isinstance(failed.value.reason, Killed)
        assert replaced.state == "running"
        assert t.restarts(Analyst) == 1


@virtual
async def test_durable_state_survives_a_kill_and_a_crash() -> None:
    async with desk() as t:
        assert await t.ask("back/clerk", Record()) == 1
        await t.kill("back/clerk")
        t.crash_on(Record)

        assert await t.ask("back/clerk", Record()) == 2, "the next life has handled it again"
        assert t.restarts("back/clerk") == 2


@virtual
async def test_each_test_begins_anew() -> None:
    for _ in range(2):
        async with desk() as t:
            assert await t.ask(Clerk, Record(), key="ada") == 1
            assert await t.ask("clerks/ada", Record()) == 2


@virtual
async def test_agent_functions_are_asked_with_their_own_arguments_and_crash_by_their_name() -> None:
    async with desk() as t:
        t.crash_on(greet)
        with pytest.raises(AskFailed, match="PlannedCrash"):
            await t.ask(greet, "ada")

        assert await t.ask(greet, name="ada") == "hello ada"


@virtual
async def test_crashes_meet_derived_messages_and_only_the_agent_that_is_named() -> None:
    async with desk() as t:
        t.crash_on(Record, agent="back/clerk")
        t.crash_on(Question)

        assert await t.ask("clerks/ada", Record()) == 1
        assert t.restarts("back/clerk") == 0
        with pytest.raises(AskFailed):
            await t.ask("analyst", Urgent(text="now"))
        assert await t.ask("back/clerk", Record()) == 1
        assert t.restarts("back/clerk") == 1
        assert len(t.seen(Record, agent="back/clerk")) == 2


# ---- time ----------------------------------------------------------------------------------------


@virtual
async def test_time_that_was_ordered_twice_adds_up_and_passes_before_the_next_await() -> None:
    async with desk() as t:
        await t.ask("analyst", Set(after_s=30.0))
        t.advance(10.0)  # type: ignore[unused-awaitable]
        t.advance(20.0)  # type: ignore[unused-awaitable]
        await t.settled()

        assert len(t.seen(Later)) == 1


@virtual
async def test_a_look_before_ordered_time_has_passed_is_refused() -> None:
    async with desk() as t:
        t.advance(10.0)  # type: ignore[unused-awaitable]

        with pytest.raises(Misuse, match=r"await t\.settled\(\)"):
            t.restarts("analyst")
        with pytest.raises(Misuse, match=r"await t\.settled\(\)"):
            t.seen(Later)


@virtual
async def test_time_does_not_go_back() -> None:
    async with desk() as t:
        with pytest.raises(Misuse, match="does not go back"):
            await t.advance(-1.0)


@virtual
async def test_settled_lets_work_end_and_leaves_timers_for_later_alone() -> None:
    loop = asyncio.get_running_loop()
    async with desk() as t:
        await t.ask("analyst", Set(after_s=500.0))
        asking = asyncio.create_task(t.ask("analyst", Wait(seconds=20.0)))
        began_s = loop.time()

        await t.settled()

        assert loop.time() - began_s == 20.0
        assert await asking == "waited"
        assert t.seen(Later) == ()


@virtual
async def test_settled_waits_for_a_restart_that_is_delayed() -> None:
    slow = App(
        "slow",
        Supervisor(
            backoff=Backoff(first_s=2.0, max_s=8.0), max_restarts=10, within_s=60.0, children=[child(greet, id="greet")]
        ),
    )
    async with TestApp(slow) as t:
        t.crash_on(greet, times=3)
        for _ in range(3):
            with pytest.raises(AskFailed):
                await t.ask(greet, "ada")
            await t.settled()

        assert t.restarts("greet") == 3


@virtual
async def test_what_does_not_settle_is_named() -> None:
    async with desk() as t:
        asking = asyncio.create_task(t.ask("analyst", Wait(seconds=1_000.0), timeout_s=2_000.0))
        await t.advance(1.0)

        with pytest.raises(NotSettled, match=r"after 60 s: desk/analyst#\d+ handles Wait"):
            await t.settled()
        asking.cancel()


def test_a_loop_with_real_time_is_refused_with_what_to_do() -> None:
    async def main() -> None:
        async with desk():
            pass

    with pytest.raises(Misuse, match="test_app"):
        asyncio.run(main())


@virtual
async def test_ray_on_a_virtual_clock_is_refused_with_what_to_do() -> None:
    with pytest.raises(Misuse, match="--regrow-engine=ray"):
        await TestApp(app, engine="ray").__aenter__()


# ---- what runs in real time ----------------------------------------------------------------------


async def poll() -> None:
    while True:
        await pass_time(5.0)


released = threading.Event()


def block() -> None:
    released.wait()


@tool(timeout_s=1)
def slow_tool() -> str:
    """Blocks its thread."""
    released.wait(30)
    return "too late"


class Fetch(Request[str]):
    port: int


class User(Agent):
    tools = (slow_tool,)

    @on
    async def answer(self, question: Question, ctx: Context) -> str:
        try:
            return str(await ctx.tools.call("slow_tool"))
        except ToolTimedOut:
            return "timed out"

    @on
    async def fetch(self, request: Fetch) -> str:
        reader, writer = await asyncio.open_connection("127.0.0.1", request.port)
        try:
            return (await reader.readline()).decode()
        finally:
            writer.close()


polling, blocking = adopt(poll), adopt(block)
works = App(
    "works",
    Supervisor(
        children=[
            child(polling, id="poll"),
            child(blocking, id="block", shutdown_s=0.5),
            child(User, id="user"),
        ]
    ),
)


@virtual
async def test_an_agent_whose_own_work_goes_on_is_at_rest_and_holds_no_time() -> None:
    released.clear()
    loop = asyncio.get_running_loop()
    began_s = time.monotonic()
    async with TestApp(works) as t:
        await t.settled()
        before_s = loop.time()
        await t.advance(3_600.0)

        assert loop.time() - before_s == 3_600.0
        released.set()
    assert time.monotonic() - began_s < 20.0, "no thread was waited for"


@virtual
async def test_own_work_crashes_as_its_next_life_begins() -> None:
    released.set()
    async with TestApp(App("polls", Supervisor(children=[child(polling, id="poll")]))) as t:
        t.crash_on(polling)
        await t.kill("poll")
        await t.settled()

        assert t.restarts("poll") == 2


@pytest.mark.heavy  # time stands for a second, and then passes as on the wall
@virtual
async def test_a_tool_that_blocks_its_thread_times_out() -> None:
    released.clear()
    async with TestApp(App("uses", Supervisor(children=[child(User, id="user")]))) as t:
        try:
            assert await t.ask("user", Question(text="?")) == "timed out"
        finally:
            released.set()


@pytest.mark.slow  # the other end takes real time
@virtual
async def test_time_does_not_jump_over_an_answer_on_a_socket() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                threading.Event().wait(0.1)
                connection.sendall(b"hello\n")

        serving = threading.Thread(target=serve)
        serving.start()
        async with TestApp(App("uses", Supervisor(children=[child(User, id="user")]))) as t:
            answer = await t.ask("user", Fetch(port=server.getsockname()[1]))
        serving.join()

    assert answer == "hello\n"


# ---- models --------------------------------------------------------------------------------------


@virtual
async def test_a_script_gives_texts_replies_failures_and_what_functions_say() -> None:
    script = ScriptedModel(
        [
            "a text",
            ProviderReply(text="a reply"),
            RateLimited("too many calls", retry_after_s=3.0),
            lambda request: request.prompt.upper(),
        ]
    )
    async with desk(script) as t:
        assert await t.ask("analyst", Question(text="1")) == "a text"
        assert await t.ask("analyst", Question(text="2")) == "a reply"
        with pytest.raises(RateLimited, match="too many calls"):
            await t.ask("analyst", Question(text="3"))
        assert await t.ask("analyst", Question(text="four")) == "FOUR"

    assert [(request.work, request.prompt) for request in script.requests][-1] == (Work.REASON, "four")
    assert script.requests[0].agent == "desk/analyst"


@virtual
async def test_a_script_that_is_used_up_says_so_to_who_asked() -> None:
    async with desk(ScriptedModel(["one"])) as t:
        await t.ask("analyst", Question(text="1"))

        with pytest.raises(Refused, match="the script has 1 answers and this is request 2"):
            await t.ask("analyst", Question(text="2"))


@virtual
async def test_a_script_outlives_a_death_of_the_router() -> None:
    async with desk(ScriptedModel(["one", "two"])) as t:
        await t.ask("analyst", Question(text="1"))
        await t.kill("desk:services/models")

        assert await t.ask("analyst", Question(text="2")) == "two"


@virtual
async def test_answers_that_nobody_asked_for_fail_the_test_by_name() -> None:
    with pytest.raises(ScriptLeft, match=r"has 2 answers and was asked 1 times; not asked for: 'two'"):
        async with desk(ScriptedModel(["one", "two"])) as t:
            await t.ask("analyst", Question(text="1"))

    async with desk(ScriptedModel(["may be left"], may_be_left=True)):
        pass


@virtual
async def test_without_a_script_the_models_of_the_config_are_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    async with desk() as t:
        assert "only quotes what it is given" in await t.ask("analyst", Question(text="1"))


# ---- the end of a test ---------------------------------------------------------------------------


@pytest.mark.slow  # a process and threads of its own
@pytest.mark.parametrize(
    ("what", "told"),
    [
        ("task", r"task poll the mail in pass_time at virtual_time.py"),
        ("thread", "thread poller"),
        ("process", r"process \d+ \(sleep\)"),
    ],
)
def test_what_outlives_the_app_fails_the_test_by_name(what: str, told: str) -> None:
    @virtual
    async def leaking() -> None:
        async with desk() as t:
            await t.ask("analyst", Leave(what=what))

    with pytest.raises(LeftRunning, match=told):
        leaking()
    last = left.pop()
    if isinstance(last, threading.Event):
        last.set()
    elif isinstance(last, subprocess.Popen):
        last.kill()
        last.wait()


@virtual
async def test_crashes_that_never_came_fail_the_test() -> None:
    with pytest.raises(CrashesLeft, match="2 on Question of desk/analyst"):
        async with desk() as t:
            t.crash_on(Question, times=2, agent="analyst")


@virtual
async def test_a_test_that_has_failed_says_why_and_nothing_else() -> None:
    async def fails() -> None:
        async with desk(ScriptedModel(["unused"])) as t:
            t.crash_on(Question)
            raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        await fails()


def test_what_a_test_must_not_find_is_a_failed_assertion() -> None:
    assert issubclass(RehearsalFailed, AssertionError)


# ---- bad input -----------------------------------------------------------------------------------


@virtual
async def test_an_unknown_agent_is_told_with_those_that_there_are() -> None:
    async with desk() as t:
        for wrong in (
            lambda: t.ref("analist"),
            lambda: t.restarts("analist"),
            lambda: t.crash_on(Later, agent="analist"),
        ):
            with pytest.raises(
                NoSuchAgent, match=r"no 'desk/analist'; did you mean desk/analyst\? There are: .*desk/greet"
            ):
                wrong()
        with pytest.raises(NoSuchAgent):
            await t.kill("nobody")


@virtual
async def test_orders_that_can_not_be_are_refused() -> None:
    async with desk() as t:
        with pytest.raises(Misuse, match="takes the class of a message"):
            t.crash_on("Question")  # type: ignore[arg-type]
        with pytest.raises(Misuse, match="at least one"):
            t.crash_on(Question, times=0)
    with pytest.raises(Misuse, match="no engine 'rai'"):
        TestApp(app, engine="rai")  # type: ignore[arg-type]


def test_an_app_that_does_not_run_yet_is_not_asked() -> None:
    with pytest.raises(Misuse, match="does not run yet"):
        desk().ref("analyst")


@virtual
async def test_dead_letters_are_told() -> None:
    async with desk() as t:
        await t.running.stop_child("greet")
        await t.running.delete_child("greet")
        await t.tell("greet", Later())
        await t.settled()

        letters = await t.dead_letters()

        assert [(letter.receiver, letter.message) for letter in letters.latest] == [("desk/greet", "Later")]


def test_a_test_takes_less_than_fifty_milliseconds() -> None:
    @virtual
    async def typical() -> None:
        async with desk(ScriptedModel(["42"])) as t:
            await t.kill("analyst")
            await t.ask("analyst", Question(text="?"))
            await t.advance(30)
            await t.settled()

    typical()  # what is imported on first use is not counted
    spent_s = []
    for _ in range(3):
        began_s = time.process_time()
        typical()
        spent_s.append(time.process_time() - began_s)

    assert min(spent_s) < 0.05
