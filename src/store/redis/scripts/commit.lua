-- ARGV  5 the author's id  6 version  7 epoch  8 next ledger or ''  9 its version  10 its holders' ids  11 mark to settle or ''
--       12 the lock's raw name  13 head of the wake channels  14 '1' to be shown the lock afterwards, as it is if one to be woken is gone
--       15 number of drops, ids  number of guards, (kind id count)  ids to wake
local id = ARGV[5]
local writes = ARGV[8] ~= ''
local at = 15
local function next_list(width)
  local first, last = at + 1, at + tonumber(ARGV[at]) * width
  at = last + 1
  return first, last
end
local first_drop, last_drop = next_list(1)
local first_guard, last_guard = next_list(3)
local version = redis.call('HGET', KEYS[1], 'v') or '0'
if not whole(version) then return damaged(KEYS[1], 'its version is not a number') end

local function holds()
  if ARGV[7] ~= epoch or (writes and ARGV[6] ~= version) then return false end
  if ARGV[11] ~= '' and ARGV[11] ~= mark then return false end
  for i = first_guard, last_guard, 3 do
    local kind, whom, count = ARGV[i], ARGV[i + 1], ARGV[i + 2]
    local there = redis.call('HEXISTS', KEYS[1], 't:' .. whom) == 1
    if there ~= (kind ~= 'absent') then return false end
    if kind == 'still' and count ~= '' then
      local beats = redis.call('HGET', KEYS[1], 'b:' .. whom) or ''
      if string.match(beats, '^%d+') ~= count then return false end
    end
  end
  return true
end

if not holds() then
  remember()
  return show(answer('conflict'), id)
end

-- A full server refuses HSET, but not as a second write: a lock must be given back on a full server too.
redis.call('HDEL', KEYS[1], '')
local function leave_queue(whom)
  local place = redis.call('HGET', KEYS[1], 's:' .. whom)
  if place then redis.call('ZREM', KEYS[2], string.sub(place, 1, 16) .. ':' .. whom) end
end
for i = first_drop, last_drop do
  leave_queue(ARGV[i])
  redis.call('HDEL', KEYS[1], 't:' .. ARGV[i], 's:' .. ARGV[i], 'b:' .. ARGV[i])
  redis.call('ZADD', KEYS[3], stamp, ARGV[i])
end
if last_drop >= first_drop then
  redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', string.format('%.0f', now - 3600000))
  redis.call('ZREMRANGEBYRANK', KEYS[3], 0, -10001)
end
if writes then
  redis.call('HSET', KEYS[1], 'v', ARGV[9], 'ledger', ARGV[8], 'h', ARGV[10])
  for whom in string.gmatch(ARGV[10], '%S+') do leave_queue(whom) end
  redis.call('SADD', KEYS[5], ARGV[12])
end
if ARGV[11] ~= '' then
  settled = mark
  redis.call('HSET', KEYS[4], 'settled', mark)
  if node ~= '' then redis.pcall('HSET', node, 'epoch', epoch) end
end
remember()
-- Who is woken alone is shown the lock with its wake: it need not ask.
local function packed(shown)
  if shown.err then return '' end
  local parts = { '*' .. #shown .. '\r\n' }
  for i, part in ipairs(shown) do
    if not part then
      parts[i + 1] = '$-1\r\n'
    elseif type(part) == 'number' then
      parts[i + 1] = ':' .. string.format('%.0f', part) .. '\r\n'
    else
      parts[i + 1] = '$' .. #part .. '\r\n' .. part .. '\r\n'
    end
  end
  return table.concat(parts)
end
local alone, missed = at == #ARGV, false
for i = at, #ARGV do
  missed = missed or redis.call('HEXISTS', KEYS[1], 't:' .. ARGV[i]) == 0
  redis.call('PUBLISH', ARGV[13] .. ARGV[i], alone and packed(show(answer('view'), ARGV[i])) or '')
end
if ARGV[14] ~= '1' and not missed then return answer('done') end
return show(answer('done'), id)
