"""Supervision trees that end by themselves: one gives up, and the task of the other is done."""

from __future__ import annotations

from regrow import Agent, App, Context, Message, Packed, Request, Supervisor, child, on


class Crash(Message):
    """Ends the agent by an exception."""


class Finish(Message):
    """Ends the agent in order, by itself."""


class Lives(Request[int]):
    """Asks how many messages this life has had."""


class Member(Agent):
    """One of a family."""

    def __init__(self) -> None:
        self.messages = 0

    @on
    async def crash(self, message: Crash) -> None:
        raise RuntimeError("family trouble")

    @on
    async def finish(self, message: Finish, ctx: Context) -> None:
        ctx.stop()

    @on
    async def lives(self, request: Lives) -> int:
        self.messages += 1
        return self.messages


HOME = Packed("home")

doomed = App(
    "doomed",
    Supervisor(
        max_restarts=1,
        within_s=60.0,
        children=[child(Member, id="other", placement=HOME), child(Member, id="last", placement=HOME)],
    ),
)

brief = App(
    "brief",
    Supervisor(
        auto_shutdown="any_significant",
        children=[child(Member, id="task", restart="transient", significant=True, placement=HOME)],
    ),
)
