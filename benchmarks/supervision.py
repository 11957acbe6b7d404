"""Supervision by size: start and stop of many children in one process, one restart among many, and the loss of all.

Everything runs in this process, without Ray, since the question is what supervision itself costs by size. A
growth is the time of the large number by that of as many small ones: 1 is linear. Of start and stop, and of a
restart, the worse of a Supervisor and a DynamicSupervisor counts. Of the loss of all children of a
DynamicSupervisor it is the worst of four: temporary ones that all crash, permanent ones that all crash by
themselves, the same with back-off, and permanent ones that go down with one host; of that of a Supervisor the
worst of four: all crash, all start again since one crashed, and under other rules temporary and significant ones
all crash. Garbage that is left of a round is collected before the next one, outside the clock. Sizes alternate,
and medians count. Seconds are those of this process on a core, since nothing here waits for anything else.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
from collections.abc import Awaitable, Callable
from time import process_time

from figures import SUPERVISION
from measure import (
    Options,
    Result,
    Screen,
    alternated,
    ends_within,
    finish,
    limit_s,
    median,
    options_of,
    ratio,
    rounded,
    versions,
)

from regrow.runtime import ActorId, Crashed, Exited, HostId, Incarnation, Killed, Runtime, Shutdown, StartRequest
from regrow.runtime.cell import State
from regrow.runtime.envelope import Envelope, Kind
from regrow.runtime.local_starter import LocalStarter
from regrow.supervisors import (
    AnySupervisorSpec,
    Backoff,
    DynamicSupervisor,
    DynamicSupervisorBehavior,
    Supervisor,
    child,
    supervisor_behavior,
)
from regrow.supervisors.spec import AutoShutdownName, RestartName, StrategyName

MANY = 10_000
MANY_QUICK = 500
TIMES = 10
"""The large number is so many small ones."""
ROUNDS = 3
NEIGHBOURS = 10
RESTARTS = 1_000
"""One restart is too short to be timed alone."""
ALLOWED = 10 * MANY
"""Nothing escalates here."""
ROOT = ActorId("root")

Sized = Callable[[int], AnySupervisorSpec]


class Idle:
    """An agent that only lives."""

    async def started(self, ctx: object) -> None:
        """Nothing to begin."""

    async def handle(self, message: object, ctx: object) -> None:
        """Nobody asks."""

    async def stopping(self, reason: object, ctx: object) -> None:
        """Nothing to end."""


class Nowhere:
    """A Directory of one process: what is not here is nowhere."""

    def host_of(self, actor: ActorId) -> HostId | None:
        """See Directory."""
        return None

    async def locate(self, actor: ActorId) -> HostId | None:
        """See Directory."""
        return None

    def forget(self, actor: ActorId) -> None:
        """See Directory."""

    def host_died(self, host: HostId) -> list[ActorId]:
        """See Directory."""
        return []


class Tree:
    """One supervisor in a runtime of its own."""

    def __init__(self) -> None:
        self.runtime = Runtime(HostId("here"), make_behavior=self._make, directory=Nowhere())
        self._incarnations = itertools.count(1)
        self.running = 0
        """How many lives have come up."""

    def _make(self, request: StartRequest) -> Idle:
        if not isinstance(request.target, AnySupervisorSpec):
            return Idle()
        behavior: object = supervisor_behavior(
            request.target,
            LocalStarter(self.runtime),
            incarnations=self._next,
            time=self.runtime.loop.time,
            jitter=lambda: 0.0,
            report=lambda report: None,
        )
        return behavior  # type: ignore[return-value] # a behavior as well; what it is made of does not matter here

    def _next(self) -> Incarnation:
        return Incarnation(next(self._incarnations))

    async def start(self, spec: AnySupervisorSpec, dynamic_children: int = 0) -> None:
        """Starts the supervisor, and children of a dynamic one."""
        failed = await self.runtime.start(StartRequest(ROOT, self._next(), spec, survives_exit=False))
        assert failed is None, failed
        behavior = self.runtime.cells[ROOT].behavior
        if isinstance(behavior, DynamicSupervisorBehavior):
            for _ in range(dynamic_children):
                await behavior.start_child()

    async def stop(self) -> None:
        """Stops the supervisor with its children."""
        cell = self.runtime.cells[ROOT]
        cell.stop(Shutdown(), None)
        await cell.wait_ended()
        assert not self.runtime.cells

    @property
    def children(self) -> list[ActorId]:
        """Those that run."""
        cells = self.runtime.cells.items()
        return [actor for actor, cell in cells if actor != ROOT and cell.state is State.RUNNING]

    async def settled(self) -> None:
        """Waits until the supervisor has nothing more to do."""
        cell = self.runtime.cells[ROOT]
        while cell.task is not None or cell.mailbox.system or cell.mailbox.user:  # noqa: ASYNC110
            await asyncio.sleep(0)  # a turn that ends tells nobody

    def crash(self, actor: ActorId) -> None:
        """Ends a child as an exception does."""
        self.runtime.cells[actor].end(Crashed(type_name="Boom", message="told to"))

    def host_dies(self, actors: list[ActorId]) -> None:
        """Ends children as the death of their host does: told as one event, to the supervisor alone."""
        for actor in actors:
            cell = self.runtime.cells[actor]
            parent, cell.parent = cell.parent, None
            assert parent is not None
            cell.kill()
            exited = Exited(actor=actor, incarnation=cell.incarnation, reason=Killed(detail="host died"), event="host")
            self.runtime.delivery.send(Envelope(Kind.SIGNAL, parent, exited, self.runtime.origin))


def static(
    count: int,
    restart: RestartName = "permanent",
    strategy: StrategyName = "one_for_one",
    auto_shutdown: AutoShutdownName = "never",
) -> AnySupervisorSpec:
    """A Supervisor of so many children; with an auto_shutdown all are significant."""
    significant = auto_shutdown != "never"
    children = [child(Idle, str(number), restart=restart, significant=significant) for number in range(count)]
    return Supervisor(strategy=strategy, max_restarts=ALLOWED, auto_shutdown=auto_shutdown, children=children)


def dynamic(restart: RestartName = "permanent", backoff: Backoff | None = None) -> AnySupervisorSpec:
    """A DynamicSupervisor."""
    return DynamicSupervisor(child(Idle, restart=restart), max_children=MANY, max_restarts=ALLOWED, backoff=backoff)


async def timed(work: Callable[[], Awaitable[None]]) -> float:
    """Seconds on a core that it takes, without what earlier rounds left to the garbage collector."""
    gc.collect()
    begun = process_time()
    await work()
    return process_time() - begun


async def start_and_stop(spec: AnySupervisorSpec, count: int) -> float:
    """Seconds from nothing to nothing."""
    tree = Tree()

    async def work() -> None:
        await tree.start(spec, count)
        await tree.stop()

    return await timed(work)


async def one_restart(spec: AnySupervisorSpec, count: int) -> float:
    """Seconds for the restart of one child, among so many."""
    tree = Tree()
    await tree.start(spec, count)
    victim = tree.children[count // 2]

    async def work() -> None:
        for _ in range(RESTARTS):
            tree.crash(victim)
            await tree.settled()

    took_s = await timed(work)
    assert len(tree.children) == count
    await tree.stop()
    return took_s / RESTARTS


async def loss(spec: AnySupervisorSpec, count: int, lose: Callable[[Tree], None], left: int) -> float:
    """Seconds until a supervisor that lost all its children has nothing more to do."""
    tree = Tree()
    await tree.start(spec, count)

    async def work() -> None:
        lose(tree)
        await tree.settled()

    took_s = await timed(work)
    assert len(tree.children) == left, (len(tree.children), left)
    await tree.stop()
    return took_s


def all_crash(tree: Tree) -> None:
    """Every child fails at the same moment."""
    for actor in tree.children:
        tree.crash(actor)


def one_crashes(tree: Tree) -> None:
    """The first child fails, and its siblings follow."""
    tree.crash(tree.children[0])


def host_dies(tree: Tree) -> None:
    """Every child goes down with the host."""
    tree.host_dies(tree.children)


async def grown(options: Options, screen: Screen, title: str, run: Callable[[int], Awaitable[float]]) -> float:
    """Time of MANY by that of TIMES times FEW."""
    large, small = many(options), many(options) // TIMES
    await run(small)  # warms up

    async def in_parts() -> float:
        return sum([await run(small) for _ in range(TIMES)])

    sides = {f"{TIMES} × {small:,}": in_parts, f"{large:,}": lambda: run(large)}
    seconds = await alternated(min(ROUNDS, options.rounds), sides)
    screen.rates(title, seconds, "s")
    some, all_at_once = map(median, seconds.values())
    return all_at_once / some


async def restart_growth(options: Options, screen: Screen, title: str, spec: Sized) -> float:
    """Time of one restart among the large number by that among NEIGHBOURS."""
    large = many(options)
    sides = {
        f"among {NEIGHBOURS}": lambda: one_restart(spec(NEIGHBOURS), NEIGHBOURS),
        f"among {large:,}": lambda: one_restart(spec(large), large),
    }
    seconds = await alternated(min(ROUNDS, options.rounds), sides)
    screen.rates(title, {name: [value * 1e6 for value in values] for name, values in seconds.items()}, "µs")
    few, all_of_them = map(median, seconds.values())
    return all_of_them / few


def many(options: Options) -> int:
    """The large number."""
    return MANY_QUICK if options.quick else MANY


async def measured(options: Options, screen: Screen) -> Result:
    """Every growth."""
    pool, passing, patient = dynamic(), dynamic("temporary"), dynamic(backoff=Backoff())
    started = [
        await grown(options, screen, "Supervisor: start and stop", lambda n: start_and_stop(static(n), n)),
        await grown(options, screen, "DynamicSupervisor: start and stop", lambda n: start_and_stop(pool, n)),
    ]
    restarted = [
        await restart_growth(options, screen, "Supervisor: one restart", static),
        await restart_growth(options, screen, "DynamicSupervisor: one restart", lambda _: pool),
    ]
    lost = [
        await grown(options, screen, "temporary children all crash", lambda n: loss(passing, n, all_crash, 0)),
        await grown(options, screen, "permanent children all crash", lambda n: loss(pool, n, all_crash, n)),
        # The first restart of a child waits for nothing, so this is the cost of counting and not of waiting.
        await grown(options, screen, "the same with back-off", lambda n: loss(patient, n, all_crash, n)),
        await grown(options, screen, "the host of all dies", lambda n: loss(pool, n, host_dies, n)),
    ]

    def significant(count: int) -> AnySupervisorSpec:
        return static(count, "transient", auto_shutdown="all_significant")

    def together(count: int, restart: RestartName = "permanent") -> AnySupervisorSpec:
        return static(count, restart, "one_for_all")

    lost_static = [
        await grown(options, screen, "Supervisor: all crash", lambda n: loss(static(n), n, all_crash, n)),
        await grown(
            options, screen, "Supervisor: one crashes, all follow", lambda n: loss(together(n), n, one_crashes, n)
        ),
        await grown(
            options, screen, "Supervisor: temporary ones", lambda n: loss(together(n, "temporary"), n, all_crash, 0)
        ),
        await grown(options, screen, "Supervisor: significant ones", lambda n: loss(significant(n), n, all_crash, n)),
    ]
    return {
        "start_stop_growth": ratio(max(started), 1.0),
        "restart_growth": ratio(max(restarted), 1.0),
        "mass_loss_growth": ratio(max(lost), 1.0),
        "static_loss_growth": ratio(max(lost_static), 1.0),
        "start_stop_growth_static": rounded(started[0]),
        "start_stop_growth_dynamic": rounded(started[1]),
        "restart_growth_static": rounded(restarted[0]),
        "restart_growth_dynamic": rounded(restarted[1]),
        "mass_loss_growth_temporary": rounded(lost[0]),
        "mass_loss_growth_permanent": rounded(lost[1]),
        "mass_loss_growth_backoff": rounded(lost[2]),
        "mass_loss_growth_host": rounded(lost[3]),
        "static_loss_growth_crashes": rounded(lost_static[0]),
        "static_loss_growth_one_for_all": rounded(lost_static[1]),
        "static_loss_growth_temporary": rounded(lost_static[2]),
        "static_loss_growth_significant": rounded(lost_static[3]),
    }


def main() -> None:
    """Measures, and prints tables and the JSON line."""
    options = options_of(__doc__)
    screen = Screen(options)
    with ends_within(limit_s(options)):
        result = asyncio.run(measured(options, screen))
    found = versions("regrow")
    screen.figures("Supervision", SUPERVISION, result)
    screen.say(" · ".join(f"{name} {version}" for name, version in found.items()))
    finish(result | {"versions": found, "quick": options.quick})


if __name__ == "__main__":
    main()
