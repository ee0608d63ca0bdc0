-- ARGV  5 id  6.. the claims the caller watches
local id = ARGV[5]
local kept = redis.call('HMGET', KEYS[1], 'v', 't:' .. id, 'b:' .. id)
if not kept[2] then
  remember()
  return answer('gone')
end
local count, last, digest = string.match(kept[3] or '', '^(%d+) (%d+) (%x+)$')
if not whole(count) or digested(count, last) ~= digest then
  return damaged(KEYS[1], 'the beats of a ticket are not a number, a time and their digest')
end
-- A full server refuses HSET, but not as a second write: a running job must outlive a full server.
redis.call('HDEL', KEYS[1], 'b:' .. id)
redis.call('HSET', KEYS[1], 'b:' .. id, beats(tonumber(count) + 1))
remember()
local shown = answer('alive')
shown[8] = kept[1]
for i = 6, #ARGV do
  local other = redis.call('HMGET', KEYS[1], 't:' .. ARGV[i], 'b:' .. ARGV[i])
  if other[1] then
    shown[#shown + 1] = ARGV[i]
    shown[#shown + 1] = other[2] or ''
  end
end
return shown
