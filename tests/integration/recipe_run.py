"""What each recipe goes through, in the interpreter of its own venv: asked, killed while it runs, asked again.

    python recipe_run.py ENGINE MODULE PACKAGE…

Prints one line of JSON. It knows nothing but Regrow and the standard library, so that nothing else has to be there.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import sys
import urllib.request
from importlib.metadata import version
from typing import Literal

from regrow import App, AskFailed
from regrow.actors import Adopted

ASK_S = 90.0


def wait_hanging() -> None:
    """Returns when a question hangs in the model's server."""
    with urllib.request.urlopen(f"{os.environ['MODEL_SERVER']}/hanging", timeout=ASK_S) as answer:
        answer.read()


async def main(engine: Literal["inline", "ray"], recipe: str, packages: list[str]) -> None:
    app: App = importlib.import_module(recipe).app
    (adopted,) = (made for made in app.agents.values() if isinstance(made, Adopted))
    async with app.start(engine=engine) as running:
        ref = running.ref("weather")
        first = await ref.ask(adopted.request("How warm is it?"), timeout_s=ASK_S)
        hung = asyncio.ensure_future(ref.ask(adopted.request("hang on"), timeout_s=ASK_S))
        waiting = asyncio.ensure_future(asyncio.to_thread(wait_hanging))
        await asyncio.wait((hung, waiting), return_when=asyncio.FIRST_COMPLETED)
        replaced = await running.kill("weather")
        try:
            ended = str(await hung)
        except AskFailed as failed:
            ended = type(failed.reason).__name__
        again = await ref.ask(adopted.request("How warm is it now?"), timeout_s=ASK_S)
    ran = {package: version(package) for package in packages}
    print(json.dumps({"first": first, "ended": ended, "state": replaced.state, "again": again, "ran": ran}))


if __name__ == "__main__":
    asyncio.run(main("ray" if sys.argv[1] == "ray" else "inline", sys.argv[2], sys.argv[3:]))
