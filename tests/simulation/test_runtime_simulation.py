"""Several runtimes under seeded faults: lost and doubled calls, crashes, deaths of hosts (SEMANTICS 3 to 5).

Players tell and ask each other at random while the wires lose calls, players crash and whole processes are killed and
come back. What must hold whatever happens stands in `check`; a failure names its seed, and one seed gives one log.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from regrow.runtime.asks import GRAIN_S
from regrow.runtime.errors import AskFailed, AskTimeout, Closed, ContactLost, MailboxFull, Misuse, NameTaken, Refused
from regrow.runtime.lifecycle import Down, ExitReason, Reachable, Unreachable
from regrow.runtime.link import LinkSettings
from regrow.runtime.mailbox import MailboxSettings
from regrow.runtime.message import Message, Request
from regrow.runtime.testing import CALM, FaultPlan, pass_time, run_virtual
from tests.simulation.seeds import seeds
from tests.simulation.wires import Node, World

if TYPE_CHECKING:
    from regrow.runtime.context import CellContext
    from regrow.runtime.ref import ActorRef

SEEDS = seeds("runtimes", range(6))
STORM_S = 3.0
QUIET_S = 60.0
ASK_TIMEOUT_S = 20.0
STORM = FaultPlan(request_lost=0.1, reply_lost=0.1, doubled=0.1, slow=0.02, verdict_s=(0.005, 0.2))
TIGHT = LinkSettings(max_frame_rows=2, max_calls_in_flight=1, max_unsettled_rows=4, max_waiting_rows=3)
"""Limits that are met all the time."""


class Told(Message):
    """One tell: its number, and what its handler is to do."""

    n: int
    deed: str


class Reply(Message):
    n: int


class Asked(Request[Reply]):
    """One ask: its number, and what its handler is to do."""

    n: int
    deed: str


class Boom(Exception):
    """What a player crashes with."""


@dataclass(slots=True)
class Sent:
    """A message that was sent: by whom, to whom, and from which process."""

    sender: str
    receiver: str
    node: Node
    is_ask: bool
    deadline: float = float("inf")
    fate: str = ""
    """How the call that sent it ended; empty while it waits."""


@dataclass(slots=True)
class History:
    """What truly happened, kept outside the runtimes."""

    seed: int
    lines: list[str] = field(default_factory=list)
    sent: dict[int, Sent] = field(default_factory=dict)
    handled: dict[int, int] = field(default_factory=dict)
    """Message → how often it was handled."""
    order: defaultdict[tuple[str, str], list[int]] = field(default_factory=lambda: defaultdict(list))
    """(sender, receiver) → messages in the order in which they were handled."""
    downs: Counter[tuple[str, int]] = field(default_factory=Counter)
    """(life of the watcher, monitor) → how many Downs came."""
    contact: defaultdict[tuple[str, int], list[str]] = field(default_factory=lambda: defaultdict(list))
    """(life of the watcher, monitor) → what was heard of contact and death, in this order."""
    gone: set[tuple[str, str]] = field(default_factory=set)
    """(life of the watcher, life of whom it had a Down)."""

    def log(self, line: str) -> None:
        self.lines.append(f"{asyncio.get_running_loop().time():.6f} {line}")

    def expect(self, holds: bool, text: str) -> None:
        """Fails with the seed and the end of the log."""
        assert holds, f"seed {self.seed}: {text}\n" + "\n".join(self.lines[-40:])


class Game:
    """The players, and the dice that say what each does."""

    def __init__(self, seed: int, *, has_guardian: bool = False) -> None:
        self.dice = random.Random(seed)
        self.has_guardian = has_guardian
        """With one, players take names and join groups, and processes stop for a while as by SIGSTOP."""
        self.history = History(seed)
        self.is_tight = seed % 2 == 1
        self.world = World(seed, STORM, TIGHT if self.is_tight else None, restart_after_s=0.02, noticed_s=0.2)
        self.names = [f"game/{letter}" for letter in "abcdef"]
        self.clients: dict[Node, list[asyncio.Task[None]]] = {}
        self.is_calm = False

    # ---- sending -------------------------------------------------------------------------------

    async def say(self, node: Node, sender: str, ref: ActorRef, deed: str, *, is_ask: bool) -> None:
        """Sends one message, in one of three ways, and notes how that ended."""
        history = self.history
        n = len(history.sent) + 1
        sent = history.sent[n] = Sent(sender, ref.id, node, is_ask)
        history.log(f"{sender} {'asks' if is_ask else 'tells'} {ref.id} {n} {deed}")
        sent.fate = "cut off"
        try:
            if is_ask:
                sent.deadline = asyncio.get_running_loop().time() + ASK_TIMEOUT_S
                reply = await ref.ask(Asked(n=n, deed=deed), timeout_s=ASK_TIMEOUT_S)
                history.expect(reply.n == n, f"ask {n} got the reply to {reply.n}")
            elif self.dice.random() < 0.5:
                ref.tell_nowait(Told(n=n, deed=deed))
            else:
                await ref.tell(Told(n=n, deed=deed), send_timeout_s=2.0)
        except (AskFailed, AskTimeout, ContactLost, Refused, MailboxFull, Misuse, Closed) as error:
            sent.fate = type(error).__name__
            if isinstance(error, AskFailed):
                history.expect(bool(str(error)), f"ask {n} failed without a word")
        else:
            sent.fate = "ok"
        now = asyncio.get_running_loop().time()
        history.expect(now <= sent.deadline + 2 * GRAIN_S, f"ask {n} ended {now - sent.deadline} s after its deadline")
        history.log(f"{sender} {n} {sent.fate}")

    async def client(self, node: Node, name: str) -> None:
        """Sends for as long as the storm lasts, sometimes without waiting for the answer."""
        loop = asyncio.get_running_loop()
        open_asks: set[asyncio.Task[None]] = set()
        try:
            while not self.is_calm:
                speech = self.say(
                    node,
                    name,
                    node.ref(self.dice.choice(self.names)),
                    self._deed(),
                    is_ask=self.dice.random() < 0.4,
                )
                if self.dice.random() < 0.5:
                    await speech
                else:
                    task = loop.create_task(speech)
                    open_asks.add(task)
                    await asyncio.sleep(0)  # it has sent, so that what is sent next comes after it
                await pass_time(self.dice.uniform(0.0, 0.05))
            await asyncio.gather(*open_asks)
        finally:
            for task in sorted(open_asks, key=lambda task: task.get_name()):
                task.cancel()

    def _deed(self) -> str:
        deeds = ("nothing", "wait", "tell on", "ask on", "watch", "refuse", "crash", "stop")
        if self.has_guardian and self.dice.random() < 0.2:
            return self.dice.choice(("take a name", "give a name back", "join", "leave", "look up"))
        return self.dice.choices(deeds, (30, 20, 20, 12, 10, 5, 5, 2))[0]

    # ---- handling ------------------------------------------------------------------------------

    async def handle(self, message: Told | Asked, ctx: CellContext) -> Reply | None:
        """Notes the message and does its deed."""
        history, node, me = self.history, self._node_of(ctx), f"{ctx.id}#{ctx.incarnation}"
        sent = history.sent[message.n]
        history.expect((me, sent.sender) not in history.gone, f"{me} got {message.n} of {sent.sender} after its Down")
        history.handled[message.n] = history.handled.get(message.n, 0) + 1
        history.order[sent.sender, ctx.id].append(message.n)
        history.log(f"{me} handles {message.n}")
        match message.deed:
            case "wait":
                await pass_time(self.dice.uniform(0.0, 0.1))
            case "tell on" | "ask on":
                is_ask = message.deed == "ask on"
                # Only forward in the alphabet: players that ask each other would block each other until a deadline.
                others = [name for name in self.names if name > ctx.id] if is_ask else self.names
                if others:
                    await self.say(node, me, ctx.ref(self.dice.choice(others)), "nothing", is_ask=is_ask)
            case "watch":
                monitor = ctx.monitor(self.dice.choice(self.names))
                if self.dice.random() < 0.2:
                    ctx.demonitor(monitor)
                    history.downs[me, monitor] = 1  # one more would be too many
            case "take a name" | "give a name back" | "join" | "leave" | "look up":
                await self._use_names(message.deed, ctx)
            case "refuse":
                raise Refused("not now")
            case "crash":
                raise Boom(f"on {message.n}")
            case "stop":
                ctx.stop()
            case _:
                pass
        return Reply(n=message.n) if isinstance(message, Asked) else None

    async def _use_names(self, deed: str, ctx: CellContext) -> None:
        name = self.dice.choice(("x", "y", "z"))
        try:
            match deed:
                case "take a name":
                    await ctx.register(name)
                case "give a name back":
                    await ctx.unregister(name)
                case "join":
                    await ctx.join(name)
                case "leave":
                    await ctx.leave(name)
                case _:
                    found = await ctx.whereis(name)
                    self.history.log(f"{name} is {found}, the group {await ctx.members(name)}")
        except (NameTaken, AskFailed, AskTimeout, ContactLost, Closed) as error:
            self.history.log(f"{ctx.id}#{ctx.incarnation} {deed} {name}: {error}")

    def contact(self, message: Unreachable | Reachable, ctx: CellContext) -> None:
        """Notes that the process of somebody watched does not answer, or does again."""
        me, news = f"{ctx.id}#{ctx.incarnation}", type(message).__name__
        self.history.log(f"{me} hears that {message.actor} is {news}")
        self.history.contact[me, message.monitor].append(news)

    def down(self, message: Down, ctx: CellContext) -> None:
        """Notes that a watched life is over."""
        history, me = self.history, f"{ctx.id}#{ctx.incarnation}"
        history.contact[me, message.monitor].append("Down")
        dead_hosts = {node.host for node in self.world.all_nodes if node.is_dead}
        for life in self.world.registry.holders():
            is_it = life.incarnation == message.incarnation if message.incarnation else life.host in dead_hosts
            history.expect(not (life.actor == message.actor and is_it), f"{life} holds names, and {me} has its Down")
        history.log(f"{me} hears of {message.actor}#{message.incarnation}: {message.reason}")
        history.downs[me, message.monitor] += 1
        history.gone.add((me, f"{message.actor}#{message.incarnation}"))

    def _node_of(self, ctx: CellContext) -> Node:
        return next(node for node in self.world.all_nodes if node.runtime is ctx.runtime)

    # ---- the course of the game ----------------------------------------------------------------

    async def play(self) -> History:
        """Storm, calm, checks."""
        if self.has_guardian:
            await self.world.with_guardian()
            for _ in range(4):
                asyncio.get_running_loop().call_later(self.dice.uniform(0.1, STORM_S), self._pause)
        for name in ("one", "two", "three"):
            self._join(name)
        self._join("driver", listens=True)
        for index, name in enumerate(self.names):
            node = self.world.nodes[("one", "two", "three")[index % 3]]
            mailbox = MailboxSettings(capacity=1 if self.is_tight else 8)
            await self.world.start(node, name, lambda: Player(self), mailbox=mailbox)
        for _ in range(self.dice.choice([0, 1, 2, 3])):
            asyncio.get_running_loop().call_later(self.dice.uniform(0.1, STORM_S), self._kill)
        for _ in range(5):
            asyncio.get_running_loop().call_later(self.dice.uniform(0.1, STORM_S), self._kill_player)
        await pass_time(STORM_S)
        self.is_calm = True
        self.world.wires.plan = CALM
        await pass_time(QUIET_S)
        calls = self.world.wires.calls
        await pass_time(QUIET_S)
        self.history.expect(self.world.wires.calls == calls, "the links do not fall silent")
        check(self)
        await self.world.close()
        return self.history

    def _join(self, name: str, *, listens: bool = False) -> None:
        node = self.world.node(name, listens=listens)
        loop = asyncio.get_running_loop()
        self.clients[node] = [loop.create_task(self.client(node, f"{node.host}/{n}")) for n in range(2)]
        for other in self.world.living:
            if listens and other is not node:
                node.peers.meet(other.host)
            elif not self.world.wires.can_call(other.host):
                other.peers.meet(node.host)

    def _kill(self) -> None:
        names = [name for name in self.world.nodes if name not in ("driver", "guardian")]
        if len(names) < 2:
            return
        name = self.dice.choice(names)
        node = self.world.nodes[name]
        self.history.log(f"{node.host} is killed")
        for client in self.clients[node]:
            client.cancel()
        self.world.kill(name)
        asyncio.get_running_loop().call_later(self.dice.uniform(0.01, 0.5), self._join, name)

    def _pause(self) -> None:
        name = self.dice.choice([name for name in self.world.nodes if name != "guardian"])
        node = self.world.nodes[name]
        self.history.log(f"{node.host} stops")
        self.world.freeze(name)
        asyncio.get_running_loop().call_later(self.dice.choice((0.05, 0.5, 3.0)), self._go_on, node, name)

    def _go_on(self, node: Node, name: str) -> None:
        if not node.is_dead:
            self.history.log(f"{node.host} goes on")
            self.world.thaw(name)

    def _kill_player(self) -> None:
        nodes = [node for node in self.world.living if node is not self.world.guardian]
        cells = [cell for node in nodes for cell in node.runtime.cells.values()]
        if cells:
            cell = self.dice.choice(cells)
            self.history.log(f"{cell.actor} is killed")
            cell.kill()


class Player:
    """An actor of the game."""

    def __init__(self, game: Game) -> None:
        self._game = game

    async def started(self, ctx: CellContext) -> None:
        self._game.history.log(f"{ctx.id}#{ctx.incarnation} starts on {ctx.runtime.host}")

    async def handle(self, message: Told | Asked | Down | Unreachable | Reachable, ctx: CellContext) -> Reply | None:
        if isinstance(message, Unreachable | Reachable):
            self._game.contact(message, ctx)
            return None
        if isinstance(message, Down):
            self._game.down(message, ctx)
            return None
        return await self._game.handle(message, ctx)

    async def stopping(self, reason: ExitReason, ctx: CellContext) -> None:
        pass


def check(game: Game) -> None:
    """What must hold once all is quiet."""
    history, world = game.history, game.world
    dead = Counter(message.n for node in world.all_nodes for _, message in node.dead if isinstance(message, Told))
    for n, sent in history.sent.items():
        times = history.handled.get(n, 0)
        history.expect(times <= 1, f"{n} was handled {times} times")
        if sent.node.is_dead:
            continue  # what was on its way out of a dead process may be lost with it
        history.expect(sent.fate not in ("", "AskTimeout"), f"the sender of {n} waits or waited too long: {sent}")
        if sent.is_ask:
            history.expect(sent.fate != "ok" or times == 1, f"{n} was answered and not handled")
        elif sent.fate == "ok":
            history.expect(times == 1 or dead[n] > 0, f"{n} was neither handled nor counted: {sent}")
        elif sent.fate == "MailboxFull":
            history.expect(times == 0, f"{n} found no room and was handled all the same")
    for (sender, receiver), numbers in history.order.items():
        history.expect(numbers == sorted(numbers), f"{receiver} handled {numbers} of {sender}")
    for (watcher, monitor), count in history.downs.items():
        history.expect(count == 1, f"{watcher} got {count} Downs of monitor {monitor}")
    for (watcher, monitor), heard in history.contact.items():
        turns = ["Unreachable", "Reachable"] * len(heard)
        ends_well = heard[: -1 if heard[-1] == "Down" else None]
        history.expect(ends_well == turns[: len(ends_well)], f"{watcher} heard {heard} of monitor {monitor}")
    lives = {(cell.actor, cell.incarnation) for node in world.living for cell in node.runtime.cells.values()}
    for life in world.registry.holders():
        history.expect((life.actor, life.incarnation) in lives, f"{life} is over and holds names")
    for node in world.living:
        runtime = node.runtime
        history.expect(not len(runtime.asks), f"{len(runtime.asks)} asks wait in {node.host}")
        history.expect(not runtime.delivery.resolving, f"{node.host} looks for {list(runtime.delivery.resolving)}")
        for cell in runtime.cells.values():
            idle = not cell.in_turn and not cell.mailbox.user and not cell.mailbox.give_up_waiters()
            history.expect(idle, f"{cell.actor} is not idle in {node.host}: {cell.state}")
            for monitor, watched in cell.bonds.watching.items():
                host = next((other for other in world.living if watched in other.runtime.cells), None)
                kept = host is not None and (cell.actor, monitor) in host.cell(watched).bonds.watchers
                history.expect(kept, f"{cell.actor} waits for a Down of {watched} that nobody will send")
    history.expect(len(history.handled) > 50, "nearly nothing happened")


def play(seed: int, *, has_guardian: bool = False) -> History:
    return run_virtual(_play(seed, has_guardian))


async def _play(seed: int, has_guardian: bool) -> History:
    return await Game(seed, has_guardian=has_guardian).play()


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_every_ask_settles_and_every_tell_is_handled_or_counted_in_a_storm(seed: int) -> None:
    play(seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_names_are_free_at_each_down_and_no_pause_is_taken_for_a_death_in_a_storm(seed: int) -> None:
    play(seed, has_guardian=True)


@pytest.mark.heavy
@pytest.mark.slow
@pytest.mark.parametrize("seed", [3, 7])
def test_one_seed_twice_gives_the_same_log_of_all_runtimes(seed: int) -> None:
    assert play(seed).lines == play(seed).lines
