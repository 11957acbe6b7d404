"""Messages: between processes beside plain Ray and xoscar, inside one beside AutoGen-core and a bare loop.

Each side sends the same payload of about 200 bytes, made and validated as the same pydantic model, at
the best in-flight window that a short sweep finds for it. Five alternated rounds, medians. Ours runs
as installed: its order is checked by the receiving handler, its telemetry is on.
"""

from __future__ import annotations

import asyncio

import across
import inhost
from figures import MESSAGING
from measure import Options, Result, Screen, ends_within, finish, limit_s, options_of, versions


async def measured(options: Options, screen: Screen) -> tuple[Result, dict[str, str]]:
    """Inside one process first, while Ray's threads are not there yet."""
    inside, autogen = await inhost.measured(options, screen)
    between, xoscar = await across.measured(options, screen)
    return {**inside, **between}, {**versions("regrow", "ray", "pydantic"), **autogen, **xoscar}


def main() -> None:
    """Measures, and prints tables and the JSON line."""
    options = options_of(__doc__)
    screen = Screen(options)
    with ends_within(limit_s(options)):
        result, found = asyncio.run(measured(options, screen))
    screen.figures("Messaging", MESSAGING, result)
    screen.say(" · ".join(f"{name} {version}" for name, version in found.items()))
    finish({figure.key: result.get(figure.key) for figure in MESSAGING} | {"versions": found, "quick": options.quick})


if __name__ == "__main__":
    main()
