"""Agents that ask each other without any order, over wires that lose calls (SEMANTICS 4 and 5).

Whoever is asked replies, asks others first, starts a child that asks them, lets a notary reply later, sets the request
aside, refuses or crashes; some askers go away. Some requests are served beside others, by few turns at once. Each ask
must end, once, long before its deadline: so every ring is found. And no agent may be named in a ring that did not wait
for the next one in it: what each turn truly waits for is noted outside of the runtimes.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from regrow.runtime import turn
from regrow.runtime.ask_all import NoReply
from regrow.runtime.errors import AskCycle, AskFailed, AskTimeout, MailboxFull, Misuse, Refused, RegrowError
from regrow.runtime.mailbox import MailboxSettings
from regrow.runtime.message import Message, Request
from regrow.runtime.reply_slot import ReplySlot
from regrow.runtime.testing import CALM, FaultPlan, pass_time, run_virtual
from tests.runtime.scripted import Boom, Scripted
from tests.simulation.seeds import seeds
from tests.simulation.waits import Turn, Waits
from tests.simulation.wires import Node, World

if TYPE_CHECKING:
    from regrow.runtime.context import CellContext
    from regrow.runtime.ref import ActorRef

SEEDS = seeds("calls", range(4))
STORM_S = 4.0
TIMEOUT_S = 60.0
"""Far beyond all rings of a game one after the other."""
TURNS = 2
"""How many turns an agent may have at once."""
LOSSY = FaultPlan(request_lost=0.05, reply_lost=0.05, doubled=0.1, slow=0.02, fails_after_s=(0.001, 0.02))
SLACK_S = 1.5
"""How long ago a wait may have ended that a ring names: the news of it crosses wires that lose calls."""
LATER_ROUNDS = 100
"""How many tenths of a second agents may go on by themselves."""
DEEDS = {"reply": 20, "ask": 40, "ask all": 15, "start": 10, "defer": 15, "set aside": 10, "refuse": 5, "crash": 2}


class Asked(Request[int]):
    """Expects its own number; what its handler is to do."""

    n: int
    deed: str


class AskedBeside(Asked):
    """The same, and may be served beside others."""


class Unstash(Message):
    """Whoever gets it puts what it has set aside back."""


class Signed(Message):
    """The notary is to give this reply."""

    n: int
    slot: ReplySlot[int]


class Game:
    """The players, what became of each ask, and who waits for whom."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.dice = random.Random(seed)
        self.world = World(seed, CALM if seed % 4 == 0 else LOSSY, restart_after_s=0.02)
        self.beside = seed % 2 == 1
        self.names = [f"game/{letter}" for letter in "abcdefgh"]
        self.fates: dict[int, str] = {}
        self.waits = Waits(most_turns=TURNS, slack_s=SLACK_S)
        self.set_aside: set[int] = set()
        self.lines: list[str] = []

    def expect(self, holds: bool, text: str) -> None:
        assert holds, f"seed {self.seed}: {text}\n" + "\n".join(self.lines[-40:])

    def log(self, line: str) -> None:
        self.lines.append(f"{asyncio.get_running_loop().time():.4f} {line}")

    # ---- asking --------------------------------------------------------------------------------

    def request(self) -> Asked:
        n = len(self.fates) + 1
        self.fates[n] = ""
        cls = AskedBeside if self.beside and self.dice.random() < 0.7 else Asked
        return cls(n=n, deed=self.dice.choices(list(DEEDS), list(DEEDS.values()))[0])

    async def ask(self, turn: Turn, asker: str, ref: ActorRef, request: Asked) -> None:
        """One ask of a turn; notes how it ended."""
        self.log(f"{asker} asks {ref.id} {request.n} {request.deed}")
        with self.waits.waiting(turn, asker, [(ref.id, request.n)]):
            try:
                outcome: Any = await ref.ask(request, timeout_s=TIMEOUT_S)
            except RegrowError as error:
                outcome = error
            except asyncio.CancelledError:
                self.fates[request.n] = "cancelled"
                raise
        self.ended(asker, request.n, outcome)

    async def ask_all(self, turn: Turn, ctx: CellContext) -> None:
        """Several asks of a turn under one deadline."""
        pairs = [(name, self.request()) for name in self.dice.sample(self.names, self.dice.randint(2, 3))]
        self.log(f"{ctx.id} asks {[(name, request.n, request.deed) for name, request in pairs]}")
        began_s = asyncio.get_running_loop().time()
        try:
            with self.waits.waiting(turn, ctx.id, [(name, request.n) for name, request in pairs]):
                outcomes = await ctx.ask_all(pairs, timeout_s=TIMEOUT_S)
        except asyncio.CancelledError:
            self.fates.update((request.n, "cancelled") for _, request in pairs)
            raise
        for (_, request), outcome in zip(pairs, outcomes, strict=True):
            self.ended(ctx.id, request.n, outcome.error if isinstance(outcome, NoReply) else outcome.reply, began_s)

    def ended(self, asker: str, n: int, outcome: object, since_s: float | None = None) -> None:
        self.log(f"{asker} {n} {outcome!r:.150}")
        self.expect(not self.fates[n], f"{n} ended twice")
        self.fates[n] = type(outcome).__name__
        if isinstance(outcome, int):
            self.expect(outcome == n, f"{n} got the reply to {outcome}")
        if isinstance(outcome, AskCycle) and outcome.chain:
            now = asyncio.get_running_loop().time()
            self.is_ring(outcome, since_s if since_s is not None else now)

    def is_ring(self, cycle: AskCycle, since_s: float) -> None:
        """In each agent of the ring a turn waits for one of the next, or did until a moment before `since_s`."""
        waits = self.waits.ring(cycle.chain, since_s)
        self.expect(bool(waits), f"{cycle}: no turns of these agents wait for each other in this order")

    def player(self) -> Scripted:
        return Scripted(self.handle, beside=(AskedBeside,))

    # ---- handling ------------------------------------------------------------------------------

    async def handle(self, message: Asked | Unstash, ctx: CellContext) -> int | ReplySlot[int] | None:
        if isinstance(message, Unstash):
            ctx.unstash_all()
            return None
        self.log(f"{ctx.id}#{ctx.incarnation} handles {message.n}")
        with self.waits.serving(message.n, ctx.id, beside=isinstance(message, AskedBeside)):
            return await self.do(message, ctx)

    async def do(self, message: Asked, ctx: CellContext) -> int | ReplySlot[int]:
        await pass_time(self.dice.uniform(0.0, 0.02))
        match message.deed:
            case "ask":
                request = self.request()
                await self.ask(message.n, ctx.id, ctx.ref(self.dice.choice(self.names)), request)
            case "ask all":
                await self.ask_all(message.n, ctx)
            case "start":
                await self.start_child(message.n, ctx)
            case "defer":
                slot = ctx.defer_reply(message)
                await ctx.tell(self.dice.choice(["notary/one", "notary/two"]), Signed(n=message.n, slot=slot))
                return slot
            case "set aside" if message.n not in self.set_aside:
                self.set_aside.add(message.n)
                ctx.stash()
                self.waits.set_aside(message.n)
            case "refuse":
                raise Refused("no")
            case "crash":
                raise Boom
            case _:
                pass
        return message.n

    async def start_child(self, turn: Turn, ctx: CellContext) -> None:
        """Waits for the start of a child that asks somebody first; then ends it."""
        name = f"child-{len(self.fates)}"

        async def started(child: CellContext) -> None:
            await pass_time(self.dice.uniform(0.0, 0.02))
            await self.ask(child.id, child.id, child.ref(self.dice.choice(self.names)), self.request())

        self.log(f"{ctx.id} starts {name}")
        child_id = f"{ctx.id}/{name}"
        with self.waits.waiting(turn, ctx.id, [(child_id, child_id)]):
            child = await ctx.spawn(lambda: Scripted(started=started), name)
        await child.stop()

    async def sign(self, message: Signed, ctx: CellContext) -> None:
        await pass_time(self.dice.uniform(0.0, 0.05))
        if self.dice.random() < 0.1:
            message.slot.refuse(Refused("not signed"))
        message.slot.reply(message.n)

    # ---- the course of the game ----------------------------------------------------------------

    async def client(self, node: Node, name: str, until_s: float) -> None:
        """Asks from outside of any turn; sometimes goes away."""
        loop = asyncio.get_running_loop()
        asks: list[asyncio.Task[None]] = []
        while loop.time() < until_s:
            asks.append(loop.create_task(self.ask(name, name, node.ref(self.dice.choice(self.names)), self.request())))
            await pass_time(self.dice.uniform(0.0, 0.4))
            if self.dice.random() < 0.1:
                self.dice.choice(asks).cancel()
        await asyncio.gather(*asks, return_exceptions=True)

    async def unstash(self, node: Node) -> None:
        """Lets everybody who can serve go on with what was set aside."""
        for actor in self.names:
            with contextlib.suppress(MailboxFull):  # it serves others, and is told again
                await node.ref(actor).tell(Unstash(), send_timeout_s=0.05)

    async def play(self) -> list[str]:
        world, loop = self.world, asyncio.get_running_loop()
        nodes = [world.node(name) for name in ("one", "two", "three")]
        for index, name in enumerate(self.names):
            await world.start(nodes[index % 3], name, self.player, mailbox=MailboxSettings(capacity=20))
        await world.start(nodes[0], "notary/one", lambda: Scripted(self.sign))
        await world.start(nodes[1], "notary/two", lambda: Scripted(self.sign))
        driver = world.node("driver", listens=True)
        for node in nodes:
            driver.peers.meet(node.host)
            node.peers.meet(driver.host)
        clients = [self.client(node, f"client {n}", loop.time() + STORM_S) for n, node in enumerate((*nodes, driver))]
        asking = asyncio.ensure_future(asyncio.gather(*clients))
        while not asking.done():
            await self.unstash(driver)
            await pass_time(0.1)
        await asking
        for _ in range(LATER_ROUNDS):  # what nobody waits for outside of the agents may still go on
            await self.unstash(driver)
            await pass_time(0.1)
            if all(self.fates.values()):
                break
        await pass_time(1.0)
        self.check()
        await world.close()
        return self.lines

    def check(self) -> None:
        """What must hold once all is quiet."""
        for n, fate in self.fates.items():
            self.expect(fate not in ("", AskTimeout.__name__), f"ask {n} ended {fate or 'never'}")
        known = {"int", "cancelled", *(each.__name__ for each in (Refused, AskFailed, AskCycle, MailboxFull, Misuse))}
        self.expect(set(self.fates.values()) <= known | {"CallingSelf", "StashFull"}, f"{Counter(self.fates.values())}")
        for node in self.world.living:
            self.expect(not len(node.runtime.asks), f"{len(node.runtime.asks)} asks wait in {node.host}")
            for cell in node.runtime.cells.values():
                rest = (len(cell.mailbox), len(cell.in_turn), len(cell.open_slots))
                self.expect(rest == (0, 0, 0), f"{cell.actor} is left with {rest}")


async def _play(seed: int) -> list[str]:
    return await Game(seed).play()


@pytest.fixture(autouse=True)
def few_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that agents are often full."""
    monkeypatch.setattr(turn, "MAX_CONCURRENT_TURNS", TURNS)


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_every_ask_ends_and_only_agents_that_block_each_other_are_a_ring(seed: int) -> None:
    run_virtual(_play(seed))


@pytest.mark.heavy
@pytest.mark.slow
def test_one_seed_twice_gives_the_same_log_of_all_calls() -> None:
    assert run_virtual(_play(2)) == run_virtual(_play(2))
