"""What agents do all day: a stream of tokens from another host, loops of a model and tools, waiting on a model.

Producer and reader are agents in two hosts, and two actors of plain Ray in the same session. Each token is a message
of a number and a word. Alternated rounds, medians. A gap is the time between two tokens as their reader gets them: ours
are measured at 20,000 tokens a second, emitted each millisecond, those of plain Ray at its full rate, which is less.

A loop is one `ctx.models.run` of 50 calls of a tool, each with a turn of a scripted model before it, in one process;
from its time is taken what the same provider and the same function take alone. The agents that wait run each a loop of
one turn, through the app's router and its ledger in Redis, with a model in another process that takes two seconds.
"""

from __future__ import annotations

import asyncio

import looping
import streaming
from figures import AGENTS
from measure import Options, Result, Screen, ends_within, finish, limit_s, options_of, versions


async def measured(options: Options, screen: Screen) -> tuple[Result, dict[str, str]]:
    """Every figure of this script, and the versions."""
    result = await streaming.measured(options, screen)
    result |= await looping.loop_measured(options, screen)
    result |= await looping.waiting_measured(options, screen)
    return result, versions("regrow", "ray", "pydantic", "openai")


def main() -> None:
    """Measures, and prints tables and the JSON line."""
    options = options_of(__doc__)
    screen = Screen(options)
    with ends_within(limit_s(options)):
        result, found = asyncio.run(measured(options, screen))
    screen.figures("Agents", AGENTS, result)
    screen.say(" · ".join(f"{name} {version}" for name, version in found.items()))
    finish({figure.key: result.get(figure.key) for figure in AGENTS} | {"versions": found, "quick": options.quick})


if __name__ == "__main__":
    main()
