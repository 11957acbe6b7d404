"""What an agent has called in one run, as it is judged: one call after the other, without the time of models. Pure.

Calls of one batch were decided on together, so their order is by chance, and the same one twice counts once: nobody had
seen the outcome of the first.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Final

from regrow.runtime.likeness_parts import Degree
from regrow.runtime.run_store import CallNote, Tone

SLEEP_S: Final = 5.0
"""A call that takes so long, and tells nothing but that it is done, is a wait by itself."""
LISTEN_S: Final = 30.0
"""So is any that does not fail and takes so long."""


class CallHistory:
    """The calls that were `made`, oldest first, before one that is decided on in `batch` now."""

    def __init__(self, made: Sequence[CallNote], now_s: float, *, batch: str = "") -> None:
        self._made = made
        self._batch = batch
        self._idle: list[float] = []
        """How long before each of them, and before the one of now, nothing was called and no model thought."""
        ended_s: float | None = None
        for note in made:
            begun_s = note.at_s - note.took_s - note.thought_s
            self._idle.append(0.0 if ended_s is None else max(0.0, begun_s - ended_s))
            ended_s = note.at_s if ended_s is None else max(ended_s, note.at_s)
        self._idle.append(0.0 if ended_s is None else max(0.0, now_s - ended_s))

    def one_by_one(self, call: Degree, outcome: Degree) -> list[CallNote]:
        """The calls of before as if each had been decided on by itself, those of a batch by what they are."""
        history: list[CallNote] = []
        for name, together in groupby(self._made, key=lambda each: each.batch):
            if not name:
                history += together
            elif name != self._batch:
                by_what = {(each.what[call], each.outcome[outcome]): each for each in together}
                history += [by_what[key] for key in sorted(by_what)]
        return history

    def pauses(self, loop: Sequence[CallNote], what: int, call: Degree) -> list[float]:
        """The longest wait between any two calls of this kind in the loop, and between the last one and now."""
        first = next(at for at, note in enumerate(self._made) if note is loop[0])
        pauses: list[float] = []
        waited_s, batch, sleeps = 0.0, None, False
        for note, idle_s in zip(self._made[first:], self._idle[first:], strict=False):
            slept_s = note.took_s if _is_wait(note) else 0.0
            sleeps = sleeps or slept_s > 0
            waited_s = max(waited_s, idle_s, slept_s)
            if note.what[call] == what:
                if batch is not None and (not note.batch or note.batch != batch):
                    pauses.append(waited_s)
                waited_s, batch = 0.0, note.batch
        if not sleeps or not pauses:  # where a call is the wait, the one of now may be it
            pauses.append(max(waited_s, self._idle[-1]))
        return pauses


def _is_wait(note: CallNote) -> bool:
    return (note.tone in (Tone.DONE, Tone.GESTURE) and note.took_s >= SLEEP_S) or (
        note.tone is Tone.TOLD and note.took_s >= LISTEN_S
    )
