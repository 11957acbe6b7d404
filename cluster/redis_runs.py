"""The counts of runs in Redis, 6.2 or newer: each change is one Lua script, so that all hosts of an app share them.

Keys, those of one run under one hash tag: `:counts` hash of what it has come to and of what is open, `:called:<agent>`
list of the last calls of one agent. All go RUN_TTL_S after the last change. `:sent` is a hash of what went over the
wire to one address, and goes after WIRE_TTL_S.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from redis.asyncio import Redis, RedisCluster
from redis.exceptions import RedisError

from regrow.router.bounded_redis import BoundedRedis, client_at
from regrow.runtime.guard_errors import RunsUnreachable
from regrow.runtime.likeness import Likenesses, StateLikenesses
from regrow.runtime.likeness_parts import Degree
from regrow.runtime.run_store import (
    COUNTED,
    KEPT_CALLS,
    NOTHING,
    NUSD_PER_USD,
    RUN_TTL_S,
    WINDOW_CALLS,
    WIRE_TTL_S,
    Amounts,
    CallNote,
    Calls,
    Taken,
    Tone,
    WireCounts,
)

if TYPE_CHECKING:
    from regrow.runtime.guards import Guards

LIMIT_CONNECTIONS: Final = 8
MARK: Final = "\x1f"
"""Between the parts of a call; no id of ours holds the unit separator of ASCII."""

_NOW: Final = """
local time = redis.call('TIME')
local now_ms = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
"""

# KEYS counts; ARGV id ttl, four amounts, four caps, the cap of milliseconds, empty for none; what is held, as four.
# Gives the counts, the age in milliseconds, and the number of the cap that is passed, 0 for none.
_TAKE: Final = (
    _NOW
    + """
local key, id = KEYS[1], ARGV[1]
redis.call('HSETNX', key, 'began', string.format('%d', now_ms))
redis.call('EXPIRE', key, ARGV[2])
local age_ms = now_ms - tonumber(redis.call('HGET', key, 'began'))
local names = {'messages', 'calls', 'tokens', 'cost_nusd'}
local counts, over = {}, 0
for at, name in ipairs(names) do counts[at] = tonumber(redis.call('HGET', key, name) or '0') end
local function told() return {counts[1], counts[2], counts[3], counts[4], age_ms, over} end
if id ~= '' and redis.call('HEXISTS', key, 'open/' .. id) == 1 then return told() end
for at = 4, 1, -1 do
  local cap, is_taken = ARGV[6 + at], ARGV[2 + at] ~= '0' or ARGV[11 + at] ~= '0'
  if is_taken and cap ~= '' and counts[at] + tonumber(ARGV[2 + at]) > tonumber(cap) then over = at end
end
if over == 0 and ARGV[11] ~= '' and age_ms > tonumber(ARGV[11]) then over = 5 end
if over ~= 0 then return told() end
local taken = {}
for at, name in ipairs(names) do
  taken[at] = string.format('%d', tonumber(ARGV[2 + at]) + tonumber(ARGV[11 + at]))
  if taken[at] ~= '0' then counts[at] = redis.call('HINCRBY', key, name, taken[at]) end
end
if id ~= '' then redis.call('HSET', key, 'open/' .. id, table.concat(taken, ' ')) end
return told()
"""
)

# KEYS counts; ARGV id, four amounts.
_SETTLE: Final = """
local taken = redis.call('HGET', KEYS[1], 'open/' .. ARGV[1])
if not taken then return 0 end
redis.call('HDEL', KEYS[1], 'open/' .. ARGV[1])
local names, at = {'messages', 'calls', 'tokens', 'cost_nusd'}, 1
for was in string.gmatch(taken, '%S+') do
  redis.call('HINCRBY', KEYS[1], names[at], string.format('%d', tonumber(ARGV[1 + at]) - tonumber(was)))
  at = at + 1
end
return 1
"""

# KEYS calls; ARGV id, the call without its time, how many are kept, ttl.
_NOTE: Final = (
    _NOW
    + """
for _, each in ipairs(redis.call('LRANGE', KEYS[1], 0, -1)) do
  if string.sub(each, 1, #ARGV[1] + 1) == ARGV[1] .. '\\31' then return 0 end
end
redis.call('RPUSH', KEYS[1], ARGV[2] .. '\\31' .. string.format('%d', now_ms))
redis.call('LTRIM', KEYS[1], -tonumber(ARGV[3]), -1)
redis.call('EXPIRE', KEYS[1], ARGV[4])
return 1
"""
)

_CALLS: Final = _NOW + "return {now_ms, redis.call('LRANGE', KEYS[1], 0, -1)}"

# KEYS sent; ARGV calls, attempts, hidden, window, ttl. Gives the three totals, as texts since Redis cuts numbers off.
_SENT: Final = """
local totals, share = {}, 1
local names = {'calls', 'attempts', 'hidden'}
for at, name in ipairs(names) do
  totals[at] = tonumber(redis.call('HGET', KEYS[1], name) or '0') + tonumber(ARGV[at])
end
while totals[1] * share > tonumber(ARGV[4]) do share = share / 2 end
for at, name in ipairs(names) do
  totals[at] = string.format('%.17g', totals[at] * share)
  redis.call('HSET', KEYS[1], name, totals[at])
end
redis.call('EXPIRE', KEYS[1], ARGV[5])
return totals
"""

_CAPS: Final = ("", "max_messages", "max_calls", "max_tokens", "max_cost_usd", "max_s")


class RedisRuns:
    """Counts the runs of one app. A script that Redis gets twice may count twice: nothing here is retried."""

    def __init__(self, redis: Redis | RedisCluster, *, app: str) -> None:
        self._redis = BoundedRedis(redis, connections=LIMIT_CONNECTIONS)
        self._app = app
        self._take, self._settle, self._note, self._calls, self._sent = (
            redis.register_script(script) for script in (_TAKE, _SETTLE, _NOTE, _CALLS, _SENT)
        )

    @classmethod
    def from_url(cls, url: str, *, app: str, cluster: bool = False) -> RedisRuns:
        """On the server of that URL or its cluster; connects on first use."""
        return cls(client_at(url, cluster=cluster, connections=LIMIT_CONNECTIONS), app=app)

    async def take(self, run: str, amounts: Amounts, guards: Guards, *, id: str = "", held: Amounts = NOTHING) -> Taken:
        """As the port says."""
        cost_nusd = None if guards.max_cost_usd is None else round(guards.max_cost_usd * NUSD_PER_USD)
        age_ms = None if guards.max_s is None else int(guards.max_s * 1000)
        caps = (guards.max_messages, guards.max_calls, guards.max_tokens, cost_nusd, age_ms)
        async with self._reached():
            *counts, age, over = await self._take(
                keys=(self._key(run, "counts"),),
                args=(
                    id,
                    RUN_TTL_S,
                    *_numbers(amounts),
                    *("" if cap is None else cap for cap in caps),
                    *_numbers(held),
                ),
            )
        counted = Amounts(**dict(zip(COUNTED, map(int, counts), strict=True)))
        return Taken(counts=counted, age_s=int(age) / 1000, over=_CAPS[int(over)])

    async def settle(self, run: str, id: str, amounts: Amounts) -> None:
        """As the port says."""
        async with self._reached():
            await self._settle(keys=(self._key(run, "counts"),), args=(id, *_numbers(amounts)))

    async def note(self, run: str, agent: str, call: CallNote) -> None:
        """As the port says."""
        async with self._reached():
            await self._note(
                keys=(self._key(run, f"called:{agent}"),), args=(call.id, _row(call), KEPT_CALLS, RUN_TTL_S)
            )

    async def calls(self, run: str, agent: str) -> Calls:
        """As the port says."""
        async with self._reached():
            now_ms, rows = await self._calls(keys=(self._key(run, f"called:{agent}"),))
        return Calls(notes=tuple(map(_noted, rows)), now_s=int(now_ms) / 1000)

    async def sent(self, address: str, counts: WireCounts) -> WireCounts:
        """As the port says."""
        args = (counts.calls, counts.attempts, counts.hidden, WINDOW_CALLS, WIRE_TTL_S)
        async with self._reached():
            calls, attempts, hidden = await self._sent(keys=(self._key(address, "sent"),), args=args)
        return WireCounts(calls=float(calls), attempts=float(attempts), hidden=float(hidden))

    async def aclose(self) -> None:
        """Closes the client."""
        await self._redis.aclose()

    def _key(self, run: str, part: str) -> str:
        # By a digest, since an id that somebody has given may hold a brace, which would end the tag.
        tag = hashlib.blake2b(run.encode(errors="surrogatepass"), digest_size=12).hexdigest()
        return f"regrow:{{{self._app}:run:{tag}}}:{part}"

    @asynccontextmanager
    async def _reached(self) -> AsyncGenerator[None]:
        try:
            async with self._redis.place():
                yield
        except RedisError as error:
            raise RunsUnreachable(
                f"the Redis in which runs are counted does not serve ({type(error).__name__}: {error}); nothing goes "
                "on that has a cap until it does: check that it runs and that its URL is right"
            ) from error


def _numbers(amounts: Amounts) -> tuple[int, ...]:
    return tuple(getattr(amounts, name) for name in COUNTED)


def _row(call: CallNote) -> str:
    """A call as it is kept, without its time."""
    numbers = [f"{each:x}" for each in (*call.what, *call.outcome, *call.state)]
    times_ms = [str(round(seconds * 1000)) for seconds in (call.took_s, call.thought_s)]
    return MARK.join((call.id, call.batch, str(int(call.tone)), *numbers, *times_ms))


def _noted(row: bytes | str) -> CallNote:
    id, batch, tone, *rest = (row.decode() if isinstance(row, bytes) else row).split(MARK)
    *told, took, thought, at = rest
    numbers = [int(each, 16) for each in told]
    took_s, thought_s, at_s = (int(each) / 1000 for each in (took, thought, at))
    return CallNote(
        id=id,
        what=Likenesses(*numbers[: len(Degree)]),
        outcome=Likenesses(*numbers[len(Degree) : 2 * len(Degree)]),
        state=StateLikenesses(*numbers[2 * len(Degree) :]),
        tone=Tone(int(tone)),
        batch=batch,
        took_s=took_s,
        thought_s=thought_s,
        at_s=at_s,
    )
