"""The agents whose loops the benchmarks run, and the model that they call. Hosts import this."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import perf_counter

from regrow import Agent, App, Context, DynamicSupervisor, Message, Packed, Request, Supervisor, child, on, tool
from regrow.router.conversation import ToolCall
from regrow.router.provider import ProviderReply
from regrow.router.request import FinishReason, Usage

WAITERS = 1_000
WAIT_S = 2.0
"""How long the model takes for each answer."""
ANSWER = "done"
_USAGE = Usage(input_tokens=100, output_tokens=10)


@tool
async def add(one: int, other: int) -> int:
    """Adds two numbers.

    Args:
        one: the first
        other: the second
    """
    return one + other


class Looped(Message):
    """What a loop took, and how many calls it made."""

    seconds: float
    calls: int


class Loop(Request[Looped]):
    """Has the agent run one loop of so many calls of a tool, one for each turn of the model."""

    calls: int


class Looper(Agent):
    """Runs loops, as agents do all day."""

    tools = [add]

    @on
    async def loop(self, request: Loop, ctx: Context) -> Looped:
        """One loop."""
        begun_s = perf_counter()
        answer = await ctx.models.run("Add up the numbers", max_turns=request.calls + 1)
        took_s = perf_counter() - begun_s
        if answer.text != ANSWER or [each.told for each in answer.calls] != ["5"] * request.calls:
            raise AssertionError(f"the loop gave {answer.text!r} after {len(answer.calls)} calls")
        return Looped(seconds=took_s, calls=len(answer.calls))


def scripted(calls: int) -> list[ProviderReply]:
    """What the model says in such a loop."""
    asks = [
        ProviderReply(
            text="",
            tool_calls=(ToolCall(id=str(number), name="add", arguments='{"one": 2, "other": 3}'),),
            finish=FinishReason.TOOL_CALLS,
            usage=_USAGE,
        )
        for number in range(calls)
    ]
    return [*asks, ProviderReply(text=ANSWER, usage=_USAGE)]


loop_app = App("loops", Supervisor(children=[child(Looper, id="looper")]))


# ---- agents that wait on a model ------------------------------------------------------------------


class Think(Request[str]):
    """Has the agent ask its model something."""


class Waiter(Agent):
    """Asks its model, and waits."""

    tools = [add]

    @on
    async def think(self, request: Think, ctx: Context) -> str:
        """One loop of one turn."""
        return (await ctx.models.run("Think")).text


def waiting_app(agents: int) -> App:
    """So many waiters in one packed host."""
    spec = child(Waiter, placement=Packed("waiters"))
    return App("waiting", DynamicSupervisor(spec, max_children=agents))


@asynccontextmanager
async def slow_model(wait_s: float) -> AsyncIterator[str]:
    """A model on the loopback that answers each request after so many seconds; gives its address."""
    said = {"choices": [{"index": 0, "message": {"role": "assistant", "content": ANSWER}, "finish_reason": "stop"}]}
    usage = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}
    body = json.dumps({"id": "1", "object": "chat.completion", "created": 0, "model": "m", "usage": usage, **said})
    answer = (
        f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n{body}"
    ).encode()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                lines = head.lower().split(b"\r\n")
                length = next(int(line[15:]) for line in lines if line.startswith(b"content-length:"))
                await reader.readexactly(length)
                await asyncio.sleep(wait_s)
                writer.write(answer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client is done with this connection
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, backlog=2 * WAITERS)
    port = server.sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        server.close()
