"""The process in which a tool with isolation="process" runs: `python -m regrow.actors.tool_child`, started by its host.

There are two. The outer one runs our code alone: it keeps the pipe to the host. When the host says there that the call
is to end, when it closes since the host was killed, or when the tool has given its result, it kills all that the tool
has started, also what has left its process group: orphans come back to it, since it is their subreaper. For a host that
was killed it removes the folder as well. The inner one has the limits, imports the tool's module and runs its function.

What goes in and out is JSON. In: one line, the `Order`, and END where the call is to end. Out: one line that says how
it went, then the result.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import resource
import select
import shutil
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from regrow.actors.process_guard import PR_SET_CHILD_SUBREAPER, PR_SET_PDEATHSIG, below, kill_all_below, prctl
from regrow.actors.tool_order import FOLDER_PREFIX, READ_BYTES, Order

LOOK_S = 0.05
"""How often the outer process counts what runs below it."""
MAX_ORDER_BYTES = 4_194_304
MAX_TEXT_CHARS = 1_000


class Ended(BaseException):
    """The host wants the call to end."""


class HostGone(Ended):
    """The host has ended without a word."""


# ---- the outer process ---------------------------------------------------------------------------


def main() -> NoReturn:
    """Runs one order and ends. What it writes says how; its exit code only whether there is still a host."""
    folder = Path.cwd()
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    # It stays pending and is looked for: a handler could break into the very killing of what is left.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    answer, host_lives = b"", True
    try:
        told, result = _run(_order())
        answer = json.dumps(told).encode() + b"\n" + result
    except Ended as ended:
        host_lives = not isinstance(ended, HostGone)
    finally:
        kill_all_below()
    if host_lives:
        _write(1, answer)
    elif folder.name.startswith(FOLDER_PREFIX):
        # As the host would have done; where this process is killed too, a later host does.
        shutil.rmtree(folder, ignore_errors=True)
    os._exit(0 if host_lives else 1)  # at once: there is nothing here that would have to be put in order


def _order() -> Order:
    read = b""
    while b"\n" not in read:
        part = os.read(0, READ_BYTES)
        if not part:
            raise HostGone
        if len(read) > MAX_ORDER_BYTES:
            raise Ended
        read += part
    line, _, more = read.partition(b"\n")
    if more:
        raise Ended
    given = json.loads(line)
    if given["step"] is not None:
        given["step"] = tuple(given["step"])
    return Order(**given)


def _run(order: Order) -> tuple[dict[str, Any], bytes]:
    """How it went, and the result where there is one. Raises Ended."""
    reads, writes = os.pipe()
    worker = os.fork()
    if worker == 0:
        os.close(reads)
        _work(order, writes)
    os.close(writes)
    found, status = b"", None
    limit = order.result_bytes + READ_BYTES  # for what the worker says about it
    while True:
        ready = _ready(reads)
        part = os.read(reads, READ_BYTES) if reads in ready else b""
        found += part
        if len(found) > limit:
            return {"too_large": True}, b""
        if status is None:
            ended, status_now = os.waitpid(worker, os.WNOHANG)
            status = status_now if ended else None
        if len(below(os.getpid())) > order.processes:
            return {"processes": order.processes}, b""
        if reads in ready and not part:
            break
        if status is not None and not ready:
            break  # what it has started may keep the pipe open
    if status is None:
        status = _waited(worker)
    line, newline, result = found.partition(b"\n")
    if newline and os.WIFEXITED(status):
        return json.loads(line), result
    if os.WIFSIGNALED(status):
        return {"signal": os.WTERMSIG(status)}, b""
    return {"exit": os.waitstatus_to_exitcode(status)}, b""


def _waited(worker: int) -> int:
    """The status of a worker that has closed its pipe. It has no time left: it has nothing more to do."""
    while True:
        ended, status = os.waitpid(worker, os.WNOHANG)
        if ended:
            return status
        _ready()


def _ready(*files: int) -> list[int]:
    """Which of these can be read, after a moment at the latest. Raises Ended when the host wants that, or is gone."""
    ready, _, _ = select.select([0, *files], [], [], LOOK_S)
    if 0 in ready:
        raise Ended if os.read(0, READ_BYTES) else HostGone
    if signal.SIGTERM in signal.sigpending():
        raise HostGone
    return ready


def _write(to: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(to, view) :]


# ---- the inner process ---------------------------------------------------------------------------


def _work(order: Order, writes: int) -> NoReturn:
    """Runs the function and says how it went. Never returns: what it was forked from goes on in the other process."""
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.dup2(2, 1)  # what the tool prints is no result
        _limit(order)
        told, result = _outcome(order)
        sys.stdout.flush()
        sys.stderr.flush()
        _write(writes, json.dumps(told).encode() + b"\n" + result)
    finally:
        os._exit(0)


def _limit(order: Order) -> None:
    for limit, most in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_CPU, order.cpu_s),
        (resource.RLIMIT_FSIZE, order.file_bytes),
        (resource.RLIMIT_NOFILE, order.files),
        (resource.RLIMIT_AS, order.memory_bytes),
    ):
        _, hard = resource.getrlimit(limit)
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(limit, (most, most))
    with suppress(OSError):  # where memory runs out, this process is to be killed before its host
        Path("/proc/self/oom_score_adj").write_text("1000")


def _outcome(order: Order) -> tuple[dict[str, Any], bytes]:
    """How the function went, and its result as JSON where it has one."""
    try:
        tool = _tool(order)
        value = _called(tool, order)
    except BaseException as error:  # of the tool's code, SystemExit too: its host makes a ToolFailed of it
        return {"failed": type(error).__name__, "text": _text(error)}, b""
    try:
        written = tool.result.dump_json(tool.result.validate_python(value, strict=True), warnings="error")
    except ValueError as error:  # what pydantic raises for what is not of the type, and what has no JSON form
        return {"invalid": _text(error), "gave": type(value).__name__}, b""
    if len(written) > order.result_bytes:
        return {"too_large": True}, b""
    return {"result": True}, written


def _tool(order: Order) -> Any:
    """The tool, where it is still the one that its host knows."""
    from regrow.actors.skill_folder import skill_module  # here, so that the outer process is small
    from regrow.actors.tool import Tool

    if order.file:
        skill_module(order.module.partition(".")[0], Path(order.file))
    module = importlib.import_module(order.module)
    found = getattr(module, order.qualname, None)
    if not isinstance(found, Tool):
        raise ImportError(f"{order.module} has no tool {order.qualname!r} at its top")
    if found.hash != order.hash:
        raise ImportError(f"{order.module}:{order.qualname} has changed since its host imported it")
    return found


def _called(tool: Any, order: Order) -> object:
    from regrow.actors.step import Step

    given = tool.arguments.validate_json(order.arguments)
    arguments = tool.signature.given(given)
    if tool.signature.step is not None and order.step is not None:
        arguments[tool.signature.step] = Step(*order.step)
    if tool.signature.is_async:
        return asyncio.run(tool.function(**arguments))
    return tool.function(**arguments)


def _text(error: BaseException) -> str:
    return str(error)[:MAX_TEXT_CHARS].encode("utf-8", "replace").decode()


if __name__ == "__main__":
    main()
