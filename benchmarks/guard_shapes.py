"""How runaways are made up: agents, calls and clocks by chance. It knows no guard, and imports nothing of Regrow."""

from __future__ import annotations

import datetime
import random
import uuid
from collections.abc import Callable
from typing import Any

from guard_events import Event

WORDS = "invoice refund parcel report summary customer shipment ticket budget draft contract meeting release".split()
NOTHING: tuple[Any, ...] = ("", "[]", {"items": []}, "no results", {"status": "ok"}, "404 not found", None)


class Writer:
    """Writes the events of one run, on a clock of its own."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.now_s = rng.uniform(0, 1e5)
        self.events: list[Event] = []
        self._turn = 0

    def wait(self, least_s: float, most_s: float) -> None:
        self.now_s += self.rng.uniform(least_s, most_s)

    def call(
        self, tool: str, arguments: Any, outcome: Any, *, agent: str = "desk/a", took_s: float = -1, batch: str = ""
    ) -> None:
        took_s = self.rng.uniform(0.01, 0.4) if took_s < 0 else took_s
        event = {"kind": "call", "agent": agent, "tool": tool, "arguments": arguments, "outcome": outcome}
        self.events.append({**event, "at": self.now_s, "took": took_s, "batch": batch})
        if not batch:
            self.now_s += took_s

    def calls(
        self, number: int, made: Callable[[int], tuple[str, Any, Any]], *, least_s: float = 0.5, most_s: float = 4.0
    ) -> None:
        """So many calls, each as what is made of its number: tool, arguments and outcome; with waits between."""
        for at in range(number):
            self.then(*made(at), least_s=least_s, most_s=most_s)

    def then(
        self, tool: str, arguments: Any, outcome: Any, *, took_s: float = -1, least_s: float = 0.5, most_s: float = 4.0
    ) -> None:
        """A call, and a wait behind it."""
        self.call(tool, arguments, outcome, took_s=took_s)
        self.wait(least_s, most_s)

    def hex(self, digits: int) -> str:
        return f"{self.rng.getrandbits(4 * digits):0{digits}x}"

    def turn(self, agent: str, message: Any, *, type: str = "Task", state: Any = None, cause: str | None = "") -> str:
        self._turn += 1
        self.wait(0.01, 2.0)
        before = f"t{self._turn - 1}" if self._turn > 1 else None
        event = {"kind": "turn", "id": f"t{self._turn}", "cause": before if cause == "" else cause, "agent": agent}
        self.events.append({**event, "type": type, "message": message, "state": state or {}, "at": self.now_s})
        return f"t{self._turn}"

    def words(self, number: int = 4) -> str:
        return " ".join(self.rng.choices(WORDS, k=number)) + f" {self.rng.randint(1, 9999)}"

    def stamp(self) -> str:
        """Now, as a clock says it."""
        at = datetime.datetime.fromtimestamp(1.78e9 + self.now_s + self.rng.random(), datetime.UTC)
        return at.isoformat()

    def noise(self) -> dict[str, Any]:
        """Fields that differ each time and say nothing."""
        every: list[tuple[str, Any]] = [
            ("request_id", str(self.uuid())),
            ("traceId", f"{self.rng.getrandbits(128):032x}"),
            ("timestamp", self.stamp()),
            ("attempt", self.rng.randint(1, 10_000)),
            ("nonce", self.rng.getrandbits(32)),
            ("sent_at", self.now_s),
            ("idempotency_key", str(self.uuid())),
        ]
        return dict(self.rng.sample(every, self.rng.randint(0, 3)))

    def uuid(self) -> uuid.UUID:
        return uuid.UUID(int=self.rng.getrandbits(128), version=4)

    def work(self, number: int) -> None:
        """Some calls as any agent makes them, each for something else."""
        for _ in range(number):
            self.call(self.rng.choice(("search", "read", "write")), {"text": self.words()}, self.words(9))
            self.wait(0.1, 3.0)


# ---- runaways -----------------------------------------------------------------------------------


def same_call(w: Writer) -> int:
    """A model calls the same tool with the same arguments, with other ids each time."""
    w.work(w.rng.randint(0, 6))
    begins, arguments, outcome = len(w.events), {"query": w.words()}, w.rng.choice(NOTHING)
    for _ in range(40):
        w.call("search", {**arguments, **w.noise()}, outcome)
        w.wait(0.2, 3.0)
    return begins


def ring(w: Writer) -> int:
    """Two to four agents hand the same task round, by their order."""
    agents, text, of = w.rng.randint(2, 4), w.words(), w.rng.choice(("Task", "Question"))
    for hop in range(60):
        w.turn(f"desk/{hop % agents}", {"text": text, **w.noise()}, type=of)
    return 0


def ping_pong(w: Writer) -> int:
    """Two agents thank each other."""
    thanks = ({"text": "Thank you!"}, {"text": "You are welcome!"})
    for _ in range(w.rng.randint(0, 8)):
        w.turn(w.rng.choice(("desk/a", "desk/b")), {"text": w.words()})
    begins = len(w.events)
    for hop in range(60):
        w.turn("desk/ab"[:5] + "ab"[hop % 2], {**thanks[hop % 2], **w.noise()})
    return begins


def tools_in_turns(w: Writer) -> int:
    """Two to four calls take turns, and nothing comes of any."""
    w.work(w.rng.randint(0, 4))
    begins, period = len(w.events), w.rng.randint(2, 4)
    calls = [(w.rng.choice(("read", "list", "search")), {"path": w.words()}, w.words(6)) for _ in range(period)]
    for number in range(60):
        tool, arguments, outcome = calls[number % period]
        w.call(tool, {**arguments, **w.noise()}, outcome)
        w.wait(0.1, 2.0)
    return begins


def same_error(w: Writer) -> int:
    """A call that fails is made again at once, by the same words."""
    begins, arguments = len(w.events), {"order": w.words(), "cents": w.rng.randint(1, 999)}
    for _ in range(40):
        w.call("refund", arguments, f"ToolFailed: HTTP 500 (request id: {w.rng.getrandbits(48):012x}) at {w.stamp()}")
        w.wait(0.05, 1.0)
    return begins


def hasty_poll(w: Writer) -> int:
    """A status that never changes is asked for without a pause."""
    job, pause_s = str(w.uuid()), w.rng.uniform(0.0, 2.0)
    for _ in range(40):
        w.call("status", {"job": job}, {"status": "queued", "checked_at": w.stamp()})
        w.wait(pause_s, pause_s * 1.05 + 0.01)
    return 0


def other_spelling(w: Writer) -> int:
    """The same arguments with other spaces, capitals and order."""
    text, place = w.words(), w.rng.choice(("docs", "mail", "web"))
    for _ in range(40):
        spelt = "".join(w.rng.choice((sign.upper(), sign)) for sign in text)
        fields = [
            ("query", w.rng.choice((" ", "  ")).join(spelt.split()) + w.rng.choice(("", " ", "\n"))),
            ("in", place),
        ]
        w.rng.shuffle(fields)
        w.call("search", dict(fields), w.rng.choice(("No results", "no  results", "no results\n")))
        w.wait(0.2, 4.0)
    return 0


def stamped_texts(w: Writer) -> int:
    """Agents hand the same words round, with the time in them."""
    agents, text = w.rng.randint(2, 4), w.words(6)
    for hop in range(60):
        w.turn(f"desk/{hop % agents}", {"text": f"[{w.stamp()}] {text}", "meta": {"trace_id": str(w.uuid())}})
    return 0


def asked_again(w: Writer) -> int:
    """A planner has a worker do the same again and again, and the worker calls the same tool each time."""
    task, found = w.words(), w.words(8)
    for number in range(40):
        w.turn("desk/worker", {"task": task, "plan": number}, cause=None)
        w.call("search", {"query": task}, {"found": found, "took_ms": w.rng.randint(3, 900)}, agent="desk/worker")
        w.wait(0.5, 5.0)
    return 1


def at_once(w: Writer) -> int:
    """Two or three calls are made at once, round after round, and end in any order."""
    begins, number = 0, w.rng.randint(2, 3)
    calls = [("read", {"path": w.words()}, w.words(5)) for _ in range(number)]
    for batch in range(25):
        for tool, arguments, outcome in w.rng.sample(calls, number):
            w.call(tool, arguments, outcome, took_s=w.rng.uniform(0.01, 0.2), batch=f"b{batch}")
        w.wait(0.5, 2.0)
    return begins


def not_my_job(w: Writer) -> int:
    """Each agent hands on what it takes for the job of another one."""
    names = w.rng.sample(("sales", "support", "billing", "legal"), w.rng.randint(2, 4))
    task = {"case": str(w.uuid()), "text": w.words()}
    for hop in range(60):
        here = names[hop % len(names)]
        w.turn(f"desk/{here}", {**task, "handed_by": names[hop % len(names) - 1], "now": w.stamp()}, type="Handoff")
    return 0


def broken_loop(w: Writer) -> int:
    """The same call again and again, and now and then another one between."""
    arguments, outcome = {"query": w.words()}, w.words(3)
    for _ in range(80):
        if w.rng.random() < 0.06:
            w.work(1)
        w.call("search", {**arguments, **w.noise()}, outcome)
        w.wait(0.2, 2.0)
    return 0


def impatient(w: Writer) -> int:
    """A status that never changes is asked for sooner and sooner."""
    wait_s = w.rng.uniform(3.0, 9.0)
    for _ in range(40):
        w.call("status", {"job": "7"}, {"state": "pending", "elapsed_ms": int(w.now_s)})
        w.wait(wait_s, wait_s)
        wait_s *= 0.8
    return 0


# ---- runaways that say something new each time ----------------------------------------------------


def numbered(w: Writer) -> int:
    """The same call again and again, with a number that nobody can tell from that of a page."""
    text = w.words()
    for step in range(60):
        w.call("search", {"query": text, "step": step}, "no results")
        w.wait(0.2, 2.0)
    return 0


def reworded(w: Writer) -> int:
    """Two agents say the same in ever other words."""
    for hop in range(80):
        w.turn(f"desk/{'ab'[hop % 2]}", {"text": f"{w.rng.choice(('Sure', 'Right', 'Of course'))}, {w.words(3)}"})
    return 0


def six_in_turns(w: Writer) -> int:
    """Six calls take turns, and nothing comes of any."""
    calls = [("read", {"path": w.words()}, w.words(6)) for _ in range(6)]
    for number in range(90):
        w.call(*calls[number % 6])
        w.wait(0.1, 2.0)
    return 0


def counted_turns(w: Writer) -> int:
    """The same word goes to and fro, and each agent counts its turns."""
    for hop in range(80):
        w.turn(f"desk/{'ab'[hop % 2]}", {"text": "and you?"}, state={"turns": hop // 2})
    return 0
