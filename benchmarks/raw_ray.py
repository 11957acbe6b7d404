"""Plain Ray at its best: an async actor that validates the same messages, one call for each.

Messages travel as the JSON that pydantic writes and reads, which is faster than pickled models and
validated at both ends. Ray's workers import this module.
"""

from __future__ import annotations

import os
from typing import Any

import ray
from payload import in_window
from workload import Answer, Note, Question, note, question


class RawDesk:
    """The actor's class: what `workload.Desk` does, without Regrow."""

    def __init__(self) -> None:
        self.notes = 0

    async def take(self, packed: bytes) -> None:
        """Counts a note."""
        Note.model_validate_json(packed)
        self.notes += 1

    async def count(self) -> int:
        """Tells the count and forgets it."""
        notes, self.notes = self.notes, 0
        return notes

    async def answer(self, packed: bytes) -> bytes:
        """Answers at once."""
        asked = Question.model_validate_json(packed)
        return Answer(seq=asked.seq, text=asked.text).model_dump_json().encode()

    async def pid(self) -> int:
        """Where this actor runs."""
        return os.getpid()


def raw_desk(**options: Any) -> Any:
    """A new actor in the Ray that is connected."""
    return ray.remote(num_cpus=0, **options)(RawDesk).remote()


async def tell_awaited(desk: Any, count: int, window: int) -> None:
    """Calls `take`, awaiting each call in one of `window` tasks."""

    async def once(seq: int) -> None:
        await desk.take.remote(note(seq).model_dump_json().encode())

    await in_window(count, window, once)


async def tell_in_batches(desk: Any, count: int, window: int) -> None:
    """Calls `take` in batches of `window`, getting each batch at once."""
    for first in range(0, count, window):
        batch = range(first, min(first + window, count))
        ray.get([desk.take.remote(note(seq).model_dump_json().encode()) for seq in batch])


async def ask_awaited(desk: Any, count: int, window: int) -> None:
    """Calls `answer`, awaiting each call in one of `window` tasks."""

    async def once(seq: int) -> None:
        Answer.model_validate_json(await desk.answer.remote(question(seq).model_dump_json().encode()))

    await in_window(count, window, once)


async def ask_in_batches(desk: Any, count: int, window: int) -> None:
    """Calls `answer` in batches of `window`, getting each batch at once."""
    for first in range(0, count, window):
        batch = range(first, min(first + window, count))
        for packed in ray.get([desk.answer.remote(question(seq).model_dump_json().encode()) for seq in batch]):
            Answer.model_validate_json(packed)
