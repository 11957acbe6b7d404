"""Random supervision trees under random faults.

`test_tree_does_what_the_rules_say` compares every start and stop, in order, with `Expected`: the rules
of SEMANTICS 2 written down a second time, as plain recursion without any waiting.
`test_nothing_survives_its_supervisor` lets faults meet starts and stops that take time, and checks
what must hold whatever the order.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from dataclasses import dataclass, field, replace

import pytest

from regrow.runtime.cell import Cell, State
from regrow.runtime.errors import RegrowError
from regrow.runtime.lifecycle import ExitReason, Shutdown
from regrow.supervisors import ChildSpec, Restart, Strategy, Supervisor, SupervisorSpec, child
from regrow.supervisors.spec import RestartName, StrategyName
from regrow.supervisors.supervisor import SupervisorBehavior
from tests.simulation.seeds import seeds
from tests.supervisors.stage import Actor, Crash, Finish, Stage, pass_time, virtual

STRATEGIES: tuple[StrategyName, ...] = ("one_for_one", "rest_for_one", "one_for_all")
RESTARTS: tuple[RestartName, ...] = ("permanent", "permanent", "transient", "temporary")
WITHIN_S = 5.0


def random_tree(rng: random.Random, depth: int = 0) -> SupervisorSpec:
    """A tree of up to three levels."""
    children: list[ChildSpec] = []
    for id in "abcd"[: rng.randint(1, 4)]:
        nested = depth < 2 and rng.random() < 0.4
        target = random_tree(rng, depth + 1) if nested else Actor
        children.append(child(target, id, restart=rng.choice(RESTARTS)))
    return Supervisor(
        strategy=rng.choice(STRATEGIES), max_restarts=rng.randint(0, 3), within_s=WITHIN_S, children=children
    )


# ---- the rules, written down a second time -----------------------------------------------------


@dataclass
class Node:
    """A worker or a supervisor as the rules see it."""

    path: str
    spec: ChildSpec | None
    tree: SupervisorSpec | None
    parent: Node | None
    state: str = "waiting"
    children: list[Node] = field(default_factory=list["Node"])
    window: list[float] = field(default_factory=list[float])

    @property
    def restart(self) -> Restart:
        assert self.spec is not None
        return self.spec.restart


class Expected:
    """What a tree does, without any waiting."""

    def __init__(self, tree: SupervisorSpec) -> None:
        self.root = Node("", None, tree, None)
        self.log: list[str] = []
        self.fails: Counter[str] = Counter()
        self.now_s = 0.0

    def start(self, node: Node) -> bool:
        if node.tree is None:
            self.log.append(f"start {node.path}")
            if self.fails[node.path]:
                self.fails[node.path] -= 1
                self.log.append(f"fail {node.path}")
                return False
        else:
            node.window = []
            node.children = [self._node(node, spec) for spec in node.tree.children]
            for each in node.children:
                if not self.start(each):
                    self._stop_children(node)
                    return False
        node.state = "running"
        return True

    def _node(self, parent: Node, spec: ChildSpec) -> Node:
        path = f"{parent.path}/{spec.id}" if parent.path else spec.id
        return Node(path, spec, spec.behavior if isinstance(spec.behavior, SupervisorSpec) else None, parent)

    def stop(self, node: Node) -> None:
        if node.tree is None:
            self.log.append(f"stop {node.path}")
        else:
            self._stop_children(node)
        node.state = "waiting"

    def _stop_children(self, node: Node) -> None:
        for each in reversed(node.children):
            if each.state == "running":
                self.stop(each)

    def ended(self, node: Node, *, abnormal: bool) -> None:
        """This node ended by itself."""
        supervisor = node.parent
        node.state = "waiting"
        if supervisor is None:
            node.state = "ended"
        elif node.restart is Restart.TEMPORARY:
            supervisor.children.remove(node)
        elif node.restart is Restart.TRANSIENT and not abnormal:
            node.state = "finished"
        else:
            self._restart(supervisor, node)

    def _restart(self, supervisor: Node, failed: Node | None) -> None:
        tree = supervisor.tree
        assert tree is not None
        while failed is not None:
            supervisor.window = [t for t in supervisor.window if self.now_s - t <= tree.within_s] + [self.now_s]
            if len(supervisor.window) > tree.max_restarts:
                self._stop_children(supervisor)
                self.ended(supervisor, abnormal=True)
                return
            failed = self._try(supervisor, failed)

    def _try(self, supervisor: Node, failed: Node) -> Node | None:
        """One attempt; returns the child at which it ended, or None when all run."""
        assert supervisor.tree is not None
        siblings = supervisor.children
        scope = list(siblings)
        if supervisor.tree.strategy is Strategy.ONE_FOR_ONE:
            scope = [failed]
        elif supervisor.tree.strategy is Strategy.REST_FOR_ONE:
            scope = siblings[siblings.index(failed) :]
        for each in reversed(scope):
            if each.state == "running":
                self.stop(each)
        for each in scope:
            if each.restart is Restart.TEMPORARY:
                siblings.remove(each)
            elif each.state != "stopped" and not self.start(each):
                return each
        return None

    def stop_child(self, node: Node) -> None:
        assert node.parent is not None
        if node.state == "running":
            self.stop(node)
        node.state = "stopped"
        if node.restart is Restart.TEMPORARY:
            node.parent.children.remove(node)

    def restart_child(self, node: Node) -> None:
        before = node.state
        if not self.start(node):
            node.state = before

    def nodes(self, node: Node | None = None) -> list[Node]:
        """All below a running supervisor, itself included."""
        node = node if node is not None else self.root
        below = [each for c in node.children for each in self.nodes(c)] if node.state == "running" else []
        return [node, *below]

    def states(self) -> dict[str, str]:
        return {node.path: node.state for node in self.nodes() if node.parent is not None}


def observed_states(stage: Stage, path: str = "") -> dict[str, str]:
    """The same from the supervisors themselves."""
    cell = stage.runtime.cells.get(stage.actor(path))
    if cell is None or not isinstance(cell.behavior, SupervisorBehavior):
        return {}
    states: dict[str, str] = {}
    for row in cell.behavior.rows():
        below = stage.short(row.actor)
        states[below] = row.state
        if row.state == "running":
            states.update(observed_states(stage, below))
    return states


async def one_event(rng: random.Random, stage: Stage, expected: Expected) -> str:
    """Does one thing to the tree and to the expectation; returns what."""
    node = rng.choice([node for node in expected.nodes() if node.parent is not None])
    assert node.parent is not None
    assert node.spec is not None
    expected.now_s = stage.loop.time()
    supervisor = stage.supervisor(node.parent.path)
    match rng.choice(("crash", "crash", "crash", "finish", "kill", "stop", "restart")):
        case "crash" if node.tree is None and node.state == "running":
            stage.ref(node.path).tell_nowait(Crash())
            expected.ended(node, abnormal=True)
        case "kill" if node.tree is None and node.state == "running":
            stage.cell(node.path).kill()
            expected.ended(node, abnormal=True)
        case "finish" if node.tree is None and node.state == "running":
            stage.ref(node.path).tell_nowait(Finish())
            expected.log.append(f"stop {node.path}")
            expected.ended(node, abnormal=False)
        case "stop":
            await supervisor.stop_child(node.spec.id)
            expected.stop_child(node)
        case "restart" if node.state in ("stopped", "finished"):
            await asyncio.gather(supervisor.restart_child(node.spec.id), return_exceptions=True)
            expected.restart_child(node)
        case _:
            return f"nothing to {node.path}"
    return node.path


@pytest.mark.parametrize("seed", seeds("tree", range(60)))
@virtual
async def test_tree_does_what_the_rules_say(seed: int) -> None:
    rng = random.Random(seed)
    tree = random_tree(rng)
    stage, expected = Stage(), Expected(tree)
    await stage.start(tree)
    expected.start(expected.root)

    for _ in range(12):
        if expected.root.state != "running" or not expected.root.children:
            break
        if rng.random() < 0.5:
            path = rng.choice([node.path for node in expected.nodes() if node.tree is None] or ["a"])
            stage.fail_starts[path] = expected.fails[path] = rng.randint(1, 3)
        what = await one_event(rng, stage, expected)
        await pass_time(rng.choice((0.013, 1.017, 3.019)))
        assert stage.drain() == expected.log, what
        assert observed_states(stage) == expected.states(), what
        expected.log.clear()

    running = expected.root.state == "running"
    expected.stop(expected.root)
    if running:
        await stage.stop()
        assert stage.drain() == expected.log
    assert not stage.runtime.cells
    assert not stage.doubled


# ---- faults at any moment ----------------------------------------------------------------------


class Witness:
    """Notes every supervisor that announced its end while something below it was still there."""

    def __init__(self, stage: Stage) -> None:
        self.survivors: list[str] = []
        self._stage = stage
        self._announce = stage.runtime.announce_exit
        stage.runtime.announce_exit = self._announced  # type: ignore[method-assign]

    def _announced(self, cell: Cell, reason: ExitReason, *, quiet: bool) -> None:
        self._announce(cell, reason, quiet=quiet)
        if not isinstance(cell.request.target, SupervisorSpec):
            return
        below = f"{cell.actor}/"
        self.survivors += [
            f"{actor} survived {cell.actor}"
            for actor, other in self._stage.runtime.cells.items()
            if actor.startswith(below) and other.state not in (State.RESTARTING, State.ENDED)
        ]


async def administer(rng: random.Random, stage: Stage, path: str) -> None:
    """An operator who stops and starts children at a bad moment; refusals are fine."""
    supervisor, _, id = path.rpartition("/")
    try:
        behavior = stage.supervisor(supervisor)
        if rng.random() < 0.5:
            await behavior.stop_child(id)
        await behavior.restart_child(id)
    except (RegrowError, KeyError, AssertionError):
        pass  # that supervisor is not there now, or said no


def disturb(rng: random.Random, stage: Stage, paths: list[str], operators: set[asyncio.Task[None]]) -> str | None:
    """One fault somewhere, ready for it or not. Returns the child at which an operator acts."""
    path = rng.choice(paths)
    cell = stage.runtime.cells.get(stage.actor(path))
    match rng.randrange(5):
        case 0 | 1 if cell is not None and cell.behavior is not None:
            cell.kill()
        case 2 if cell is not None and isinstance(cell.behavior, Actor):
            stage.ref(path).tell_nowait(rng.choice((Crash(), Finish())))
        case 3:
            stage.fail_starts[path] += 1
        case _:
            task = asyncio.ensure_future(administer(rng, stage, path))
            operators.add(task)
            task.add_done_callback(operators.discard)
            return path
    return None


def paths_of(tree: SupervisorSpec, above: str = "") -> list[str]:
    found: list[str] = []
    for spec in tree.children:
        found.append(f"{above}{spec.id}")
        if isinstance(spec.behavior, SupervisorSpec):
            found += paths_of(spec.behavior, f"{above}{spec.id}/")
    return found


@pytest.mark.parametrize("seed", seeds("tree", range(60)))
@virtual
async def test_nothing_survives_its_supervisor(seed: int) -> None:
    rng = random.Random(seed)
    tree = random_tree(rng)
    paths = paths_of(tree)
    stage = Stage()
    stage.start_takes_s = {path: rng.choice((0.0, 0.01, 0.5)) for path in paths if rng.random() < 0.5}
    stage.stop_takes_s = {path: rng.choice((0.0, 0.01, 0.5, 30.0)) for path in paths if rng.random() < 0.5}
    witness = Witness(stage)
    operators: set[asyncio.Task[None]] = set()
    starting = asyncio.ensure_future(stage.try_start(tree))

    for _ in range(25):
        await pass_time(rng.choice((0.0, 0.005, 0.3, 2.0)))
        disturb(rng, stage, paths, operators)
    if not starting.done() and rng.random() < 0.5:
        starting.cancel()
    root = stage.runtime.cells.get(stage.actor())
    if root is not None:
        root.stop(Shutdown(), rng.choice((None, 20.0)))
    await pass_time(500.0)

    assert not witness.survivors
    assert not stage.doubled
    assert not +stage.lives
    assert not stage.runtime.cells
    assert not operators
    assert starting.done()


@pytest.mark.parametrize("seed", seeds("tree", range(40)))
@virtual
async def test_tree_comes_back_whole_after_its_faults(seed: int) -> None:
    rng = random.Random(seed)
    tree = replace(random_tree(rng), max_restarts=1_000)  # else half of the trees would be gone at the end
    paths = paths_of(tree)
    stage = Stage()
    stage.start_takes_s = {path: rng.choice((0.0, 0.01, 0.5)) for path in paths if rng.random() < 0.5}
    stage.stop_takes_s = {path: rng.choice((0.0, 0.01, 0.5, 30.0)) for path in paths if rng.random() < 0.5}
    await stage.start(tree)
    touched: set[str] = set()

    for _ in range(10):
        await pass_time(rng.choice((0.0, 0.005, 0.3, 2.0)))
        at = disturb(rng, stage, paths, set())
        touched |= set() if at is None else {at.rpartition("/")[0]}
    await pass_time(500.0)

    states = observed_states(stage)
    assert stage.actor() in stage.runtime.cells
    # Who waits for a child that an operator stopped stays down with it, as in OTP.
    stranded = {path for path, state in states.items() if state == "waiting" and path.rpartition("/")[0] in touched}
    assert not {path for path, state in states.items() if state not in ("running", "stopped", "finished")} - stranded
    assert {path for path, state in states.items() if state == "running"} == stage.alive()
    await stage.stop()
    assert not stage.runtime.cells
