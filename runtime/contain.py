"""What leaves an actor's code ends that actor, even what asyncio would let through to end the whole loop.

`sys.exit()` in a library that an agent calls must cost that agent and none of its neighbours.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Awaitable, Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Escape(Exception):
    """Stands for an error that asyncio would not keep inside of its task. Attribute: `error`."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(text_of(error))
        self.error = error


def text_of(error: object) -> str:
    """What an error, or another value, says of itself, in characters that travel; its `__str__` may raise anything."""
    try:
        text = str(error)
    except BaseException as mute:  # the agent's code, run where its death is written down: that must not fail too
        text = f"its text can not be had, since {type(error).__name__}.__str__ raised {type(mute).__name__}"
    return travelling(text)


def travelling(text: str) -> str:
    """The text with lone surrogates written out, as the name of a file may hold them and no message can."""
    return text.encode("utf-8", "backslashreplace").decode()


async def contained(code: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
    """Calls and awaits an actor's code. Raises Escape for SystemExit and its like, every other error as it is."""
    try:
        return await code(*args, **kwargs)
    except BaseException as error:  # sorted here, and raised again
        if _stays_in_its_task(error):
            raise
        raise Escape(error) from error


def call_contained(code: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """The same for code that is called."""
    try:
        return code(*args, **kwargs)
    except BaseException as error:  # sorted here, and raised again
        if _stays_in_its_task(error):
            raise
        raise Escape(error) from error


def _stays_in_its_task(error: BaseException) -> bool:
    return isinstance(error, Exception | asyncio.CancelledError) or is_interrupt(error)


def is_interrupt(error: BaseException) -> bool:
    """True when the program itself is meant: Ctrl-C in its main thread, or a loop that is being torn down."""
    if isinstance(error, KeyboardInterrupt):
        return threading.current_thread() is threading.main_thread() and not _loop_has_ctrl_c()
    if isinstance(error, GeneratorExit):
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return True
    return False


def _loop_has_ctrl_c() -> bool:
    """Whether Ctrl-C calls something in the loop, as under `regrow run`: then no KeyboardInterrupt comes of it.

    One that an agent raises all the same would end the loop, and the app with it could neither go on nor stop. A loop
    does not say which signals it has; the function that it leaves with Python in their place does.
    """
    return getattr(signal.getsignal(signal.SIGINT), "__name__", "") == "_sighandler_noop"
