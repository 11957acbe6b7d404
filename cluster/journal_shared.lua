-- What stands before every script of the journal. ARGV[1] is msgpack, and so is each answer; `false` stands for none.
-- All keys of one call carry one hash tag, the partition. A script checks everything before its first write, and that
-- first write is one that a full server refuses: so it happens whole or not at all.
--
-- row         hash: e epoch, h host, c operation of the last claim, v version, s state, k schema, x deleted, q last place
--             given; and counts: o outbox, t timers, w waits, z quarantined
-- mail        stream of <place>-0: c command, b body, x when it expires
-- notes       hash of command -> what is unusual about a message: attempts, beginning state, what it waits for
-- mark        of one command, for ever while it is alive, then as long as results are kept: {kind, operation, version, …}
--             P in the mailbox: place · W waits · Q in quarantine: reason · D done: outcome, result
-- steps       hash of one command: name\0occurrence -> {digest, epoch, state, operation, result}
-- and of the partition: ready, timers, schedules, waits, quarantine, and outbox, a stream

local row, mail, notes, mark, steps = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local ready, outbox, timers, schedules = KEYS[6], KEYS[7], KEYS[8], KEYS[9]
local waits, quarantine, repeated = KEYS[10], KEYS[11], KEYS[12]
local a = ARGV[1] and cmsgpack.unpack(ARGV[1]) or {}

local function answer(...) return cmsgpack.pack({...}) end

local function now_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

local function unpacked(text) return text and cmsgpack.unpack(text) end

local function marked() return unpacked(redis.call('GET', mark)) end

local function note() return unpacked(redis.call('HGET', notes, a.command)) or {n = 0, h = {}} end

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

-- Up to `limit` messages beyond `after`, at least one and otherwise not more than `bytes`.
local function messages(after, limit, bytes)
  local found, size = {}, 0
  if limit == 0 then return found end
  local noted = redis.call('EXISTS', notes) == 1
  local start = string.format('(%.0f-0', after)
  for _, entry in ipairs(redis.call('XRANGE', mail, start, '+', 'COUNT', limit)) do
    local id, fields = entry[1], entry[2]
    size = size + #fields[4]
    if size > bytes and #found > 0 then break end
    local kept = noted and unpacked(redis.call('HGET', notes, fields[2])) or {n = 0}
    local place, expires = tonumber(string.sub(id, 1, -3)), tonumber(fields[6]) or false
    found[#found + 1] = {place, fields[2], fields[4], expires, kept.n, kept.b or false}
  end
  return found
end

-- Puts the message of this call at the end of the mailbox.
local function push(body, expires, m)
  local place = count('q') + 1
  redis.call('XADD', mail, string.format('%.0f-0', place), 'c', a.command, 'b', body, 'x', expires or '')
  redis.call('HSET', row, 'q', place)
  redis.call('SET', mark, cmsgpack.pack({'P', m and m[2] or '', m and m[3] or 0, place}))
  redis.call('ZADD', ready, 0, a.agent)
  return place
end

-- Takes it out of the mailbox.
local function pull(place)
  redis.call('XDEL', mail, string.format('%.0f-0', place))
  if redis.call('XLEN', mail) == 0 then
    redis.call('DEL', mail)
    redis.call('ZREM', ready, a.agent)
  end
end

-- Marks the command as done for as long as results are kept, and longer where its maker's clock ran ahead.
local function done(operation, version, outcome, result)
  local kept_ms = a.ttl + math.max(0, a.born - now_ms())
  redis.call('SET', mark, cmsgpack.pack({'D', operation, version, outcome, result}), 'PX', kept_ms)
  redis.call('HDEL', notes, a.command)
  redis.call('DEL', steps)
end

-- The answer to an operation that has come before, or nil.
local function before() return redis.call('GET', repeated) end

local function once(...)
  local given = answer(...)
  redis.call('SET', repeated, given, 'PX', a.operation_ttl)
  return given
end

local function wait_member(step) return table.concat({a.agent, a.command, step[1], step[2], step[3]}, '\0') end
