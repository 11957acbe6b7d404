"""Supervision trees: siblings that follow each other, groups within groups, and one that gives up."""

from __future__ import annotations

import os

from regrow import Agent, App, Context, Message, Packed, Request, Supervisor, child, on


class Crash(Message):
    """Ends the agent by an exception."""


class Finish(Message):
    """Ends the agent in order, by itself."""


class Lives(Request[int]):
    """Asks how many messages this life has had."""


class Pid(Request[int]):
    pass


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

    @on
    async def pid(self, request: Pid) -> int:
        return os.getpid()


HOME = Packed("home")


app = App(
    "family",
    Supervisor(
        children=[
            child(
                Supervisor(
                    strategy="one_for_all",
                    max_restarts=100,
                    children=[child(Member, id="a"), child(Member, id="b", placement=HOME), child(Member, id="c")],
                ),
                id="all",
            ),
            child(
                Supervisor(
                    strategy="rest_for_one",
                    max_restarts=100,
                    children=[child(Member, id=id, placement=HOME) for id in "def"],
                ),
                id="rest",
            ),
            child(
                Supervisor(
                    max_restarts=1,
                    within_s=60.0,
                    children=[child(Member, id=id, placement=HOME) for id in "gh"],
                ),
                id="group",
            ),
            child(Member, id="transient", restart="transient", placement=HOME),
            child(Member, id="temporary", restart="temporary", placement=HOME),
            child(Member, id="permanent", placement=HOME),
        ],
        max_restarts=100,
        within_s=1.0,
    ),
)

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
