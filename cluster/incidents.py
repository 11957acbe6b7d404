"""What goes wrong with agents, and what is done about it, on its way into the data folder: see incident_store.

Of an agent nothing is kept until something has gone wrong with it, so an app that just works has no such file. Written
by a thread of its own: a disk that is full or hangs costs incidents, which are counted, and never work.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from regrow.cluster.incident_store import Incident, IncidentStore, Sort
from regrow.cluster.record_queue import STORE, RecordQueue
from regrow.runtime.redaction import Redaction
from regrow.supervisors.report import ReportKind, SupervisorReport, bounded

if TYPE_CHECKING:
    from regrow.cluster.config import Settings
    from regrow.runtime import Runtime
    from regrow.runtime.dead_letters import DeadLetter
    from regrow.runtime.deaths import Death, SetAside
    from regrow.runtime.lifecycle import ExitReason

TROUBLED = 10_000
"""Of so many agents it is remembered that something has gone wrong with them, the latest ones."""
LOSSES_PER_S = 100
"""So many dead letters a second are kept, and the others counted."""
FLUSH_LIMIT_S = 2.0
"""How long the end of an app waits for a disk."""
LOSSES_LEFT_OUT = "losses"
DEATHS_LEFT_OUT = "deaths"
"""Reasons, beside those of a queue."""


def kept(app: str, settings: Settings) -> Incidents | None:
    """What keeps the incidents of an app; None where the settings want none."""
    limit_bytes = settings.incidents.store_mb * 1_000_000
    redact = Redaction(settings.tracing.redact)
    return Incidents(settings.data_dir_of(app), limit_bytes=limit_bytes, redact=redact) if limit_bytes else None


class Incidents:
    """Of one app, in the process that has its supervisors."""

    def __init__(self, folder: Path, *, limit_bytes: int, redact: Callable[[str], str]) -> None:
        """`redact` takes secrets out of what somebody's code has said; it is called on the thread that writes."""
        self._store = IncidentStore(folder, limit_bytes=limit_bytes)
        self._redact = redact
        self._queue: RecordQueue[Incident] | None = None
        self._troubled: OrderedDict[str, None] = OrderedDict()
        self._second, self._losses = 0, 0
        self._left_out: dict[str, int] = {}
        self._told: dict[str, int] = {}
        self._is_closed = False
        # Incarnations begin anew with each start of the app: only beside this does one name a life.
        self._run_ms = time.time_ns() // 1_000_000

    def attach(self, runtime: Runtime) -> None:
        """From now on deaths and dead letters of this process are kept."""
        runtime.deaths.added = runtime.deaths.added_aside = lambda: self._ended_here(runtime)
        runtime.dead_letters.added = lambda: self._lost_here(runtime.dead_letters.latest[-1])

    def reported(self, report: SupervisorReport) -> None:
        """A supervisor tells what has happened, or what it does."""
        agent = f"{report.supervisor}/{report.child}"
        is_orderly = report.kind is ReportKind.CHILD_STARTED or (
            report.kind is ReportKind.CHILD_TERMINATED and report.reason is not None and not report.reason.abnormal
        )
        if is_orderly and agent not in self._troubled:
            return
        about = {
            "kind": report.kind.value,
            "supervisor": report.supervisor,
            "reason": _reason(report.reason),
            "restarts": report.restarts,
            "max_restarts": report.max_restarts,
            "within_s": report.within_s,
            "delay_s": report.delay_s,
            "restart": report.restart.value,
            "host": report.host,
            "pid": report.pid,
            "run_ms": self._run_ms,
        }
        self._put(agent, report.incarnation, Sort.REPORT, about)

    def died(self, deaths: Iterable[Death], *, now_s: float, left_out: int = 0) -> None:
        """Lives have ended; `now_s` is of the same clock as theirs."""
        self._leave_out(DEATHS_LEFT_OUT, left_out)
        for death in deaths:
            about = {
                "reason": _reason(death.reason),
                "messages": [had.model_dump() for had in death.messages],
                "run_ms": self._run_ms,
            }
            self._put(death.agent, death.incarnation, Sort.DEATH, about, age_s=now_s - death.at_s)

    def lost(
        self, agent: str, *, reason: str, message: str, sender: str, incarnation: int = 0, age_s: float = 0.0
    ) -> None:
        """A message to an agent was not handled."""
        second = int(time.monotonic())
        if second != self._second:
            self._second, self._losses = second, 0
        self._losses += 1
        if self._losses > LOSSES_PER_S:
            self.lost_others(1)
            return
        about: dict[str, object] = {"reason": reason, "message": message, "sender": sender}
        self._put(agent, incarnation, Sort.LOSS, about, age_s=age_s)

    def lost_others(self, count: int) -> None:
        """So many more of which nobody tells whose they were."""
        self._leave_out(LOSSES_LEFT_OUT, count)

    def set_aside(self, messages: Iterable[SetAside], *, now_s: float) -> None:
        """Messages went into quarantine; `now_s` is of the same clock as their times."""
        for each in messages:
            about = {
                "command": each.command,
                "message": each.message,
                "sender": each.sender,
                "reason": {"text": each.reason},
            }
            self._put(each.agent, each.incarnation, Sort.QUARANTINE, about, age_s=now_s - each.at_s)

    def ordered(self, deed: str, agent: str, *, command: str = "") -> None:
        """A person wants something done to an agent, or with the message that has this command."""
        self._put(agent, 0, Sort.ORDER, {"deed": deed, "command": command})

    async def aclose(self) -> None:
        """Writes what waits, for FLUSH_LIMIT_S at most, and ends. May be called twice."""
        self._is_closed = True
        queue, self._queue = self._queue, None
        if queue is not None:
            await asyncio.to_thread(queue.close, FLUSH_LIMIT_S)
            await asyncio.to_thread(self._store.close)

    def _ended_here(self, runtime: Runtime) -> None:
        deaths, set_aside = runtime.deaths.take()
        self.died(deaths, now_s=runtime.loop.time())
        self.set_aside(set_aside, now_s=runtime.loop.time())

    def _lost_here(self, letter: DeadLetter) -> None:
        self.lost(
            letter.receiver,
            reason=letter.reason,
            message=letter.message_type,
            sender=letter.sender,
            incarnation=letter.incarnation,
        )

    def _put(
        self, agent: str, incarnation: int, sort: Sort, about: Mapping[str, object], *, age_s: float = 0.0
    ) -> None:
        if self._is_closed:
            return
        if sort is not Sort.LOSS:  # whoever writes to nobody makes no agent of it
            self._troubled[agent] = None
            self._troubled.move_to_end(agent)
            if len(self._troubled) > TROUBLED:
                self._troubled.popitem(last=False)
        if self._queue is None:
            self._queue = RecordQueue(STORE, self._write, what="incidents")
        at_ms = time.time_ns() // 1_000_000 - int(age_s * 1_000)
        self._queue.put(Incident(at_ms=at_ms, agent=agent, incarnation=incarnation, sort=sort, about=about))

    def _leave_out(self, reason: str, count: int) -> None:
        if count:
            self._left_out[reason] = self._left_out.get(reason, 0) + count

    def _write(self, batch: Sequence[Incident]) -> None:
        """On the thread of the queue."""
        counts = {**self._left_out, **(self._queue.dropped if self._queue is not None else {})}
        fresh = {reason: count - self._told.get(reason, 0) for reason, count in counts.items()}
        redacted = [replace(each, about=self._redacted(each.about)) for each in batch]
        self._store.write(redacted, {reason: count for reason, count in fresh.items() if count > 0})
        self._told = counts

    def _redacted(self, about: Mapping[str, object]) -> Mapping[str, object]:
        """Of a reason all texts but its kind, and why messages were refused; names are no text of that sort."""
        kept = dict(about)
        if isinstance(reason := about.get("reason"), dict):
            kept["reason"] = {k: self._redact(said) if isinstance(said, str) else said for k, said in reason.items()}
        if isinstance(messages := about.get("messages"), list):
            kept["messages"] = [{**had, "why": self._redact(had["why"])} if had["why"] else had for had in messages]
        return kept


def _reason(reason: ExitReason | None) -> dict[str, object] | None:
    """A reason as JSON, of bounded size, with the text and the place that it has for people."""
    if reason is None:
        return None
    cut = bounded(reason)
    assert cut is not None
    return {**cut.model_dump(mode="json"), "text": str(cut), "place": getattr(cut, "place", "")}
