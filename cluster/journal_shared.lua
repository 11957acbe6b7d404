-- What stands before every script of the journal. ARGV[1] is msgpack, and so is each answer; `false` stands for none,
-- and what is none or false is left out of ARGV[1]. A section names the keys it is given, those after `|` only when
-- it needs them: whatever a script may touch must be among them, since a cluster that moves a slot refuses a script
-- only for the keys it sees. All keys of one call carry one hash tag, the partition. A script checks everything before
-- its first write, and that first write is one that a full server refuses: so it happens whole or not at all.
--
-- row         hash: e epoch, h host, c operation of the last claim, v version, s state, k schema, x deleted, q last place
--             given, n length of the mailbox; and counts: o outbox, t timers, w waits, z quarantined
-- mail        stream of <place>-0: c command, b body, x when it expires
-- notes       hash of command -> what is unusual about a message: attempts, beginning state, what it waits for
-- mark        of one command, for ever while it is alive, then as long as results are kept: {kind, operation, version, …}
--             P in the mailbox: place, whether it has notes or steps · W waits · Q in quarantine: reason
--             D done: outcome, result
-- steps       hash of one command: name\0occurrence -> {digest, epoch, state, operation, result, how many
--             incarnations have begun it, the last of them, and of a result that is kept apart {digest, size}};
--             \0digest -> such a result, and \0 -> {how many of them, their size}
-- past        stream of how turns ended, for people to see: p {command, ending, epoch, failed, begun, about}
-- and of the partition: ready, timers, schedules, waits, quarantine, and outbox, a stream

local a = ARGV[1] and cmsgpack.unpack(ARGV[1]) or {}

local function answer(...) return cmsgpack.pack({...}) end

local function now_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

local function unpacked(text) return text and cmsgpack.unpack(text) end

local function marked() return unpacked(redis.call('GET', mark)) end

local function note() return unpacked(redis.call('HGET', notes, a.command)) or {n = 0, h = {}} end

-- The records of a message. The hash is never read whole, since what is kept apart in it may be large.
local function records()
  local places, found = {}, {}
  for _, field in ipairs(redis.call('HKEYS', steps)) do
    if string.byte(field) ~= 0 then places[#places + 1] = field end
  end
  if #places == 0 then return found end
  for i, record in ipairs(redis.call('HMGET', steps, unpack(places))) do
    found[i] = {places[i], unpack(cmsgpack.unpack(record))}
  end
  return found
end

local function keep_note(kept) redis.call('HSET', notes, a.command, cmsgpack.pack(kept)) end

-- The epoch alone would not do: a released agent has its epoch still, and nobody who may write.
local function holds(epoch)
  local e, h = unpack(redis.call('HMGET', row, 'e', 'h'))
  return h and tonumber(e) == epoch
end

local function count(field) return tonumber(redis.call('HGET', row, field) or 0) end

local function stored(m)
  if m and m[1] == 'D' then return {m[4], m[3], m[5]} end
  if m and m[1] == 'Q' then return {'quarantined', m[3], m[4]} end
  return false
end

-- The messages that are asked for: up to `limit` beyond `after`, at least one and otherwise not more than `bytes`.
local function following()
  local found, size = {}, 0
  if not a.limit then return found end
  local noted = redis.call('EXISTS', notes) == 1
  local start = string.format('(%.0f-0', a.after)
  for _, entry in ipairs(redis.call('XRANGE', mail, start, '+', 'COUNT', a.limit)) do
    local id, fields = entry[1], entry[2]
    size = size + #fields[4]
    if size > a.bytes and #found > 0 then break end
    local kept = noted and unpacked(redis.call('HGET', notes, fields[2])) or {n = 0}
    local place, expires = tonumber(string.sub(id, 1, -3)), tonumber(fields[6]) or false
    found[#found + 1] = {place, fields[2], fields[4], expires, kept.n, kept.b or false, kept.l or false}
  end
  return found
end

local function add(place, command, body, expires)
  redis.call('XADD', mail, string.format('%.0f-0', place), 'c', command, 'b', body, 'x', expires or '')
end

-- Puts the message of this call at the end of the mailbox, whose last place and length are `q` and `n`. What comes
-- back, with its mark `m`, may have notes and steps.
local function push(body, expires, m, q, n)
  local place = q + 1
  add(place, a.command, body, expires)
  redis.call('HSET', row, 'q', place, 'n', n + 1)
  redis.call('SET', mark, cmsgpack.pack(m and {'P', m[2], m[3], place, true} or {'P', '', 0, place}))
  if n == 0 then redis.call('ZADD', ready, 0, a.agent) end
  return place
end

-- Puts a message back that was in the mailbox before.
local function push_back(body, expires, m)
  local q, n = unpack(redis.call('HMGET', row, 'q', 'n'))
  return push(body, expires, m, tonumber(q or 0), tonumber(n or 0))
end

-- Takes a message out of the mailbox, in which `left` are then left; who calls it writes that number.
local function pull(place, left)
  if left > 0 then
    redis.call('XDEL', mail, string.format('%.0f-0', place))
  else
    redis.call('DEL', mail)
    redis.call('ZREM', ready, a.agent)
  end
end

-- Marks a message in the mailbox as one that has notes or steps, which its end must remove.
local function mark_noted(m)
  if not m[5] then redis.call('SET', mark, cmsgpack.pack({m[1], m[2], m[3], m[4], true})) end
end

-- Marks the command as done for as long as results are kept, and longer where its maker's clock ran ahead.
local function done(operation, version, outcome, result, noted)
  local kept_ms = a.ttl + math.max(0, a.born - now_ms())
  redis.call('SET', mark, cmsgpack.pack({'D', operation, version, outcome, result}), 'PX', kept_ms)
  if noted then
    redis.call('HDEL', notes, a.command)
    redis.call('DEL', steps)
  end
end

-- The answer to an operation that has come before, or nil.
local function before() return redis.call('GET', repeated) end

local function once(...)
  local given = answer(...)
  redis.call('SET', repeated, given, 'PX', a.operation_ttl)
  return given
end

local function oldest_kept(now) return string.format('%.0f', math.max(0, now - a.turns_ttl + 1)) end

-- Keeps how a turn ended for people to see: the last so many, and none for longer than is said.
local function remember(ending, epoch, failed, begun, about, by)
  if not a.turns then return end
  local now = now_ms()
  local turn = {a.command, ending, epoch, failed, begun and math.min(begun, now) or false, about or '', by}
  redis.call('XADD', past, 'MAXLEN', a.turns, '*', 'p', cmsgpack.pack(turn))
  redis.call('XTRIM', past, 'MINID', oldest_kept(now))
  redis.call('PEXPIRE', past, a.turns_ttl)
end

local function wait_member(step) return table.concat({a.agent, a.command, step[1], step[2], step[3]}, '\0') end
