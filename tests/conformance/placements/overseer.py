"""A player that has children started, stopped and counted by a supervisor."""

from __future__ import annotations

from regrow import ActorRef, Context, Message, Request, child, on
from regrow.runtime import Down, RegrowError
from tests.conformance.placements.player import Part, Player, told


class StartOne(Request[str]):
    """Has one more child started, with that word in its config if there is one; the reply is its id or a failure."""

    by: ActorRef
    word: str = ""


class StopOne(Request[str]):
    child: ActorRef


class Children(Request[tuple[str, ...]]):
    """The children of a supervisor, each as `id state`."""

    of: ActorRef


class AddOne(Request[ActorRef]):
    """Has a player of that id added to a supervisor by its spec; to the overseer's own where none is named."""

    id: str
    to: ActorRef | None = None


class SpecOf(Request[tuple[str, str, str]]):
    """What the supervisor of a child tells of its spec: id, restart type, target."""

    child: ActorRef


class Counts(Request[tuple[int, int]]):
    """How many children a supervisor has, and how many of them run; the overseer's own where none is named."""

    of: ActorRef | None = None


class Forget(Request[str]):
    """Has a child that does not run forgotten; the reply is `forgotten`, or a failure."""

    child: ActorRef


class Renew(Message):
    """When the next one it watches goes down, the overseer has it started again in the same turn."""


class Overseer(Player):
    """Asks supervisors for what they do for others."""

    renews = False

    @on
    async def renew(self, message: Renew) -> None:
        self.renews = True

    @on
    async def down(self, message: Down, ctx: Context) -> None:
        await super().down(message, ctx)
        if self.renews:
            self.renews = False
            try:
                await ctx.restart_child(message.actor)
            except RegrowError as error:
                self.sees(ctx, told(error))
            else:
                self.sees(ctx, "renewed")

    @on
    async def start_one(self, message: StartOne, ctx: Context) -> str:
        try:
            config = Part(record=self.config.record, word=message.word) if message.word else None
            return (await ctx.start_child(message.by, config=config)).id
        except RegrowError as error:
            return told(error)

    @on
    async def stop_one(self, message: StopOne, ctx: Context) -> str:
        try:
            await ctx.stop_child(message.child)
        except RegrowError as error:
            return told(error)
        return "stopped"

    @on
    async def children(self, message: Children, ctx: Context) -> tuple[str, ...]:
        rows = await ctx.which_children(message.of)
        return tuple(f"{row.actor.partition('/')[2]} {row.state}" for row in rows)

    @on
    async def add_one(self, message: AddOne, ctx: Context) -> ActorRef:
        part = Part(record=self.config.record)
        return await ctx.start_child(message.to, spec=child(Player, message.id, config=part, restart="transient"))

    @on
    async def spec_of(self, message: SpecOf, ctx: Context) -> tuple[str, str, str]:
        row = await ctx.get_childspec(message.child)
        return row.id, row.restart, row.target.rpartition(":")[2]

    @on
    async def counts(self, message: Counts, ctx: Context) -> tuple[int, int]:
        counted = await ctx.count_children(message.of)
        return counted.specs, counted.active

    @on
    async def forget(self, message: Forget, ctx: Context) -> str:
        try:
            await ctx.delete_child(message.child)
        except RegrowError as error:
            return told(error)
        return "forgotten"
