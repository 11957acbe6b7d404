"""An app whose agents are killed and restarted by a person."""

from __future__ import annotations

from regrow import Agent, App, Context, Packed, Supervisor, child
from tests.integration.apps.victims import Notes, Victim

BAD_MOOD, GOOD_MOOD = 13, 7
"""The notes that keep the moody one from starting, or do not."""


class Moody(Agent):
    """Starts unless the last note of the watcher says otherwise."""

    async def started(self, ctx: Context) -> None:
        notes = await ctx.ask("operated/watcher", Notes())
        if notes and notes[-1] == BAD_MOOD:
            raise RuntimeError("in a bad mood")


POOL = Packed("pool")

app = App(
    "operated",
    Supervisor(
        max_restarts=100,
        within_s=1.0,
        children=[
            child(Victim, id="clerk"),
            child(Victim, id="watcher"),
            child(Victim, id="packed", placement=POOL),
            child(Victim, id="beside", placement=POOL),
            child(Supervisor(children=[child(Victim, id="inside")]), id="inner"),
            child(Moody, id="moody", placement=POOL),
            child(Victim, id="once", restart="temporary"),
        ],
    ),
)
