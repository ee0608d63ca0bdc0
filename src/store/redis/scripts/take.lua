-- ARGV  5 id  6 ticket  7 lead in ms  8 the lock's raw name  9 how many may wait
local id = ARGV[5]
local kept = redis.call('HMGET', KEYS[1], 'seq', 'last', 't:' .. id)
local seq, last = kept[1] or '0', kept[2] or '0'
if not whole(seq) or not whole(last) then return damaged(KEYS[1], 'seq or last is not a number') end
local known = kept[3] or redis.call('ZSCORE', KEYS[3], id)
if not known and redis.call('ZCARD', KEYS[2]) >= tonumber(ARGV[9]) then
  return redis.error_reply('VLFULL ' .. ARGV[9])
end
remember()
if not known then
  local at = math.max(now, tonumber(last))
  local order = string.format('%.0f', at - tonumber(ARGV[7]))
  local number = string.format('%016.0f', tonumber(seq) + 1)
  redis.call('HSET', KEYS[1], 'seq', string.format('%.0f', tonumber(seq) + 1), 'last', string.format('%.0f', at),
    't:' .. id, ARGV[6], 's:' .. id, number .. ' ' .. order .. ' ' .. string.format('%.0f', at), 'b:' .. id, beats(0))
  redis.call('ZADD', KEYS[2], order, number .. ':' .. id)
  redis.call('SADD', KEYS[5], ARGV[8])
end
return show(answer('view'), id)
