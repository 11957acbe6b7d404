"""The ledger in Redis: each change is one Lua script, so that many routers may share one budget.

Amounts travel and stay as decimal strings of whole billionths; only comparing them turns them into Lua's
floating numbers, which are exact up to 9,007,199 dollars.

Keys, all under one hash tag so that they live in one slot of a Redis Cluster: `:calls` hash of
`<id>/<field>`, `:open` set of ids, `:sums` hash of `<sum key>/<count>`, `:history` list of closed ids.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, cast

from redis.asyncio import Redis, RedisCluster
from redis.exceptions import RedisError, ResponseError

from regrow.router.bounded_redis import BoundedRedis, client_at
from regrow.router.catalog import NanoUsd, in_usd, nano_usd
from regrow.router.errors import LedgerUnreachable
from regrow.router.ledger import ABANDONED
from regrow.router.request import Usage
from regrow.router.usage import (
    HISTORY_LIMIT,
    Call,
    CallId,
    CallRecord,
    UsageTotals,
    check_budget,
    sum_keys,
    totals_of,
)
from regrow.runtime.errors import Bug

LIMIT_CONNECTIONS: Final = 16
"""More bring nothing, since a script holds the whole server; a call beyond them waits for its turn."""

_UNPRICED: Final = ""
# No name of a model or provider holds these: the unit and record separators of ASCII.
_PART_MARK: Final = "\x1f"
_KEY_MARK: Final = "\x1e"

# KEYS calls open sums; ARGV id most budget call sum-keys. Gives nothing, or what is spent and reserved where it
# refuses.
_RESERVE: Final = """
local calls, open, sums = KEYS[1], KEYS[2], KEYS[3]
local id, most, budget = ARGV[1], ARGV[2], ARGV[3]
if redis.call('HEXISTS', calls, id .. '/call') == 1 then return {} end
if budget ~= '' then
  local spent = redis.call('HGET', sums, 'spent') or '0'
  local reserved = redis.call('HGET', sums, 'reserved') or '0'
  if most == '' or tonumber(spent) + tonumber(reserved) + tonumber(most) > tonumber(budget) then
    return {spent, reserved}
  end
end
redis.call('HSET', calls, id .. '/most', most, id .. '/call', ARGV[4], id .. '/keys', ARGV[5])
redis.call('SADD', open, id)
if most ~= '' then redis.call('HINCRBY', sums, 'reserved', most) end
return {}
"""

# KEYS calls open sums history; ARGV id cost usage failure history-limit input output cached.
# `cost` is 'reserve', '' (unpriced) or an amount. Gives the fields of the record, nil where the call is unknown.
_CLOSE: Final = """
local calls, open, sums, history = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local id, cost, usage, failure, limit = ARGV[1], ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5])
local function field(name) return id .. '/' .. name end
local function record()
  return redis.call('HMGET', calls, field('call'), field('cost'), field('usage'), field('at_reserve'), field('failure'))
end
-- HINCRBY knows no '-0', and a count that stays 0 needs no field.
local function add(name, by, sign) if by ~= '' and by ~= '0' then redis.call('HINCRBY', sums, name, sign .. by) end end
if redis.call('SREM', open, id) == 0 then return record() end
local most = redis.call('HGET', calls, field('most'))
local at_reserve = '0'
if cost == 'reserve' then cost, at_reserve = most, '1' end
add('reserved', most, '-')
add('spent', cost, '')
for key in string.gmatch(redis.call('HGET', calls, field('keys')), '[^\\30]+') do
  add(key .. '/calls', '1', '')
  if failure ~= '' then add(key .. '/failed', '1', '') end
  if cost == '' then add(key .. '/unpriced', '1', '') end
  add(key .. '/cost', cost, '')
  add(key .. '/input', ARGV[6], '')
  add(key .. '/output', ARGV[7], '')
  add(key .. '/cached', ARGV[8], '')
end
redis.call('HSET', calls, field('cost'), cost, field('usage'), usage, field('at_reserve'), at_reserve,
  field('failure'), failure)
redis.call('LPUSH', history, id)
while redis.call('LLEN', history) > limit do
  local old = redis.call('RPOP', history) .. '/'
  redis.call('HDEL', calls, old .. 'most', old .. 'call', old .. 'keys', old .. 'cost', old .. 'usage',
    old .. 'at_reserve', old .. 'failure')
end
return record()
"""

_FIELDS: Final = ("call", "cost", "usage", "at_reserve", "failure")


class RedisLedger:
    """The ledger of one app in Redis, 6.2 or newer. It closes its client.

    A script that arrives twice knows its call's id and does nothing the second time. Totals and budget
    cover everything since the app's data was made, over all its starts.
    """

    def __init__(
        self,
        redis: Redis | RedisCluster,
        *,
        app: str,
        budget_usd: float | None = None,
        history_limit: int = HISTORY_LIMIT,
    ) -> None:
        """`redis` should not retry; `from_url` makes such a client."""
        self._redis = BoundedRedis(redis, connections=LIMIT_CONNECTIONS)
        self.budget_usd = budget_usd
        self._budget = None if budget_usd is None else nano_usd(budget_usd)
        self._history_limit = history_limit
        self._reserve_script = redis.register_script(_RESERVE)
        self._close_script = redis.register_script(_CLOSE)
        tag = f"regrow:{{{app}}}:ledger"
        self._calls, self._open, self._sums, self._history = (
            f"{tag}:{part}" for part in ("calls", "open", "sums", "history")
        )

    @classmethod
    def from_url(
        cls,
        url: str,
        *,
        app: str,
        cluster: bool = False,
        budget_usd: float | None = None,
        history_limit: int = HISTORY_LIMIT,
    ) -> RedisLedger:
        """A ledger on the server of that URL (redis://, rediss:// or unix://) or its cluster; connects on first use."""
        client = client_at(url, cluster=cluster, connections=LIMIT_CONNECTIONS)
        return cls(client, app=app, budget_usd=budget_usd, history_limit=history_limit)

    async def reserve(self, call: Call, most_nusd: NanoUsd | None) -> None:
        """As the port says."""
        most = _UNPRICED if most_nusd is None else str(most_nusd)
        budget = "" if self._budget is None else str(self._budget)
        keys = _KEY_MARK.join(_PART_MARK.join(key) for key in sum_keys(call))
        async with self._reached():
            refusal = await self._reserve_script(
                keys=(self._calls, self._open, self._sums),
                args=(call.id, most, budget, call.model_dump_json(), keys),
            )
        if refusal and self._budget is not None:
            spent, reserved = (NanoUsd(int(amount)) for amount in refusal)
            check_budget(call, most_nusd, budget=self._budget, spent=spent, reserved=reserved)
            raise Bug(f"the ledger refused call {call.id!r} that fits its budget")

    async def settle(self, id: CallId, usage: Usage, cost_nusd: NanoUsd | None) -> CallRecord:
        """As the port says."""
        return await self._close(id, _UNPRICED if cost_nusd is None else str(cost_nusd), usage, "")

    async def settle_at_reserve(self, id: CallId, usage: Usage | None, *, failure: str = "") -> CallRecord:
        """As the port says."""
        return await self._close(id, "reserve", usage, failure)

    async def void(self, id: CallId, *, failure: str) -> CallRecord:
        """As the port says."""
        return await self._close(id, "0", None, failure)

    async def totals(self, history: int = 0) -> UsageTotals:
        """As the port says."""
        async with self._reached():
            async with self._redis.client.pipeline(transaction=True) as pipe:
                _ = pipe.hgetall(self._sums)
                _ = pipe.scard(self._open)
                _ = pipe.lrange(self._history, 0, history - 1 if history else 0)
                raw_sums, open_calls, ids = await pipe.execute()
        counts = {_text(key): int(value) for key, value in raw_sums.items()}
        sums: dict[tuple[str, ...], dict[str, int]] = {}
        for key, value in counts.items():
            if "/" in key:
                named, _, count = key.rpartition("/")
                sums.setdefault(tuple(named.split(_PART_MARK)), {})[count] = value
        return totals_of(
            sums,
            budget_usd=self.budget_usd,
            spent=NanoUsd(counts.get("spent", 0)),
            reserved=NanoUsd(counts.get("reserved", 0)),
            open_calls=int(open_calls),
            recent=await self._records([_text(id) for id in ids[:history]]),
        )

    async def settle_abandoned(self) -> int:
        """As the port says."""
        async with self._reached():
            left = [_text(id) for id in await cast("Awaitable[set[Any]]", self._redis.client.smembers(self._open))]
        for id in left:
            await self.settle_at_reserve(CallId(id), None, failure=ABANDONED)
        return len(left)

    async def aclose(self) -> None:
        """Close the client."""
        await self._redis.aclose()

    async def _close(self, id: CallId, cost: str, usage: Usage | None, failure: str) -> CallRecord:
        counts = (usage.input_tokens, usage.output_tokens, usage.cached_tokens) if usage is not None else (0, 0, 0)
        told = usage.model_dump_json() if usage is not None else ""
        async with self._reached():
            raw = await self._close_script(
                keys=(self._calls, self._open, self._sums, self._history),
                args=(id, cost, told, failure, self._history_limit, *counts),
            )
        record = _record(raw)
        if record is None:
            raise Bug(f"call {id!r} is to be closed, but it was never reserved")
        return record

    @asynccontextmanager
    async def _reached(self) -> AsyncGenerator[None]:
        """Turn a Redis failure into the ledger's own, so that callers need not know the store."""
        try:
            async with self._redis.place():
                yield
        except ResponseError as error:
            raise LedgerUnreachable(
                f"the ledger's Redis refuses to write ({error}); no model is called until it does not: look at its "
                "memory limit and at the rights of its user"
            ) from error
        except RedisError as error:
            raise LedgerUnreachable(
                f"the ledger's Redis does not answer ({type(error).__name__}: {error}); no model is called "
                "until it does: check that it runs and that its URL is right"
            ) from error

    async def _records(self, ids: Sequence[str]) -> tuple[CallRecord, ...]:
        if not ids:
            return ()
        async with self._reached():
            raw = await cast(
                "Awaitable[list[Any]]",
                self._redis.client.hmget(self._calls, [f"{id}/{field}" for id in ids for field in _FIELDS]),
            )
        rows = [raw[at : at + len(_FIELDS)] for at in range(0, len(raw), len(_FIELDS))]
        # A call that left the history between the two reads is missing, and is simply no longer recent.
        return tuple(record for row in rows if (record := _record(row)) is not None)


def _record(raw: Sequence[Any]) -> CallRecord | None:
    """The record that the fields make; None where the call is gone or still open."""
    if raw[0] is None or raw[1] is None:
        return None
    call, cost, usage, at_reserve, failure = map(_text, raw)
    return CallRecord(
        call=Call.model_validate_json(call),
        usage=Usage.model_validate_json(usage) if usage else None,
        cost_usd=in_usd(NanoUsd(int(cost))) if cost else None,
        at_reserve=at_reserve == "1",
        failure=failure,
    )


def _text(raw: object) -> str:
    """A Redis value as text, whether or not the client decodes its answers."""
    return raw.decode() if isinstance(raw, bytes) else str(raw)
