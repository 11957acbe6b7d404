"""What old code has sent and new code handles: messages that waited in a mailbox while `--reload` imported anew.

Such a message is an instance of the class as it was. The handler gets it as one of the present class, and who asked
gets reply and parts as ones of the classes that its own code knows.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, cast

from pydantic import TypeAdapter, ValidationError

from regrow.actors import Agent, Context
from regrow.actors.durable_life import DurableLife
from regrow.runtime import Message, Refused, Request
from regrow.runtime.immutable import wire_name
from regrow.runtime.message import Reply, StreamRequest, registered

_PLAIN: TypeAdapter[Any] = TypeAdapter(Any)


def understand_old_messages(life: Agent | DurableLife) -> None:
    """Has one life of an agent handle what was sent by the code before, and answer it in its terms."""
    agent = life.agent if isinstance(life, DurableLife) else life
    handle: Callable[[Any, Any], Awaitable[object]] = agent.handle

    async def handle_as_now(message: Any, ctx: Context) -> object:
        now = _class_now(message)
        if now is None:
            return await handle(message, ctx)
        try:
            mended = now.model_validate(_PLAIN.dump_python(message))
        except ValidationError as error:
            raise Refused(
                f"{now.__name__} was sent by the code before, and what it holds is not what the new code takes "
                f"({_first(error)}); send it again"
            ) from error
        reply = await handle(mended, ctx)
        return _as_asked(message.reply(), reply) if isinstance(message, Request) else reply

    agent.handle = handle_as_now  # type: ignore[method-assign]
    life.context_class = cast("Any", _emitting_as_asked(life.context_class))


def _emitting_as_asked(base: type[Context]) -> type[Context]:
    """The contexts of an agent, of which parts leave as the request names them."""

    async def emit(self: Context, part: object) -> None:
        message = self._envelope.message if self._envelope is not None else None  # pyright: ignore[reportPrivateUsage] # it is a context
        if isinstance(message, StreamRequest) and _class_now(message) is not None:
            part = _as_asked(type(message).part(), part)
        await base.emit(self, part)

    return cast("type[Context]", type(base.__name__, (base,), {"__slots__": (), "emit": emit}))


def _class_now(message: object) -> type[Message] | None:
    """The present class of a message that the code before has made; None for one that is of it."""
    now = registered(wire_name(type(message))) if isinstance(message, Message) else None
    return None if now is type(message) else now


def _as_asked(expected: Reply, value: object) -> object:
    """A value of new code as one of the type that the code before has named; what can be none stays as it is.

    Raises Refused where the new code's holds something else than the old one's.
    """
    if not isinstance(value, Message | tuple) or expected.accepts(value):
        return value
    try:
        return expected.read(_PLAIN.dump_python(value))
    except ValidationError as error:
        raise Refused(
            f"who asked has the code before, and {type(value).__name__} is no {expected} of it any more "
            f"({_first(error)}); ask again"
        ) from error


def _first(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    return f"{place}: {first['msg']}" if place else str(first["msg"])
