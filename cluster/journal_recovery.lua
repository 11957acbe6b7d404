-- What the owner of a partition recovers and serves: mailboxes, timers, waits, outboxes, and what people decide.

--- mailboxes: ready
local first = a.after and ('(' .. a.after) or '-'
return answer(redis.call('ZRANGEBYLEX', ready, first, '+', 'LIMIT', 0, a.page))

--- waiting: waits
local found = redis.call('ZRANGE', waits, a.offset, a.offset + a.page - 1, 'WITHSCORES')
local rows = {}
for i = 1, #found, 2 do
  rows[#rows + 1] = {found[i], found[i + 1] ~= 'inf' and tonumber(found[i + 1])}
end
return answer(rows)

--- due: timers waits schedules
local now = now_ms()
local function passed(index)
  local found = redis.call('ZRANGEBYSCORE', index, '-inf', now, 'WITHSCORES', 'LIMIT', 0, a.page)
  local later = redis.call('ZRANGE', index, #found / 2, #found / 2, 'WITHSCORES')[2]
  return found, later and later ~= 'inf' and tonumber(later) or false
end
local ticks, tick_next = passed(timers)
local ends, end_next = passed(waits)
local rows, over = {}, {}
for i = 1, #ticks, 2 do
  rows[#rows + 1] = {ticks[i], tonumber(ticks[i + 1]), redis.call('HGET', schedules, ticks[i])}
end
for i = 1, #ends, 2 do over[#over + 1] = {ends[i], tonumber(ends[i + 1])} end
local next_ms = tick_next and end_next and math.min(tick_next, end_next) or tick_next or end_next
return answer(now, rows, over, next_ms)

--- fire: row mail mark ready timers schedules repeated
local given = before()
if given then return given end
if a.epoch and not holds(a.epoch) then return answer('stale_epoch', false) end
local member = a.agent .. '\0' .. a.timer
local set = tonumber(redis.call('ZSCORE', timers, member) or -1)
if set ~= a.due or a.due > now_ms() then return answer('not_due', false) end
local x, q, n = unpack(redis.call('HMGET', row, 'x', 'q', 'n'))
local deleted, m = x and true or false, marked()
q, n = tonumber(q or 0), tonumber(n or 0)
if not deleted and not m and n >= a.capacity then return answer('full', false) end
-- A command that is known came in by another way, and is not run again.
local place = not deleted and (m and (m[1] == 'P' and m[4]) or not m and push(a.body, a.expires, nil, q, n))
if a.next and not deleted then
  redis.call('ZADD', timers, a.next, member)
else
  redis.call('ZREM', timers, member)
  redis.call('HINCRBY', row, 't', 0 - redis.call('HDEL', schedules, member)) -- it knows no '-0'
end
return once(deleted and 'deleted' or 'fired', place)

--- answer: row mail notes mark steps ready waits repeated
local given = before()
if given then return given end
if a.epoch and not holds(a.epoch) then return answer('stale_epoch', false) end
local m, kept = marked(), note()
local member = wait_member(a.wait)
local deadline = redis.call('ZSCORE', waits, member)
if not m or m[1] ~= 'W' or not deadline then return answer('no_wait', false) end
if not a.body and tonumber(deadline) > now_ms() then return answer('too_early', false) end
local record = {a.wait[3], count('e'), a.body and 'done' or 'timed_out', a.op, a.body or '', 1, 0}
redis.call('HSET', steps, a.wait[1] .. '\0' .. a.wait[2], cmsgpack.pack(record))
redis.call('ZREM', waits, member)
redis.call('HINCRBY', row, 'w', -1)
local place = push_back(kept.body, kept.expires, m)
kept.w, kept.body, kept.expires = nil, nil, nil
keep_note(kept)
return once('resumed', place)

--- outbox: outbox
local found = redis.call('XRANGE', outbox, a.after and ('(' .. a.after) or '-', '+', 'COUNT', a.page)
local rows = {}
for _, entry in ipairs(found) do
  local f = entry[2]
  rows[#rows + 1] = {entry[1], f[2], f[4], f[6], f[8]}
end
return answer(rows)

--- relayed: row outbox
local gone = 0
for _, id in ipairs(a.ids) do gone = gone + redis.call('XDEL', outbox, id) end
if gone > 0 then redis.call('HINCRBY', row, 'o', -gone) end
return answer(gone)

--- quarantined: quarantine
local found = redis.call('ZRANGE', quarantine, a.offset, a.offset + a.page - 1, 'WITHSCORES')
local rows = {}
for i = 1, #found, 2 do rows[#rows + 1] = {found[i], tonumber(found[i + 1])} end
return answer(rows)

--- show_quarantined: notes mark steps
local m = marked()
if not m or m[1] ~= 'Q' then return answer(false) end
local kept = note()
return answer(true, kept.body, m[4], kept.at, kept.n, kept.h, records())

--- history: past
local rows = {}
for _, entry in ipairs(redis.call('XREVRANGE', past, '+', oldest_kept(now_ms()), 'COUNT', a.limit)) do
  rows[#rows + 1] = {tonumber(string.match(entry[1], '%d+')), unpack(cmsgpack.unpack(entry[2][2]))}
end
return answer(rows)

--- requeue: row mail notes mark steps ready quarantine repeated past
local given = before()
if given then return given end
local m = marked()
if not m or m[1] ~= 'Q' then return answer('not_quarantined') end
local kept = note()
push_back(kept.body, nil, m)  -- without its deadline: a person wants it run, whoever asked
remember('requeued', false, 0, false, kept.about, a.by)
redis.call('ZREM', quarantine, a.agent .. '\0' .. a.command)
redis.call('HINCRBY', row, 'z', -1)
for _, record in ipairs(a.assume and records() or {}) do
  local field = table.remove(record, 1)
  if record[3] == 'started' and a.assume == 'undone' then
    redis.call('HDEL', steps, field)
  elseif record[3] == 'started' then
    record[3] = 'assumed'
    redis.call('HSET', steps, field, cmsgpack.pack(record))
  end
end
-- The notes stay as history; the count begins anew.
kept.n, kept.at, kept.body, kept.expires, kept.about = 0, nil, nil, nil, nil
keep_note(kept)
return once('settled')

--- drop: row notes mark steps quarantine repeated past
local given = before()
if given then return given end
local m = marked()
if not m or m[1] ~= 'Q' then return answer('not_quarantined') end
local kept = note()
done(a.op, m[3], 'quarantined', m[4], true)
remember('dropped', false, 0, false, kept.about, a.by)
redis.call('ZREM', quarantine, a.agent .. '\0' .. a.command)
redis.call('HINCRBY', row, 'z', -1)
return once('settled')
