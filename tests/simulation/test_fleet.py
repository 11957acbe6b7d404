"""Random trees over several hosts that die, fall silent and are found again, with operators in between.

After each step the rules of `fleet_rules` must hold: at most one life of each child, no restart before the verdict or
the confirmation, ends in reverse start order, one event for each host, the restart intensity never passed, and no
supervisor that ends without a reason.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from regrow.runtime.errors import RegrowError
from regrow.runtime.lifecycle import Shutdown
from regrow.supervisors import ChildSpec, Supervisor, SupervisorSpec, child
from regrow.supervisors.spec import RestartName
from tests.simulation.fleet import Host
from tests.simulation.fleet_rules import FleetStage
from tests.simulation.seeds import seeds
from tests.simulation.test_supervisor_tree import STRATEGIES, observed_states, paths_of
from tests.supervisors.stage import Actor, Crash, Finish, pass_time, virtual

RESTARTS: tuple[RestartName, ...] = ("permanent", "permanent", "transient", "temporary")
GRACES_S = (0.0, 1.0, 10.0)
STEPS = 40
PAUSES_S = (0.0, 0.005, 0.3, 2.0)
WAYS_S = (0.0, 0.001, 0.002, 0.005, 0.02, 0.6)
"""How long a call is under way; one that is slow is overtaken by many."""
QUIET_S = 200.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How many restarts the supervisors of a tree may be allowed."""

    of_root: tuple[int, ...]
    below: tuple[int, ...]


HARSH = Limits(of_root=(2, 5, 20), below=(0, 1, 2, 3))
"""Many supervisors give up, and some trees end."""
MILD = Limits(of_root=(1_000,), below=(2, 1_000))
"""Some supervisors give up, and no tree ends."""


def random_tree(rng: random.Random, limits: Limits, depth: int = 0) -> SupervisorSpec:
    """A tree of up to three levels."""
    children: list[ChildSpec] = []
    for id in "abcd"[: rng.randint(2, 4)]:
        nested = depth < 2 and rng.random() < 0.4
        target = random_tree(rng, limits, depth + 1) if nested else Actor
        grace_s = None if nested else rng.choice(GRACES_S)
        children.append(child(target, id, restart=rng.choice(RESTARTS), shutdown_s=grace_s))
    max_restarts = rng.choice(limits.below if depth else limits.of_root)
    return Supervisor(strategy=rng.choice(STRATEGIES), max_restarts=max_restarts, within_s=5.0, children=children)


class Simulation:
    """One tree, its hosts, and what happens to them."""

    def __init__(self, seed: int, limits: Limits, *, calls_take_time: bool = False) -> None:
        self.rng = rng = random.Random(seed)
        self.tree = tree = random_tree(rng, limits)
        self.stage = stage = FleetStage(rng, tree)
        self.fleet, self.rules = stage.fleet, stage.rules
        self.paths = paths_of(tree)
        stage.start_takes_s = {path: rng.choice((0.0, 0.01, 0.5)) for path in self.paths if rng.random() < 0.4}
        stage.stop_takes_s = {path: rng.choice((0.0, 0.01, 0.5, 30.0)) for path in self.paths if rng.random() < 0.4}
        if calls_take_time:
            ways = random.Random(f"{seed} ways")
            self.fleet.way_s = lambda: ways.choice(WAYS_S)
        self.kills_of_supervisors = 5 if calls_take_time else 0
        self.operators: set[asyncio.Task[None]] = set()
        self.administered: set[str] = set()
        """The supervisors at which an operator did something."""

    async def __aenter__(self) -> Simulation:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Ends what a broken rule has left, which else would be found behind the test and hide what it says."""
        if kind is not None:
            for task in self.operators:
                task.cancel()
            for runtime in (self.stage.runtime, *(host.runtime for host in self.fleet.all_hosts)):
                await runtime.aclose()

    async def play(self) -> None:
        """Many steps, and the rules after each."""
        for number in range(STEPS):
            await pass_time(self.rng.choice(PAUSES_S))
            what = self.step()
            await asyncio.sleep(0)
            assert not self.rules.broken, f"step {number}, {what}: {self.rules.broken}"

    def step(self) -> str:
        """One thing happens; returns what."""
        match self.rng.randrange(14 + self.kills_of_supervisors):
            case 0 | 1 | 2:
                return self._worker_ends()
            case 3 | 4 | 5:
                return self._host_dies()
            case 6 | 7:
                return self._contact_is_lost()
            case 8 | 9:
                return self._a_verdict_comes()
            case 10:
                path = self.rng.choice(self.paths)
                self.stage.fail_starts[path] += self.rng.randint(1, 3)
                return f"{path} fails to start"
            case 12 | 13:
                return self._operator_acts()
            case _:
                return self._supervisor_is_killed()

    def heal(self) -> None:
        """Every host is found, or found dead."""
        for host in list(self.fleet.hosts):
            if not host.is_alive:
                self.fleet.is_told_dead(host)
            elif not host.is_heard:
                self.fleet.is_found(host)

    # ---- what may happen -----------------------------------------------------------------------

    def _worker_ends(self) -> str:
        rng = self.rng
        living = [(host, actor) for host in self.fleet.hosts for actor in host.living]
        if not living:
            return "nothing"
        host, actor = rng.choice(living)
        match rng.randrange(3):
            case 0:
                host.runtime.cells[actor].kill()
            case 1:
                host.runtime.ref(actor).tell_nowait(Finish())
            case _:
                host.runtime.ref(actor).tell_nowait(Crash())
        return f"{actor} ends"

    def _host_dies(self) -> str:
        host = self._any(lambda host: host.is_alive)
        if host is None:
            return "nothing"
        self.fleet.dies(host)
        if host.is_heard and self.rng.random() < 0.7:
            self.fleet.is_told_dead(host)
        return f"{host.name} dies"

    def _contact_is_lost(self) -> str:
        host = self._any(lambda host: host.is_alive and host.is_heard)
        if host is None:
            return "nothing"
        self.fleet.falls_silent(host, hears=self.rng.random() < 0.3)
        return f"{host.name} falls silent"

    def _a_verdict_comes(self) -> str:
        host = self._any(lambda host: not host.is_alive or not host.is_heard)
        if host is None:
            return "nothing"
        if host.is_alive and self.rng.random() < 0.7:
            self.fleet.is_found(host)
            return f"{host.name} is found"
        if host.is_alive:
            self.fleet.dies(host)
        self.fleet.is_told_dead(host)
        return f"{host.name} is found dead"

    def _supervisor_is_killed(self) -> str:
        stage = self.stage
        path = self.rng.choice([path for path in self.paths if stage.actor(path) in stage.runtime.cells] or [""])
        cell = stage.runtime.cells.get(stage.actor(path))
        if not path or cell is None or cell.behavior is None:
            return "nothing"
        self.rules.life(cell.actor, cell.incarnation).ordered = True
        cell.kill()
        return f"{path} is killed"

    def _operator_acts(self) -> str:
        path = self.rng.choice(self.paths)
        task = asyncio.ensure_future(self._administer(path, self.rng.choice(("stop", "restart", "replace", "look"))))
        self.operators.add(task)
        task.add_done_callback(self.operators.discard)
        return f"an operator at {path}"

    async def _administer(self, path: str, deed: str) -> None:
        above, _, id = path.rpartition("/")
        self.administered.add(above)
        with self.rules.operator_at(self.stage.actor(above)):
            try:
                behavior = self.stage.supervisor(above)
                match deed:
                    case "stop":
                        await behavior.stop_child(id)
                    case "restart":
                        await behavior.restart_child(id)
                    case "replace":
                        await behavior.replace_child(id)
                    case _:
                        await behavior.which_children()
            except (RegrowError, KeyError, AssertionError):
                pass  # that supervisor is not there now, or said no

    def _any(self, fits: Callable[[Host], bool]) -> Host | None:
        fitting = [host for host in self.fleet.hosts if fits(host)]
        return self.rng.choice(fitting) if fitting else None


@pytest.mark.parametrize("seed", seeds("fleet", range(60)))
@virtual
async def test_a_tree_keeps_its_rules_while_its_hosts_die_and_fall_silent(seed: int) -> None:
    async with Simulation(seed, HARSH) as simulation:
        stage = simulation.stage
        starting = asyncio.ensure_future(stage.try_start(simulation.tree))
        if seed % 4:  # in the others the faults meet its start
            await starting

        await simulation.play()
        root = stage.runtime.cells.get(stage.actor())
        if root is not None:
            simulation.rules.life(root.actor, root.incarnation).ordered = True
            root.stop(Shutdown(), simulation.rng.choice((None, 20.0)))
        await pass_time(1.0)
        simulation.heal()
        await pass_time(QUIET_S)

        assert starting.done()
        assert_nothing_is_left(simulation)


@pytest.mark.parametrize("seed", seeds("fleet", range(40)))
@virtual
async def test_a_tree_is_whole_again_when_all_its_hosts_are_found_or_found_dead(seed: int) -> None:
    async with Simulation(seed, MILD) as simulation:
        await play_and_look(simulation)


@pytest.mark.parametrize("seed", seeds("calls of a fleet", range(40)))
@virtual
async def test_a_tree_is_whole_again_though_calls_to_its_hosts_overtake_each_other(seed: int) -> None:
    async with Simulation(seed, MILD, calls_take_time=True) as simulation:
        await play_and_look(simulation)


async def play_and_look(simulation: Simulation) -> None:
    """Whatever has happened, in the end everybody runs again who should, and nobody else."""
    stage, fleet = simulation.stage, simulation.fleet
    await stage.start(simulation.tree)

    await simulation.play()
    simulation.heal()
    await pass_time(QUIET_S)

    states = observed_states(stage)
    # Who waits for a child that an operator stopped stays down with it, as in OTP.
    stranded = {
        path
        for path, state in states.items()
        if state == "waiting" and path.rpartition("/")[0] in simulation.administered
    }
    down = {path for path, state in states.items() if state not in ("running", "stopped", "finished")}
    assert not down - stranded
    workers = {stage.short(actor) for host in fleet.hosts for actor in host.living}
    assert {path for path, state in states.items() if state == "running"} == workers | stage.alive()
    root = stage.cell()
    simulation.rules.life(root.actor, root.incarnation).ordered = True
    await stage.stop()
    assert_nothing_is_left(simulation)


def assert_nothing_is_left(simulation: Simulation) -> None:
    """Of the whole tree, anywhere; and no rule was broken since the last step."""
    stage, hosts = simulation.stage, simulation.fleet.all_hosts
    assert not simulation.rules.broken
    assert not stage.doubled
    assert not stage.runtime.cells
    assert not [actor for host in hosts for actor in host.living]
    assert not [actor for host in hosts if host.is_alive for actor in host.runtime.cells]
    assert not simulation.rules.left()
    assert not +stage.lives
    assert not simulation.operators
