"""The reference servers of the protocol, from the npm registry: pinned, called, killed, and called again.

They are installed into `build/mcp`, so that a second run is quick. Their versions are pinned, as those of recipes are.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from regrow import Agent, App, Context, Request, Supervisor, child, mcp, on
from regrow.actors import McpServer, ServerLost, ToolFailed
from regrow.actors.process_guard import below
from tests.actors.mcp_desk import pin
from tests.actors.tool_shop import Use
from tests.integration.waiting import until

pytestmark = [pytest.mark.nightly, pytest.mark.slow, pytest.mark.program]

INSTALLED = Path(__file__).resolve().parents[2] / "build/mcp"
VERSION = "2026.8.31"
PACKAGES = tuple(f"@modelcontextprotocol/server-{name}@{VERSION}" for name in ("everything", "filesystem", "memory"))
INSTALL_S = 300.0
PATIENCE_S = 120.0


@pytest.fixture(scope="module")
def programs() -> Path:
    """The folder of the servers' programs."""
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        if os.environ.get("CI"):
            pytest.fail("node and npm are not installed, and CI tries the reference servers; install them")
        pytest.skip("node and npm are not installed, and the reference servers are written for them")
    command = [npm, "install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", str(INSTALLED)]
    INSTALLED.mkdir(parents=True, exist_ok=True)
    done = subprocess.run([*command, *PACKAGES], check=False, capture_output=True, text=True, timeout=INSTALL_S)
    assert done.returncode == 0, done.stderr
    return INSTALLED / "node_modules/.bin"


class Do(Request[str]):
    """Has the agent do what the test has set."""


def used(server: McpServer, use: Use) -> str:
    """What comes of what an agent does with the tools of a server."""
    listed = server

    class User(Agent):
        tools = [listed]

        @on
        async def do(self, request: Do, ctx: Context) -> str:
            return str(await use(ctx))

    async def run() -> str:
        app = App("desk", Supervisor(children=[child(server), child(User, id="user")]))
        async with app.start(engine="inline") as running:
            reply: str = await running.ref("user").ask(Do(), timeout_s=PATIENCE_S)
            return reply

    return asyncio.run(run())


def test_everything(programs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_SECRET", "do-not-tell")

    def made() -> McpServer:
        command = [str(programs / "mcp-server-everything"), "stdio"]
        return mcp("everything", command=command, lock=tmp_path / "mcp.lock", start_timeout_s=PATIENCE_S)

    async def use(ctx: Context) -> object:
        assert "SOME_SECRET" not in await ctx.tools.call("everything_get-env")
        assert "left out" in await ctx.tools.call("everything_get-tiny-image")
        weather = await ctx.tools.call("everything_get-structured-content", {"location": "New York"})
        assert set(weather) == {"temperature", "conditions", "humidity"}
        return [
            await ctx.tools.call("everything_echo", {"message": "hello"}),
            await ctx.tools.call("everything_get-sum", {"a": 1, "b": 2}),
        ]

    pin(made())

    assert used(made(), use) == "['Echo: hello', 'The sum of 1 and 2 is 3.']"


def test_filesystem(programs: Path, tmp_path: Path) -> None:
    folder = tmp_path / "open"
    folder.mkdir()
    (tmp_path / "closed.txt").write_text("not for agents")

    def made() -> McpServer:
        command = [str(programs / "mcp-server-filesystem"), str(folder)]
        tools = ["read_text_file", "write_file"]
        return mcp("files", command=command, tools=tools, lock=tmp_path / "mcp.lock", start_timeout_s=PATIENCE_S)

    async def use(ctx: Context) -> object:
        path = str(folder / "note.txt")
        await ctx.tools.call("files_write_file", {"path": path, "content": "remember"})
        with pytest.raises(ToolFailed, match="outside allowed directories"):
            await ctx.tools.call("files_read_text_file", {"path": str(tmp_path / "closed.txt")})
        return (await ctx.tools.call("files_read_text_file", {"path": path}))["content"]

    pin(made())

    assert [tool.name for tool in made().tools] == ["files_read_text_file", "files_write_file"]
    assert used(made(), use) == "remember"


def test_memory_survives_the_death_of_its_server(
    programs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEMORY_FILE_PATH", str(tmp_path / "memory.jsonl"))

    def made() -> McpServer:
        return mcp(
            "memory",
            command=[str(programs / "mcp-server-memory")],
            environment=["MEMORY_FILE_PATH"],
            idempotent=["read_graph"],
            lock=tmp_path / "mcp.lock",
            start_timeout_s=PATIENCE_S,
        )

    async def use(ctx: Context) -> object:
        ada = {"name": "Ada", "entityType": "person", "observations": ["wrote the first program"]}
        await ctx.tools.call("memory_create_entities", {"entities": [ada]})
        guard, server = below(os.getpid())[:2]
        os.kill(server, signal.SIGKILL)
        await until(lambda: guard not in below(os.getpid()), "the session to lose its server")
        try:
            graph = await ctx.tools.call("memory_read_graph")
        except ServerLost:
            graph = await ctx.tools.call("memory_read_graph")
        return [each["name"] for each in graph["entities"]]

    pin(made())

    assert used(made(), use) == "['Ada']"
