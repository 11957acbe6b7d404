"""Cold starts: fresh interpreters, from the moment they are started to the line that they print.

`import regrow`; the hello of the README; an app on a Ray of its own up to its first answer, in turns
with the bare `ray.init()` that it contains (same options, `import ray` on both sides). One start of
each warms the page cache and is not counted. What the programs do after their line is not timed.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter

from figures import START
from measure import (
    Options,
    Result,
    Screen,
    ends_within,
    finish,
    limit_s,
    median,
    options_of,
    rounded,
    versions,
)

IMPORTS = 5
END_LIMIT_S = 60
RAY_VARIABLES = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
"""What Regrow sets for a Ray that it starts, so that both sides have it."""

HELLO = """\
from regrow import App, agent

@agent
async def greet(name: str) -> str:
    return f"hello {name}"

app = App("hello", greet)

if __name__ == "__main__":
    print(app.ask(greet, "world"), flush=True)
"""

HELLO_ON_RAY = """\
import asyncio
from regrow import App, agent

@agent
async def greet(name: str) -> str:
    return f"hello {name}"

app = App("hello", greet)

async def main() -> None:
    async with app.start(engine="ray") as running:
        print(await running.ref(greet).ask(greet.request("world")), flush=True)

if __name__ == "__main__":
    asyncio.run(main())
"""

RAY_INIT = """\
import logging, sys
import ray
quiet = logging.ERROR
ray.init(address="local", namespace="bench", include_dashboard=False, logging_level=quiet, _temp_dir=sys.argv[1])
print("ray is up", flush=True)
ray.shutdown()
"""

IMPORT_APP = """\
from time import perf_counter
begun = perf_counter()
from regrow import Agent, App, Message, Request, Supervisor, child, on
print(perf_counter() - begun, flush=True)
"""

IMPORT = """\
from time import perf_counter
begun = perf_counter()
import regrow
print(perf_counter() - begun, flush=True)
"""

PROGRAMS = {
    "imports": IMPORT,
    "imports_app": IMPORT_APP,
    "hello": HELLO,
    "hello_ray": HELLO_ON_RAY,
    "ray_init": RAY_INIT,
}


class Programs:
    """The programs in a folder of their own, each started in a fresh interpreter."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        for name, text in PROGRAMS.items():
            (folder / f"{name}.py").write_text(text, encoding="utf-8")

    def run(self, name: str, expected: str = "") -> tuple[float, str]:
        """Starts a program; the seconds to the expected line, or any, and that line. Returns when it has ended."""
        # Ray puts sockets below its folder, and a socket's path may have 107 characters.
        with tempfile.TemporaryDirectory(prefix="bench-ray-", ignore_cleanup_errors=True) as ray_folder:
            begun = perf_counter()
            process = subprocess.Popen(
                [sys.executable, f"{name}.py", ray_folder],
                cwd=self._folder,
                env={**os.environ, **RAY_VARIABLES},
                stdout=subprocess.PIPE,
                text=True,
            )
            try:
                assert process.stdout is not None
                line = next((said for text in process.stdout if (said := text.strip()) == expected or not expected), "")
                elapsed_s = perf_counter() - begun
                process.communicate(timeout=END_LIMIT_S)
            except BaseException:  # also when this script is interrupted: nothing may be left running
                _end(process)
                raise
        if process.returncode or not line:
            raise SystemExit(f"{name}.py ended with {process.returncode} and did not say {expected!r}")
        return elapsed_s, line


def _end(process: subprocess.Popen[str]) -> None:
    """Ends a program in order, so that it takes its Ray along."""
    process.send_signal(signal.SIGINT)
    try:
        process.wait(END_LIMIT_S / 4)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def measured(options: Options, screen: Screen) -> Result:
    """Starts everything in turns."""
    with tempfile.TemporaryDirectory(prefix="bench-start-") as folder:
        programs = Programs(Path(folder))
        # The first of each warms the page cache; a quick run has no other.
        imports, imports_app = (
            [float(programs.run(name)[1]) for _ in range(1 if options.quick else IMPORTS + 1)]
            for name in ("imports", "imports_app")
        )
        rounds = 1 if options.quick else options.rounds + 1
        inline = [programs.run("hello", "hello world")[0] for _ in range(rounds)]
        init: list[float] = []
        cold: list[float] = []
        for _ in range(rounds):
            init.append(programs.run("ray_init", "ray is up")[0])
            cold.append(programs.run("hello_ray", "hello world")[0])
    if not options.quick:
        for times in (imports, imports_app, inline, init, cold):
            del times[0]
    screen.rates(
        "From the start of the interpreter",
        {
            "import regrow (within)": imports,
            "from regrow import App, … (within)": imports_app,
            "hello, inline": inline,
            "ray.init()": init,
            "hello, Ray": cold,
        },
        "s",
    )
    return {
        "cold_inline_s": rounded(median(inline)),
        "cold_ray_over_init_s": rounded(median(cold) - median(init)),
        "cold_ray_s": rounded(median(cold)),
        "ray_init_s": rounded(median(init)),
        "import_s": rounded(min(imports)),
        "import_app_s": rounded(min(imports_app)),
    }


def main() -> None:
    """Measures, and prints tables and the JSON line."""
    options = options_of(__doc__)
    screen = Screen(options)
    with ends_within(limit_s(options)):
        result = measured(options, screen)
    found = versions("regrow", "ray")
    screen.figures("Cold starts", START, result)
    screen.say(" · ".join(f"{name} {version}" for name, version in found.items()))
    finish(result | {"versions": found, "quick": options.quick})


if __name__ == "__main__":
    main()
