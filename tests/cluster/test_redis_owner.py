"""The Redis of an app, for what needs one and for what can do without."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from pydantic import SecretStr
from structlog.testing import capture_logs

from regrow import Agent, App, Context, Guards, Request, Supervisor, agent, child, on, tool
from regrow.cluster.config import MemorySettings, RedisSettings, Settings
from regrow.cluster.errors import PortInUse
from regrow.cluster.guarding import counts_calls
from regrow.cluster.redis_owner import RedisOwner


@pytest.mark.slow
@pytest.mark.redis
async def test_what_can_do_without_a_redis_is_told_so_in_one_line_and_what_can_not_is_refused(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        owner = RedisOwner("desk", Settings(data_dir=tmp_path, redis=RedisSettings(port=port)))
        with capture_logs() as logs:
            assert await owner.server_if_any() == ""
        with pytest.raises(PortInUse):
            await owner.server()
    await owner.stop()

    (told,) = [each for each in logs if each["log_level"] == "warning" and "no Redis" in each["event"]]
    assert f"port {port} is taken" in told["reason"]


async def test_a_wrong_url_is_no_reason_not_to_start_where_calls_alone_are_counted_there(tmp_path: Path) -> None:
    redis = RedisSettings(url=SecretStr("redis://127.0.0.1:1/0"))
    owner = RedisOwner("desk", Settings(data_dir=tmp_path, redis=redis, memory=MemorySettings(store="memory")))

    with capture_logs() as logs:
        assert await owner.server_if_any() == ""

    assert ["127.0.0.1:1" in each["reason"] for each in logs] == [True]


class Ask(Request[str]):
    """Asks."""


@tool
async def look() -> str:
    """Looks."""
    return "nothing"


class Plain(Agent):
    @on
    async def ask(self, ask: Ask) -> str:
        return ""


class Looks(Plain):
    tools = [look]


@agent(tools=[look])
async def looks(text: str, ctx: Context) -> str:
    """Looks as well."""
    return await ctx.tools.call(look)


@pytest.mark.parametrize(
    ("target", "guards", "are_counted"),
    [
        (Plain, Guards(), False),
        (Looks, Guards(), True),
        (looks, Guards(), True),
        (Looks, Guards(repeats_end=None), False),
    ],
)
def test_calls_are_counted_where_any_agent_has_tools_and_its_calls_are_judged(
    target: type[Agent], guards: Guards, are_counted: bool
) -> None:
    app = App("desk", Supervisor(children=[child(Plain, id="plain"), child(target, id="looks")]))

    assert counts_calls(app.agents.values(), guards) is are_counted
