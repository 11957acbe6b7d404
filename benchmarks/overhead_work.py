"""An agent that asks another one again and again, inside of one turn and so inside of one trace.

Hosts import this module, so it holds nothing but what runs in them.
"""

from __future__ import annotations

from time import perf_counter

from payload import in_window
from workload import Desk, question

from regrow import Agent, App, Context, Request, Supervisor, child, on


class Run(Request[float]):
    """Asks the desk `count` times, `window` at once; answered with the asks in a second."""

    count: int
    window: int


class Runner(Agent):
    """Runs in a host of its own."""

    @on
    async def run(self, request: Run, ctx: Context) -> float:
        """Asks, and tells how fast that went."""
        desk = ctx.ref("desk")

        async def once(seq: int) -> None:
            await desk.ask(question(seq))

        begun = perf_counter()
        await in_window(request.count, request.window, once)
        return request.count / (perf_counter() - begun)


def overhead_app(name: str) -> App:
    """One desk and one that asks it."""
    return App(name, Supervisor(children=[child(Desk, id="desk"), child(Runner, id="runner")]))


traced_app = overhead_app("traced")
untraced_app = overhead_app("untraced")
