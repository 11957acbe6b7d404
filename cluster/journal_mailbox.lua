-- The mailbox of an agent, and the records of a message in hand.

--- enqueue: row mail ready marks*
local e, h, x, q, n = unpack(redis.call('HMGET', row, 'e', 'h', 'x', 'q', 'n'))
local stale = a.epoch and (not h or tonumber(e) ~= a.epoch)
q, n = tonumber(q or 0), tonumber(n or 0)
local now, before, verdicts = now_ms(), n, {}
for i, message in ipairs(a.messages) do
  local command, body, born, expires = message[1], message[2], message[3], message[4]
  local known, verdict, place, result = not stale and redis.call('GET', marks[i]), nil, false, false
  if stale then
    verdict = 'stale_epoch'
  elseif known then
    local m = cmsgpack.unpack(known)
    if m[1] == 'P' or m[1] == 'W' then
      verdict, place = 'pending', m[1] == 'P' and m[4]
    else
      verdict, result = 'duplicate', stored(m)
    end
  elseif x then
    verdict = 'deleted'
  elseif born + a.ttl <= now then
    verdict = 'too_old'
  elseif born > now + a.ahead then
    verdict = 'ahead'
  elseif n >= a.capacity then
    verdict = 'full'
  else
    q, n = q + 1, n + 1
    add(q, command, body, expires)
    redis.call('SET', marks[i], cmsgpack.pack({'P', '', 0, q}))
    verdict, place = 'accepted', q
  end
  verdicts[i] = {verdict, place, result}
end
if n > before then
  redis.call('HSET', row, 'q', q, 'n', n)
  if before == 0 then redis.call('ZADD', ready, 0, a.agent) end
end
return cmsgpack.pack(verdicts)

--- depth: row
return answer(count('n'))

--- take: row mail notes
if not holds(a.epoch) then return answer(now_ms(), false) end
return answer(now_ms(), following())

--- count_attempt: row mark notes
if not holds(a.holder) then return answer(false) end
local m = marked()
if not m or m[1] ~= 'P' then return answer(false) end
local kept = note()
-- An incarnation fails on a message once; epochs only grow, so the last one tells a repetition.
if a.epoch > (kept.l or 0) then
  kept.l, kept.n = a.epoch, kept.n + 1
  table.insert(kept.h, {a.epoch, a.note})
  if #kept.h > a.notes then table.remove(kept.h, 1) end
  keep_note(kept)
  mark_noted(m)
end
return answer(kept.n)

--- start_step: row mark steps
if not holds(a.epoch) then return answer('stale_epoch', false) end
local m = marked()
if not m or m[1] ~= 'P' then return answer('not_pending', false) end
local field = a.step[1] .. '\0' .. a.step[2]
local known = unpacked(redis.call('HGET', steps, field))
if known then
  -- Epochs only grow, so the last one tells a repetition.
  if known[1] == a.step[3] and known[3] == 'started' and a.epoch > known[7] then
    known[6], known[7] = known[6] + 1, a.epoch
    redis.call('HSET', steps, field, cmsgpack.pack(known))
  end
  local verdict = known[1] ~= a.step[3] and 'diverged' or known[4] == a.op and 'recorded' or 'known'
  return answer(verdict, {field, unpack(known)})
end
local held = redis.call('HLEN', steps)
if held >= a.steps then
  local apart = unpacked(redis.call('HGET', steps, '\0'))
  if held - (apart and apart[1] + 1 or 0) >= a.steps then return answer('full', false) end
end
local record = {a.step[3], a.epoch, 'started', a.op, '', 1, a.epoch}
redis.call('HSET', steps, field, cmsgpack.pack(record))
mark_noted(m)
return answer('recorded', {field, unpack(record)})

--- finish_step: row mark steps
if not holds(a.epoch) then return answer('stale_epoch', false) end
local m = marked()
if not m or m[1] ~= 'P' then return answer('not_pending', false) end
local field = a.step[1] .. '\0' .. a.step[2]
local known = unpacked(redis.call('HGET', steps, field))
if not known then return answer('not_started', false) end
if known[1] ~= a.step[3] then return answer('diverged', {field, unpack(known)}) end
if known[3] ~= 'started' and known[3] ~= 'assumed' then
  return answer(known[4] == a.op and 'recorded' or 'known', {field, unpack(known)})
end
local record = {known[1], known[2], 'done', a.op, a.blob and '' or a.result, known[6], known[7], a.blob}
if a.blob and redis.call('HEXISTS', steps, '\0' .. a.blob[1]) == 0 then
  local apart = unpacked(redis.call('HGET', steps, '\0')) or {0, 0}
  if apart[2] + a.blob[2] > a.blobs then return answer('blobs_full', false) end
  apart = cmsgpack.pack({apart[1] + 1, apart[2] + a.blob[2]})
  redis.call('HSET', steps, '\0' .. a.blob[1], a.result, '\0', apart)
end
redis.call('HSET', steps, field, cmsgpack.pack(record))
return answer('recorded', {field, unpack(record)})

--- steps: steps
return answer(records())

--- blob: steps
return answer(redis.call('HGET', steps, '\0' .. a.digest))
