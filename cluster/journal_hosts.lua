-- Leases of hosts, and who holds an agent. `tombstones` has one bit for each host's life; `water` counts
-- renewals, so that each of them tells whether the store has gone back behind the one before. A lease that is not
-- empty is the last one of a host that was found dead and may live all the same.

--- renew: lease tombstones water
local high = tonumber(redis.call('GET', water) or 0)
-- Not raised where it is too low, or those who saw more would find it right again after a while.
if high < a.seen then return answer(false, high) end
if redis.call('GETBIT', tombstones, a.host) == 1 or redis.call('GET', lease) == 'last' then return answer(false, high) end
redis.call('SET', lease, '', 'PX', a.ttl)
return answer(true, redis.call('INCR', water))

--- revoke: lease tombstones
if redis.call('GETBIT', tombstones, a.host) == 1 then return answer('revoked', true) end
if not a.reaped and redis.call('EXISTS', lease) == 1 then
  if a.last then redis.call('SET', lease, 'last', 'KEEPTTL') end
  return answer('lease_held', false)
end
redis.call('SETBIT', tombstones, a.host, 1)
redis.call('DEL', lease)
return answer('revoked', false)

--- revoked: tombstones
return answer(redis.call('GETBIT', tombstones, a.host) == 1)

--- new_host_epoch: epochs water
local high = tonumber(redis.call('GET', water) or 0)
if high < a.seen then return answer(false, high) end
return answer(redis.call('INCR', epochs), high)

--- read: row
local f = redis.call('HMGET', row, 'e', 'v', 'k', 's', 'h', 'x')
return answer(tonumber(f[1] or 0), tonumber(f[2] or 0), tonumber(f[3] or 0), f[4], tonumber(f[5]) or false, f[6] and true)

--- claim: row
local function whole(verdict)
  local f = redis.call('HMGET', row, 'e', 'v', 'k', 's', 'h', 'x')
  return answer(
    verdict, tonumber(f[1] or 0), tonumber(f[2] or 0), tonumber(f[3] or 0), f[4], tonumber(f[5]) or false, f[6] and true
  )
end
local e, h, c = unpack(redis.call('HMGET', row, 'e', 'h', 'c'))
e, h = tonumber(e or 0), tonumber(h)
if h == a.host and c == a.op then return whole('claimed') end
-- The epoch is compared also where nobody holds the agent: a claim that comes late must neither end the life that
-- followed it, nor take what that one has given back.
if h ~= a.previous or e ~= a.epoch then return whole('held') end
redis.call('HSET', row, 'e', e + 1, 'h', a.host, 'c', a.op)
return whole('claimed')

--- release: row
if tonumber(redis.call('HGET', row, 'e') or 0) ~= a.epoch then return answer(false) end
redis.call('HDEL', row, 'h', 'c')
return answer(true)
