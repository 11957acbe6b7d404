"""The loop of a peer's script: one line in, one measurement, one line out. Runs in the peer's venv."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from importlib.metadata import version
from time import perf_counter

from payload import in_window


async def serve(package: str, once: Callable[[int], Awaitable[None]]) -> None:
    """Says the version, then measures `once` as often and in such windows as each line says, until the input ends."""
    print(json.dumps({"version": version(package)}), flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        order = json.loads(line)
        begun = perf_counter()
        await in_window(order["count"], order["window"], once)
        print(json.dumps({"rate": order["count"] / (perf_counter() - begun)}), flush=True)
