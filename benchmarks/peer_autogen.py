"""AutoGen-core: asks inside one process, through its SingleThreadedAgentRuntime. Runs in a venv of its own."""

from __future__ import annotations

import asyncio
import importlib
from typing import Any

from payload import PlainAnswer, PlainQuestion, plain_question
from peer_loop import serve

core: Any = importlib.import_module("autogen_core")  # installed only where this runs


class Desk(core.RoutedAgent):  # type: ignore[misc] # its types are not installed where types are checked
    """Answers at once."""

    def __init__(self) -> None:
        super().__init__("answers at once")

    @core.message_handler  # type: ignore[untyped-decorator] # as above
    async def answer(self, message: PlainQuestion, ctx: Any) -> PlainAnswer:
        """The one handler."""
        return PlainAnswer(seq=message.seq, text=message.text)


async def main() -> None:
    """Registers the agent, starts the runtime, and measures."""
    runtime = core.SingleThreadedAgentRuntime()
    await Desk.register(runtime, "desk", Desk)
    runtime.start()
    desk = core.AgentId("desk", "default")

    async def once(seq: int) -> None:
        answer = await runtime.send_message(plain_question(seq), desk)
        assert answer.seq == seq

    await serve("autogen-core", once)
    await runtime.stop()


if __name__ == "__main__":
    asyncio.run(main())
