"""The rig: an app that runs in one of four placements, and what its agents have written down."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from itertools import count
from pathlib import Path

from regrow import ActorRef, App, Running
from regrow.cluster.config import LogSettings, Settings
from tests.conformance.placements.clusters import Clusters
from tests.conformance.placements.player import OFTEN, RECORD, Gate, Life, Pid
from tests.conformance.placements.troupe import apart, together
from tests.integration.waiting import until

START_S = 120.0
STOP_S = 90.0
HELD_TIMEOUT_S = 60.0
"""Far beyond what any of them takes on a busy machine."""


class Placement(StrEnum):
    """Where the agents of the app are."""

    INLINE = "inline"
    ONE_HOST = "one host"
    TWO_HOSTS = "two hosts"
    TWO_RAYLETS = "two raylets"

    @property
    def on_ray(self) -> bool:
        """Whether there are processes beside the test's own."""
        return self is not Placement.INLINE

    @property
    def apart(self) -> bool:
        """Whether near and far agents are in different processes."""
        return self in (Placement.TWO_HOSTS, Placement.TWO_RAYLETS)


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the record: somebody in some life of it saw something, at a time of the machine's monotonic clock."""

    who: str
    life: int
    text: str
    at_s: float


class Record:
    """What the agents have written down, in the order of the machine."""

    def __init__(self) -> None:
        self._begin = 0
        self._names = count()

    def open(self) -> None:
        """Makes the folder."""
        RECORD.parent.mkdir(parents=True, exist_ok=True)
        RECORD.touch()

    def close(self) -> None:
        """Removes it."""
        shutil.rmtree(RECORD.parent, ignore_errors=True)

    def begin(self) -> None:
        """From here on what was seen before counts as not seen."""
        self._begin += len(self._whole_lines())

    def lines(self, *who: str) -> list[Line]:
        """What these have seen since the beginning; of everybody if nobody is named."""
        found = [Line(*json.loads(line)) for line in self._whole_lines().splitlines()]
        return [line for line in found if not who or line.who in who]

    def _whole_lines(self) -> bytes:
        """What was written since the beginning, without a last line that is only half there: somebody writes it now."""
        with RECORD.open("rb") as file:
            file.seek(self._begin)
            written = file.read()
        return written[: written.rfind(b"\n") + 1]

    def seen(self, who: str) -> list[str]:
        """What one has seen, in order."""
        return [line.text for line in self.lines(who)]

    def story(self, *who: str) -> list[str]:
        """What several have seen, as `who text`."""
        return [f"{line.who} {line.text}" for line in self.lines(*who)]

    def file(self) -> Path:
        """A file that is not there yet."""
        return RECORD.with_name(f"gate-{next(self._names)}")

    @contextmanager
    def fails(self, who: str, times: int = OFTEN, app: str = "stage") -> Iterator[None]:
        """As long as it lasts, the next starts of that agent fail, so many of them."""
        file = RECORD.with_name(f"{RECORD.name}.{app}.{who.replace('/', '.')}.fails")
        file.write_text(str(times))
        try:
            yield
        finally:
            file.unlink()

    @contextmanager
    def lingers(self, who: str, app: str = "stage") -> Iterator[None]:
        """As long as it lasts, that agent does not let go when it is told to stop."""
        file = RECORD.with_name(f"{RECORD.name}.{app}.{who.replace('/', '.')}.lingers")
        file.touch()
        try:
            yield
        finally:
            file.unlink()

    @contextmanager
    def asks_at_stop(self, who: str, whom: str, app: str = "stage") -> Iterator[None]:
        """As long as it lasts, that agent asks the other one when it is told to stop."""
        file = RECORD.with_name(f"{RECORD.name}.{app}.{who.replace('/', '.')}.asks-at-stop")
        file.write_text(f"{app}/{whom}")
        try:
            yield
        finally:
            file.unlink()

    @contextmanager
    def children_ask(self, parent: str, whom: str, app: str = "stage") -> Iterator[None]:
        """As long as it lasts, players ask that one as they start below this parent."""
        file = RECORD.with_name(f"{RECORD.name}.{app}.{parent}.children-ask")
        file.write_text(f"{app}/{whom}")
        try:
            yield
        finally:
            file.unlink()


class Stage:
    """An app in one placement, and its record."""

    def __init__(self, running: Running, placement: Placement, record: Record) -> None:
        self.running = running
        self.placement = placement
        self.record = record
        self.spoilt = False

    def ref(self, id: str) -> ActorRef:
        """An agent by its id below the root."""
        return self.running.ref(f"stage/{id}")

    async def fresh(self, *ids: str) -> Sequence[ActorRef]:
        """These agents, each in a new life that has seen nothing."""
        refs = [self.ref(id) for id in ids]
        await asyncio.gather(*map(self._renewed, refs))
        self.record.begin()
        return refs

    async def _renewed(self, ref: ActorRef) -> None:
        await ref.stop(grace_s=0)  # the ask comes behind it, so that the next life answers
        await ref.ask(Life())

    async def fresh_group(self, group: str, *members: str) -> Sequence[ActorRef]:
        """The members of a group whose supervisor has been started anew."""
        refs = [self.ref(f"{group}/{id}") for id in members]
        before = await self.number(group)
        await self.ref(group).stop(grace_s=0)
        try:
            await until(lambda: self._is_after(group, before), f"{group} has a new life")
        except AssertionError as error:
            tree = "\n".join(root.model_dump_json(indent=1) for root in await self.running.tree())
            raise AssertionError(f"{error}; before it was {before}, and now:\n{tree}") from None
        await asyncio.gather(*(ref.ask(Life()) for ref in refs))
        self.record.begin()
        return refs

    async def _is_after(self, id: str, before: int) -> bool:
        return await self.number(id) > before

    async def number(self, id: str) -> int:
        """The incarnation of an agent or supervisor, 0 while there is none."""
        for tree in await self.running.tree():
            for _, node in tree.walk():
                if node.id == f"stage/{id}" and node.state == "running":
                    return node.incarnation
        return 0

    async def state(self, id: str) -> str:
        """What the tree says of an agent or supervisor, empty when it does not know it."""
        nodes = [node for tree in await self.running.tree() for _, node in tree.walk()]
        return next((node.state for node in nodes if node.id == f"stage/{id}"), "")

    async def mailbox(self, id: str) -> int:
        """How many messages wait at an agent."""
        nodes = [node for tree in await self.running.tree() for _, node in tree.walk()]
        return next((node.mailbox for node in nodes if node.id == f"stage/{id}"), 0)

    async def until_seen(self, who: str, text: str, times: int = 1) -> list[str]:
        """Everything that one has seen, once this is part of it so many times."""
        seen = lambda: self.record.seen(who) if self.record.seen(who).count(text) >= times else []  # noqa: E731
        return await until(seen, f"{who} sees {text!r} {times} times")

    async def held(self, ref: ActorRef) -> tuple[Path, asyncio.Task[str]]:
        """An agent that waits at a gate; the gate's file, and the ask that is answered behind it."""
        file = self.record.file()
        who = ref.id.partition("/")[2]
        times = self.record.seen(who).count("at the gate")
        task = asyncio.create_task(ref.ask(Gate(file=str(file)), timeout_s=HELD_TIMEOUT_S))
        await self.until_seen(who, "at the gate", times + 1)
        return file, task

    async def dead_letters(self, reason: str) -> int:
        """How many the app has counted for this reason."""
        return dict((await self.running.counts()).dead_letters).get(reason, 0)

    async def signal(self, ref: ActorRef, number: signal.Signals) -> int:
        """Sends a signal to the process of an agent; gives its pid."""
        pid = await ref.ask(Pid())
        assert pid != os.getpid()
        os.kill(pid, number)
        return pid


class Stages:
    """The stage of one placement, made anew when a test has spoilt it."""

    def __init__(self, placement: Placement, clusters: Clusters, data: Path) -> None:
        self.placement = placement
        self._clusters = clusters
        self._data = data
        self._stage: Stage | None = None
        self.record = Record()

    async def stage(self) -> Stage:
        """The stage, ready for the next test."""
        if self._stage is not None and self._stage.spoilt:
            await self.close()
        if self._stage is None:
            self.record.open()
            app = apart if self.placement.apart else together
            self._stage = Stage(await self.start(app), self.placement, self.record)
        self.record.begin()
        return self._stage

    async def as_it_is(self) -> Stage:
        """The stage even if a test has spoilt it, for what ends it anyhow."""
        if self._stage is None:
            return await self.stage()
        self.record.begin()
        return self._stage

    async def start(self, app: App) -> Running:
        """Starts an app in this placement; what `App.start` raises is raised."""
        if self.placement.on_ray:
            self._clusters.need(2 if self.placement is Placement.TWO_RAYLETS else 1)
        settings = Settings(data_dir=self._data, log=LogSettings(level="error"))
        async with asyncio.timeout(START_S):
            return await app.start(engine="ray" if self.placement.on_ray else "inline", settings=settings)

    async def close(self) -> None:
        """Stops the app."""
        if self._stage is not None:
            stage, self._stage = self._stage, None
            async with asyncio.timeout(STOP_S):
                await stage.running.stop()
