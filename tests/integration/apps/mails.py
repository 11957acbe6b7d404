"""A durable agent that sends mails: lines in a file outside Redis, by something that honours keys or does not."""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import BaseModel

from regrow import App, DurableAgent, DurableContext, Request, Supervisor, child, on
from regrow.actors import Step
from tests.integration.waiting import until


class Sent(BaseModel):
    count: int = 0


class Send(Request[int]):
    """Sends a mail in a step, and answers with how many were sent.

    The step waits before or after its effect, where `hold` says so, until there is a file `go`; meanwhile there is a
    file `held` beside it. Without `is_idempotent` nobody looks whether the mail has been sent before.
    """

    file: str
    go: str
    hold: str = ""
    is_idempotent: bool


class Mailer(DurableAgent[Sent]):
    """Sends."""

    @on
    async def send(self, request: Send, ctx: DurableContext) -> int:
        await ctx.step("mail", _mail, request, idempotent=request.is_idempotent)
        self.state.count += 1
        return self.state.count


async def _mail(request: Send, step: Step) -> None:
    await _hold(request, "before")
    file = Path(request.file)
    if not (request.is_idempotent and file.exists() and step.key in file.read_text().splitlines()):
        with file.open("a") as opened:
            opened.write(f"{step.key}\n")
            opened.flush()
            os.fsync(opened.fileno())
    await _hold(request, "after")


async def _hold(request: Send, where: str) -> None:
    go = Path(request.go)
    if request.hold == where and not go.exists():
        go.with_name("held").touch()
        await until(go.exists, f"there is {go}", within_s=120)


app = App("mails", Supervisor(max_restarts=1_000, within_s=1.0, children=[child(Mailer, id="mailer")]))
