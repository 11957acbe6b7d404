"""xoscar: asks of an actor in another process. Runs in a venv of its own.

Messages travel as the JSON that pydantic writes and reads, as on the side of plain Ray; the actor is
a stateless one, which takes no lock.
"""

from __future__ import annotations

import asyncio
import importlib
from typing import Any

from payload import PlainAnswer, PlainQuestion, plain_question
from peer_loop import serve

xo: Any = importlib.import_module("xoscar")  # installed only where this runs


class Desk(xo.StatelessActor):  # type: ignore[misc] # its types are not installed where types are checked
    """Answers at once."""

    async def answer(self, packed: bytes) -> bytes:
        """The one method."""
        asked = PlainQuestion.model_validate_json(packed)
        return PlainAnswer(seq=asked.seq, text=asked.text).model_dump_json().encode()


async def main() -> None:
    """Starts a pool of one more process, puts the actor there, and measures."""
    pool = await xo.create_actor_pool("127.0.0.1", n_process=1)
    desk = await xo.create_actor(
        Desk, address=pool.external_address, uid="desk", allocate_strategy=xo.allocate_strategy.ProcessIndex(1)
    )

    async def once(seq: int) -> None:
        packed = await desk.answer(plain_question(seq).model_dump_json().encode())
        assert PlainAnswer.model_validate_json(packed).seq == seq

    await serve("xoscar", once)
    await pool.stop()


if __name__ == "__main__":
    asyncio.run(main())
