"""A DynamicSupervisor under random faults: what must hold whatever the order.

Callers start and stop children while others crash, do not come up, take their time, do not hear, or die with
their host so that nobody can confirm it; in the middle of it all the supervisor itself may be killed.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Coroutine
from typing import Any

import pytest

from regrow.runtime.cell import State
from regrow.runtime.errors import RegrowError
from regrow.runtime.lifecycle import Crashed, ExitReason
from regrow.supervisors import Backoff, DynamicSupervisor, Supervisor, child
from regrow.supervisors.requests import start_child, stop_child, which_children
from regrow.supervisors.spec import RestartName
from tests.simulation.seeds import seeds
from tests.supervisors.stage import Actor, Crash, FarStarter, Finish, Stage, pass_time, virtual

RESTARTS: tuple[RestartName, ...] = ("permanent", "transient", "temporary")
MAX_CHILDREN = 12
KNOWN = 600
"""Ids that may be given in one run, for which it is decided beforehand how they behave."""

QUIET_S = 200.0


class Pool:
    """One pool and who calls it."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.stage = stage = Stage(FarStarter)
        paths = [f"pool/{number}" for number in range(KNOWN)]
        stage.start_takes_s = {path: rng.choice((0.0, 0.01, 0.5)) for path in paths if rng.random() < 0.2}
        stage.stop_takes_s = {path: rng.choice((0.01, 0.5, 30.0)) for path in paths if rng.random() < 0.3}
        stage.fail_starts.update({path: 1 for path in paths if rng.random() < 0.1})
        stage.far.deaf.update(f"root/{path}" for path in paths if rng.random() < 0.1)
        self.most = 0
        self.calls: set[asyncio.Task[None]] = set()
        self.lost: list[str] = []

    async def start(self, max_restarts: int) -> None:
        rng = self.rng
        spec = DynamicSupervisor(
            child(Actor, restart=rng.choice(RESTARTS), shutdown_s=rng.choice((0.0, 2.0, 40.0))),
            max_children=MAX_CHILDREN,
            max_restarts=max_restarts,
            backoff=rng.choice((None, Backoff(first_s=0.1, max_s=1.0))),
        )
        await self.stage.start(Supervisor(max_restarts=100, children=[child(spec, id="pool")]))

    def call(self, asked: Coroutine[Any, Any, object]) -> None:
        """Somebody asks, and takes every refusal and every end of the pool as it comes."""

        async def take_the_answer() -> None:
            try:
                await asked
            except RegrowError:
                pass

        task = asyncio.ensure_future(take_the_answer())
        self.calls.add(task)
        task.add_done_callback(self.calls.discard)

    def children(self) -> list[str]:
        """Those that run now."""
        return sorted(path for path in self.stage.alive() if path.startswith("pool/"))

    def crashes(self) -> list[ExitReason]:
        """The ends of the pool by an exception in it."""
        return [reason for path, reason in self.stage.exits if path == "pool" and isinstance(reason, Crashed)]

    async def disturb(self) -> None:
        """One thing happens."""
        rng, stage, alive = self.rng, self.stage, self.children()
        self.most = max(self.most, len(alive))
        match rng.randrange(12):
            case 0 | 1 | 2 | 3 | 4:
                for _ in range(rng.randint(1, 5)):
                    self.call(start_child(stage.ref("pool"), None))
            case 5 | 6 if alive:
                self.call(stop_child(stage.ref(rng.choice(alive)), timeout_s=120.0))
            case 7 | 8 if alive:
                stage.ref(rng.choice(alive)).tell_nowait(rng.choice((Crash(), Finish())))
            case 9 if alive:
                some = rng.sample(alive, rng.randint(1, len(alive)))
                stage.far.host_dies(*(f"root/{path}" for path in some), event=f"host-{rng.random()}")
            case 10 if alive:
                path = f"root/{rng.choice(alive)}"
                stage.far.lose(path)
                self.lost.append(path)
                self.call(stop_child(stage.ref(path.removeprefix("root/")), timeout_s=120.0))
            case 11 if rng.random() < 0.3 and "pool" in stage.alive():
                stage.cell("pool").kill()
            case _:
                self.call(which_children(stage.ref("pool")))

    async def confirm_all(self) -> None:
        """What was lost is found dead; a kill before that could not be known to have worked."""
        for path in self.lost:
            self.stage.far.lost.discard(path)
        for path in self.lost:
            cell = next((cell for actor, cell in self.stage.runtime.cells.items() if actor == path), None)
            if cell is not None and cell.state is not State.RESTARTING:
                await self.stage.far.confirm(path)


@pytest.mark.parametrize("seed", seeds("pool", range(30)))
@virtual
async def test_a_pool_keeps_its_bound_and_loses_nobody_whatever_happens(seed: int) -> None:
    pool = Pool(random.Random(seed))
    stage = pool.stage
    await pool.start(max_restarts=1_000)

    for _ in range(40):
        await pass_time(pool.rng.choice((0.0, 0.005, 0.3, 2.0)))
        await pool.disturb()
    await pass_time(1.0)
    await pool.confirm_all()
    await pass_time(QUIET_S)

    rows = await which_children(stage.ref("pool"))
    assert {row.actor for row in rows} == {f"root/{path}" for path in pool.children()}
    assert {row.state for row in rows} <= {"running"}
    assert pool.most <= MAX_CHILDREN
    assert not pool.crashes(), "whatever is asked, it never ends by a mistake of its own"
    assert not stage.doubled
    assert not pool.calls
    await stage.stop()
    assert not stage.runtime.cells
    assert not +stage.lives


@pytest.mark.parametrize("seed", seeds("pool", range(30)))
@virtual
async def test_nothing_of_a_pool_survives_its_end_at_any_moment(seed: int) -> None:
    pool = Pool(random.Random(seed))
    stage = pool.stage
    await pool.start(max_restarts=pool.rng.randint(0, 3))

    for _ in range(pool.rng.randint(1, 25)):
        await pass_time(pool.rng.choice((0.0, 0.005, 0.3)))
        await pool.disturb()
    stopping = asyncio.ensure_future(stage.stop()) if "root" in stage.runtime.cells else None
    await pass_time(1.0)
    await pool.confirm_all()
    await pass_time(QUIET_S)

    assert stopping is None or stopping.done()
    assert not stage.runtime.cells
    assert not pool.crashes(), "whatever is asked, it never ends by a mistake of its own"
    assert not stage.doubled
    assert not +stage.lives
    assert not pool.calls
