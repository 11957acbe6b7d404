"""The unexpected is not caught: it ends the actor, and the supervisor decides."""

from __future__ import annotations

import ast
from fnmatch import fnmatch
from typing import TYPE_CHECKING

from tests.tidy.conftest import refuse

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.tidy.conftest import House, Source

MAY_CATCH_EVERYTHING = (
    "cluster/record_queue.py",  # a disk or a network that fails costs records, and never work
    "runtime/cell.py",  # user code ends here, and becomes an exit reason
    "runtime/turn.py",  # the same, while it handles a message
    "runtime/contain.py",  # the same, for what asyncio would let through
    "actors/threads.py",  # the same, in a thread: raised again where the turn waits for it
    "actors/tool_runner.py",  # what a tool raises is an answer for whoever called it, and no end of its agent
    "actors/mcp_link.py",  # whatever the SDK raises in its task is the end of one session, and is told as that
    "actors/loop_output.py",  # validators of an answer's type: the model is told, and mends it
    "actors/tool_gate.py",  # validators and approvals of a tool's author: the call is refused, or a person is asked
    "actors/tool_child.py",  # the same, in a process of its own
    "actors/skill_folder.py",  # importing a skill's module runs its author's code
    "actors/durable.py",  # an author's `upgraded`: a failed start that names agent and mend
    "runtime/runtime.py",  # an actor's constructor is user code too: a failed start
    "runtime/wire_forms.py",  # validators are user code; what came from elsewhere must not end a link
    "cluster/code.py",  # importing a module runs user code
    "cluster/ray_thread.py",  # raised again where the start or the stop waits for it
    "cluster/ray_connect.py",  # Ray raises a bare Exception where it does not come up
    "benchmarks/chaos_nodes.py",  # the same of a node
    "cluster/ray_loop.py",  # handed to whoever waits for the call
    "cluster/waker.py",  # what one start breaks on would end those of all others, unseen; it is told and tried again
    "cluster/cli_verb.py",  # a person gets one sentence, not a traceback
    "cluster/top_lookout.py",  # raised again where the view is
    "cluster/observer*.py",  # who watches must not break what is watched
    "*/*_transport.py",  # a broken peer must not end the others' links
)

EVERYTHING = {"Exception", "BaseException"}


def catch_alls(source: Source) -> Iterator[ast.expr | ast.ExceptHandler]:
    """Where the file catches Exception or more: `except:`, `except Exception`, `suppress(Exception)`.

    What only tidies up and then raises the same error again catches nothing.
    """
    for handler in source.nodes(ast.ExceptHandler):
        passed_on = isinstance(handler.body[-1], ast.Raise) and handler.body[-1].exc is None
        if (handler.type is None or names(handler.type) & EVERYTHING) and not passed_on:
            yield handler
    for call in source.nodes(ast.Call):
        if ast.unparse(call.func).endswith("suppress") and any(names(caught) & EVERYTHING for caught in call.args):
            yield call


def names(caught: ast.expr) -> set[str]:
    each = caught.elts if isinstance(caught, ast.Tuple) else [caught]
    return {ast.unparse(name).removeprefix("builtins.") for name in each}


def test_nothing_catches_everything_but_the_cell_and_the_edges(house: House) -> None:
    refuse(
        (
            f"{source.name}:{place.lineno}"
            for source in house.programs
            for place in catch_alls(source)
            if not source.name.startswith("benchmarks/")
            and not any(fnmatch(source.name, allowed) for allowed in MAY_CATCH_EVERYTHING)
        ),
        "Catch by name what you expect and let the rest end the actor; a new edge joins the list in this test:",
    )


def test_whoever_catches_everything_says_why(house: House) -> None:
    offences: list[str] = []
    for source in house.programs:
        commented = {line for line, _ in source.comments()}
        offences += [
            f"{source.name}:{place.lineno}"
            for place in catch_alls(source)
            if not commented & {place.lineno - 1, place.lineno, place.lineno + 1}
        ]

    refuse(offences, "Beside each `except Exception` stands a comment that says why it must not fail here:")
