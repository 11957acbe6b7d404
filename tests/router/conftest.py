"""What the router tests share: a chat server on the loopback."""

from __future__ import annotations

import importlib
from collections.abc import AsyncIterator

import pytest

from tests.router.chat_server import ChatServer, chat_server

# Loaded here, so that no single test pays the half second.
importlib.import_module("openai")


@pytest.fixture
async def server(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ChatServer]:
    """A server that the test tells what to answer; no proxy of this machine stands before it."""
    for name in ("HTTP_PROXY", "ALL_PROXY", "http_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    async with chat_server() as chat:
        yield chat
