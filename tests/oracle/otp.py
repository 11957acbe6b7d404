"""OTP's own supervisor as a service: a trace goes in, what was seen comes out.

One virtual machine serves all traces. Requests are Erlang terms and answers JSON, in packets with a
length of four bytes.
"""

from __future__ import annotations

import json
import struct
import subprocess
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.oracle.erlang import Erlang, NoErlang, compiled, find_erlang
from tests.oracle.observed import Answer, Entry, Rows, Seen, Step
from tests.oracle.trace import Admin, Advance, Event, Exit, Fail, Hook, Kid, Shutdown, Sup, Together, Trace, parent

REPEATS_LIMIT = 20
"""A trace during which OTP's clock of whole seconds ticked is run again; it takes milliseconds."""


STALL_LIMIT_MS = 8
"""Less than what lies between any two limits that the generator lets run against each other."""


class OtpFailed(Exception):
    """The Erlang side of the oracle broke; the text is its own."""


class Otp:
    """A running virtual machine with the oracle in it; to be used in a `with`."""

    def __init__(self, erlang: Erlang | None = None) -> None:
        erlang = erlang if erlang is not None else find_erlang()
        beam: Path = compiled(erlang)
        # One scheduler, on which the oracle's order rests (otp_oracle.erl); no distribution, no shell.
        flags = [
            "+S",
            "1:1",
            "+SDcpu",
            "1:1",
            "+SDio",
            "1",
            "+A",
            "1",
            "-noinput",
            "-noshell",
            "-kernel",
            "logger_level",
            "error",
        ]
        self._machine = subprocess.Popen(
            [erlang.command, *flags, "-pa", str(beam), "-s", "otp_oracle", "main"],
            env={**erlang.env, "ERL_CRASH_DUMP_SECONDS": "0"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self.version: str = self._read()[0]
        self.repeats = 0
        """How many traces were run again because the clock ticked."""
        self.stalled = False
        """Whether the machine stood still for a while in the last run, so that a limit may have run out too early."""

    def __enter__(self) -> Otp:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Ends the machine; it ends when its stdin does."""
        assert self._machine.stdin is not None
        assert self._machine.stdout is not None
        self._machine.stdin.close()
        self._machine.wait()
        self._machine.stdout.close()

    def run(self, trace: Trace, *, hold: bool = True, escalate: bool = True, overtake: bool = True) -> Seen:
        """What OTP does with a trace.

        `hold`: the start function of a child that an operator stopped says `ignore` when the supervisor
        restarts it with its siblings. `escalate`: a transient supervisor that restarts too often ends
        abnormally. `overtake`: exits go ahead of calls in a supervisor's mailbox. All three are deviations
        of ours (compare.py); without them OTP is as it is.
        """
        switches = f"#{{hold => {_atom(hold)}, escalate => {_atom(escalate)}, overtake => {_atom(overtake)}}}"
        fails = _list(f"{{{_binary(fail.path)}, {_hooks(fail)}}}" for fail in trace.fails)
        events = _list(_event(event) for event in trace.events)
        request = f"{{{switches}, {_sup(trace.tree)}, {fails}, {events}}}".encode()
        for _ in range(REPEATS_LIMIT):
            self._write(request)
            answer = self._read()
            if answer[0] == "error":
                raise OtpFailed(answer[1])
            ticks, stalled_ms, steps = answer
            self.stalled = stalled_ms > STALL_LIMIT_MS
            if ticks == 0:
                return [_step(*step) for step in steps]
            self.repeats += 1
        raise OtpFailed(f"the clock ticked in each of {REPEATS_LIMIT} runs of one trace: this machine is too busy")

    def _write(self, packet: bytes) -> None:
        assert self._machine.stdin is not None
        self._machine.stdin.write(struct.pack(">I", len(packet)) + packet)
        self._machine.stdin.flush()

    def _read(self) -> list[Any]:
        assert self._machine.stdout is not None
        head = self._machine.stdout.read(4)
        if len(head) < 4:
            status = self._machine.wait()
            raise NoErlang(f"the Erlang machine ended with status {status}; its own words are on stderr")
        (size,) = struct.unpack(">I", head)
        answer: list[Any] = json.loads(self._machine.stdout.read(size))
        return answer


# ---- terms ---------------------------------------------------------------------------------------


def _atom(value: bool) -> str:
    return "true" if value else "false"


def _binary(text: str) -> str:
    return f'<<"{text}">>'


def _list(terms: Iterable[str]) -> str:
    return f"[{', '.join(terms)}]"


def _sup(sup: Sup) -> str:
    kids = _list(_kid(kid) for kid in sup.kids)
    return f"{{sup, {sup.strategy}, {sup.max_restarts}, {sup.within_s}, {sup.auto_shutdown}, {kids}}}"


def _kid(kid: Kid) -> str:
    target = _sup(kid.target) if isinstance(kid.target, Sup) else kid.target
    return f"{{{_binary(kid.id)}, {kid.restart}, {_atom(kid.significant)}, {_shutdown(kid.shutdown_s)}, {target}}}"


def _shutdown(limit: Shutdown) -> str:
    match limit:
        case "default":
            return "default"
        case None:
            return "infinity"
        case 0:
            return "brutal_kill"
        case seconds:
            return str(round(seconds * 1000))


def _event(event: Event) -> str:
    match event:
        case Exit():
            return _exit(event)
        case Admin():
            return _call(event)
        case Fail():
            return f"{{fail, {_binary(event.path)}, {_hooks(event)}}}"
        case Advance():
            return f"{{advance, {event.seconds}}}"
        case Together():
            return f"{{together, {_binary(event.sup)}, {_list(_hook(one) for one in event.happens)}}}"


def _hooks(fail: Fail) -> str:
    return _list(_hook(hook) for hook in fail.hooks)


def _hook(hook: Hook) -> str:
    match hook:
        case None:
            return "none"
        case Exit():
            return _exit(hook)
        case Admin():
            return _call(hook)


def _exit(event: Exit) -> str:
    return f"{{exit, {_binary(event.path)}, {event.how}}}"


def _call(call: Admin) -> str:
    return f"{{call, {_binary(parent(call.path))}, {_call_itself(call)}}}"


def _call_itself(call: Admin) -> str:
    path, id = _binary(call.path), _binary(call.path.rpartition("/")[2])
    if call.op == "start":
        if call.kid is None:
            return f"{{start, {path}, {{start_child, [{id}]}}}}"
        return f"{{start, {path}, {{start_child, {path}, {_kid(call.kid)}}}}}"
    request = {"stop": "terminate_child", "restart": "restart_child", "delete": "delete_child", "spec": "get_childspec"}
    return f"{{{call.op}, {path}, {{{request[call.op]}, {id}}}}}"


# ---- answers -------------------------------------------------------------------------------------


def _step(log: list[Any], answers: list[Any], sups: list[Any]) -> Step:
    return Step(
        log=[Entry(*entry) for entry in log],
        answers=[Answer(op, path, _said(said)) for op, path, said in answers],
        sups={
            path: Rows(tuple((id, state, life) for id, state, life in children), tuple(counts))
            for path, children, counts in sups
        },
    )


def _said(said: str | list[Any]) -> tuple[str, ...]:
    return (said,) if isinstance(said, str) else tuple(str(part) for part in said)
