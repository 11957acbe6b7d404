-- The three ends of a turn. What they have in common stands before them.

-- A verdict where nothing may be written, the version, the mark of the command, and how long the mailbox is.
local function judged()
  local m = marked()
  if m and m[2] == a.op then return 'done', m[3], m end
  local e, h, v, x, n = unpack(redis.call('HMGET', row, 'e', 'h', 'v', 'x', 'n'))
  v = tonumber(v or 0)
  if not h or tonumber(e) ~= a.epoch then return 'stale_epoch', v, nil end
  if m and m[1] == 'D' then return 'duplicate', v, m end
  if v ~= a.version then return 'version_conflict', v, nil end
  if not m or m[1] ~= 'P' then return 'not_pending', v, nil end
  if x and a.changes then return 'deleted', v, nil end
  return nil, v, m, tonumber(n)
end

-- A verdict where the writes would pass a bound.
local function unfit()
  if a.out and count('o') + #a.out > a.outbox then return 'outbox_full' end
  if not a.timers then return nil end
  local held = count('t')
  for _, change in ipairs(a.timers) do
    local there = redis.call('HEXISTS', schedules, a.agent .. '\0' .. change[1]) == 1
    if change[2] and not there then held = held + 1 end
    if not change[2] and there then held = held - 1 end
  end
  return held > a.timers_limit and 'timers_full' or nil
end

local function write(version, left)
  if a.delete then
    redis.call('HSET', row, 'v', version, 'n', left, 'x', 1)
    redis.call('HDEL', row, 's')
  elseif a.state then
    redis.call('HSET', row, 'v', version, 'n', left, 's', a.state, 'k', a.schema)
  else
    redis.call('HSET', row, 'v', version, 'n', left)
  end
  for _, sent in ipairs(a.out or {}) do
    redis.call('XADD', outbox, '*', 'a', a.agent, 't', sent[1], 'c', sent[2], 'b', sent[3])
  end
  if a.out then redis.call('HINCRBY', row, 'o', #a.out) end
  for _, change in ipairs(a.timers or {}) do
    local member = a.agent .. '\0' .. change[1]
    if change[2] then
      redis.call('ZADD', timers, change[2], member)
      redis.call('HINCRBY', row, 't', redis.call('HSET', schedules, member, change[3]))
    else
      redis.call('ZREM', timers, member)
      redis.call('HINCRBY', row, 't', 0 - redis.call('HDEL', schedules, member)) -- it knows no '-0'
    end
  end
end

-- What has failed of a message with that mark before.
local function failures(m) return m[5] and note().n or 0 end

local function ended(verdict, version, m)
  return answer(verdict, version, verdict == 'done' and following() or {}, verdict == 'duplicate' and stored(m))
end

--- commit: row mail notes mark steps ready past | outbox timers schedules
local verdict, version, m, n = judged()
if not verdict then verdict = unfit() end
if verdict then return ended(verdict, version, m) end
if a.changes then version = version + 1 end
local failed = failures(m)
done(a.op, version, a.outcome, a.result, m[5])
if a.changes then write(version, n - 1) else redis.call('HSET', row, 'n', n - 1) end
pull(m[4], n - 1)
remember(a.outcome, a.epoch, failed, a.since, a.about)
return ended('done', version)

--- park: row mail notes mark steps ready waits past | outbox timers schedules
local verdict, version, m, n = judged()
if not verdict then verdict = unfit() end
if not verdict and count('w') >= a.waits then verdict = 'waits_full' end
if verdict then return ended(verdict, version, m) end
version = version + 1
local entry = redis.call('XRANGE', mail, string.format('%.0f-0', m[4]), string.format('%.0f-0', m[4]))[1][2]
local kept = note()
kept.b, kept.w, kept.body, kept.expires = a.begun, a.wait, entry[4], entry[6]
keep_note(kept)
redis.call('SET', mark, cmsgpack.pack({'W', a.op, version}))
redis.call('ZADD', waits, a.deadline or 'inf', wait_member(a.wait))
redis.call('HINCRBY', row, 'w', 1)
write(version, n - 1)
pull(m[4], n - 1)
remember('parked', a.epoch, kept.n, a.since, a.about)
return ended('done', version)

--- quarantine: row mail notes mark ready quarantine past
local verdict, version, m, n = judged()
if not verdict and count('z') >= a.quarantined then verdict = 'quarantine_full' end
if verdict then return ended(verdict, version, m) end
local entry = redis.call('XRANGE', mail, string.format('%.0f-0', m[4]), string.format('%.0f-0', m[4]))[1][2]
local kept = note()
kept.at, kept.body, kept.expires, kept.about = now_ms(), entry[4], entry[6], a.about
keep_note(kept)
redis.call('SET', mark, cmsgpack.pack({'Q', a.op, version, a.reason}))
redis.call('ZADD', quarantine, kept.at, a.agent .. '\0' .. a.command)
redis.call('HSET', row, 'z', count('z') + 1, 'n', n - 1)
pull(m[4], n - 1)
remember('quarantined', a.epoch, kept.n, a.since, a.about)
return ended('done', version)
