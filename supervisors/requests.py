"""What is asked of a supervisor by message, from any agent and any process; and the doors that ask it.

Ids are those below the supervisor: `desk/pool` knows its child `desk/pool/7` as `7`. A config travels
packed, since the process that holds the supervisors knows no class of the user's.
"""

from __future__ import annotations

import asyncio
from dataclasses import is_dataclass
from typing import TypeVar

from pydantic import BaseModel

from regrow.runtime.address import ActorId, Address
from regrow.runtime.errors import AskTimeout, CallingSelf, InvalidMessage, Misuse
from regrow.runtime.lifecycle import Crashed
from regrow.runtime.message import Message, Request
from regrow.runtime.packing import pack
from regrow.runtime.ref import DEFAULT_ASK_TIMEOUT_S, ActorRef
from regrow.supervisors.children import ChildCounts, ChildRow, ChildRows, SpecRow
from regrow.supervisors.errors import FailedToStartChild, NoSuchChild
from regrow.supervisors.lives import failed_to_start
from regrow.supervisors.spec import ChildSpec

R = TypeVar("R")

ANY_LIFE = 0
"""Stands for whichever life runs; real incarnations start at 1."""

START_TIMEOUT_S = 90.0
"""How long a door waits for a child's start, a new host process for it included."""

UNCONFIRMED_PAUSE_S = 0.25
"""Between two looks whether a child that was killed where nobody answers is certainly dead."""


class NotStarted(Message):
    """A child did not start, and why; `path` leads from it down to the one that really failed."""

    path: str
    cause: Crashed


class ChildStopped(Message):
    """The child is stopped. Not `confirmed`: it was killed, and nobody knows yet whether it is dead."""

    confirmed: bool


class ChildDeleted(Message):
    """Nothing is known of the child any more."""


class StartChild(Request[ChildRow | NotStarted]):
    """Asks a supervisor for one more child.

    Of a DynamicSupervisor `config` is packed, and empty for that of its spec; any other needs `spec`, as the
    courier of this process has packed it. Refused with MaxChildren, AlreadyStarted, AlreadyPresent, UnfitChild.
    """

    config: bytes = b""
    spec: bytes = b""


class StopChild(Request[ChildStopped]):
    """Asks a supervisor to stop a child; of a DynamicSupervisor it is gone then. Refused with NoSuchChild.

    With an `incarnation` only that life is meant: nothing is done when it is over and another runs.
    """

    id: str
    incarnation: int = ANY_LIFE


class RestartChild(Request[ChildRow | NotStarted]):
    """Asks a supervisor to start a child that does not run. Refused with NoSuchChild, ChildRunning, DynamicChild."""

    id: str


class DeleteChild(Request[ChildDeleted]):
    """Asks a supervisor to forget a child that does not run. Refused with NoSuchChild, ChildRunning, DynamicChild."""

    id: str


class GetChildSpec(Request[SpecRow]):
    """Asks a supervisor for the spec of a child. Refused with NoSuchChild."""

    id: str


class WhichChildren(Request[ChildRows]):
    """Asks a supervisor for its children in start order, from place `skip` on, as many as fit into a reply."""

    skip: int = 0


class CountChildren(Request[ChildCounts]):
    """Asks a supervisor how many children it has."""


OF_SUPERVISORS = (StartChild, StopChild, RestartChild, DeleteChild, GetChildSpec, WhichChildren, CountChildren)
"""All that only a supervisor answers."""


def no_supervisor(who: str, message: type[Message]) -> str:
    """What to say where one of OF_SUPERVISORS came to somebody else."""
    return (
        f"{who} is no supervisor, and {message.__name__} is a request for one; name the id of a supervisor of the app. "
        "A child that an agent has spawned is ended by ref.stop()"
    )


def not_started(error: FailedToStartChild) -> NotStarted:
    """The error as an answer that travels, its first traceback with it."""
    cause = error.root_cause
    assert isinstance(cause, Crashed), "every starter says why in these words"
    return NotStarted(path=error.path, cause=cause)


# ---- doors ---------------------------------------------------------------------------------------


async def start_child(
    supervisor: ActorRef,
    config: object | None,
    timeout_s: float = START_TIMEOUT_S,
    *,
    spec: ChildSpec | None = None,
) -> ActorRef:
    """Asks for one more child, of a DynamicSupervisor with a config or none, of any other with a spec.

    Its ref outlives its restarts.

    Raises:
        MaxChildren: the supervisor has as many as it may have.
        AlreadyStarted, AlreadyPresent: it has a child of the spec's id, which runs or does not.
        UnfitChild: it is of the other sort, or its rules allow no such child.
        FailedToStartChild: the child's own start failed; nothing of it is left.
        InvalidMessage: the config can not travel.
        Misuse: both a config and a spec were given.
    """
    if spec is not None:
        if config is not None:
            raise Misuse(f"a child of {supervisor.id}: a spec has its config in it; write child(…, config=…)")
        return await _start_static(supervisor, spec, timeout_s)
    packed = b"" if config is None else packed_config(config, f"a child of {supervisor.id}")
    answer = await _asked(supervisor, StartChild(config=packed), timeout_s=timeout_s)
    return _started(supervisor, answer)


async def _start_static(supervisor: ActorRef, spec: ChildSpec, timeout_s: float) -> ActorRef:
    courier = supervisor.runtime.courier
    packed = courier.packed(spec)
    try:
        answer = await _asked(supervisor, StartChild(spec=packed), timeout_s=timeout_s)
    finally:
        courier.forget(packed)
    return _started(supervisor, answer)


async def restart_child(child: ActorRef, timeout_s: float = START_TIMEOUT_S) -> ActorRef:
    """Asks its supervisor to start a child that does not run. Raises NoSuchChild, ChildRunning, FailedToStartChild."""
    supervisor, id = parent_of(child)
    return _started(supervisor, await _asked(supervisor, RestartChild(id=id), timeout_s=timeout_s))


async def stop_child(child: ActorRef, timeout_s: float = DEFAULT_ASK_TIMEOUT_S) -> None:
    """Asks its supervisor to stop a child and returns when it is dead; a ref of one life means that life only.

    Raises NoSuchChild, and AskTimeout when it is not certainly dead in time.
    """
    supervisor, id = parent_of(child)
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout_s
    request = StopChild(id=id, incarnation=child.address.incarnation or ANY_LIFE)
    try:
        stopped = await _asked(supervisor, request, timeout_s=timeout_s)
        while not stopped.confirmed:
            left_s = deadline - loop.time() - UNCONFIRMED_PAUSE_S
            if left_s <= 0:
                raise AskTimeout(supervisor.id, StopChild.__name__, timeout_s)
            await asyncio.sleep(UNCONFIRMED_PAUSE_S)
            stopped = await _stopped_again(supervisor, request, left_s)
    except AskTimeout as error:
        raise AskTimeout(supervisor.id, StopChild.__name__, timeout_s) from error


async def delete_child(child: ActorRef, timeout_s: float = DEFAULT_ASK_TIMEOUT_S) -> None:
    """Asks its supervisor to forget a child that does not run. Raises NoSuchChild, ChildRunning, DynamicChild."""
    supervisor, id = parent_of(child)
    await _asked(supervisor, DeleteChild(id=id), timeout_s=timeout_s)


async def get_childspec(child: ActorRef, timeout_s: float = DEFAULT_ASK_TIMEOUT_S) -> SpecRow:
    """The spec of a child, told by its supervisor; of a DynamicSupervisor's child that of all. Raises NoSuchChild."""
    supervisor, id = parent_of(child)
    return await _asked(supervisor, GetChildSpec(id=id), timeout_s=timeout_s)


async def which_children(supervisor: ActorRef, timeout_s: float = DEFAULT_ASK_TIMEOUT_S) -> tuple[ChildRow, ...]:
    """All children of a supervisor in start order; of more than ROWS_LIMIT not all at one moment."""
    rows: list[ChildRow] = []
    while True:
        answer = await _asked(supervisor, WhichChildren(skip=len(rows)), timeout_s=timeout_s)
        rows.extend(answer.children)
        if not answer.children or len(rows) >= answer.total:
            return tuple(rows)


async def count_children(supervisor: ActorRef, timeout_s: float = DEFAULT_ASK_TIMEOUT_S) -> ChildCounts:
    """How many children a supervisor has."""
    return await _asked(supervisor, CountChildren(), timeout_s=timeout_s)


def packed_config(config: object, whose: str) -> bytes:
    """A config as bytes. Raises InvalidMessage for one that would be another value where it is read."""
    if is_dataclass(config) or (isinstance(config, BaseModel) and not isinstance(config, Message)):
        raise InvalidMessage(
            f"{whose}: its config {type(config).__name__} can not travel to a host; derive the class from Message"
        )
    return pack(config)


def parent_of(child: ActorRef) -> tuple[ActorRef, str]:
    """The supervisor of a child, and the child's id below it. Raises Misuse for the root of a tree."""
    above, _, id = child.id.rpartition("/")
    if not above:
        raise Misuse(f"{child.id} is the root of a tree and no child of a supervisor; stop the app instead")
    return ActorRef(Address(ActorId(above)), child.runtime), id


async def _asked(supervisor: ActorRef, request: Request[R], *, timeout_s: float) -> R:
    """The answer. Raises Misuse where an agent takes itself for the supervisor, as of a child that it spawned."""
    try:
        return await supervisor.ask(request, timeout_s=timeout_s)
    except CallingSelf as error:
        raise Misuse(no_supervisor(supervisor.id, type(request))) from error


async def _stopped_again(supervisor: ActorRef, request: StopChild, timeout_s: float) -> ChildStopped:
    try:
        return await _asked(supervisor, request, timeout_s=timeout_s)
    except NoSuchChild:
        return ChildStopped(confirmed=True)  # a temporary one is removed when its death is confirmed


def _started(supervisor: ActorRef, answer: ChildRow | NotStarted) -> ActorRef:
    if isinstance(answer, NotStarted):
        raise _failed(answer)
    return ActorRef(Address(ActorId(answer.actor)), supervisor.runtime)


def _failed(answer: NotStarted) -> FailedToStartChild:
    """The error as it was where the child failed to start."""
    *above, last = reversed(answer.path.split("/"))
    cause: Crashed | FailedToStartChild = answer.cause
    for id in above:
        cause = failed_to_start(id, cause)
    return failed_to_start(last, cause)
