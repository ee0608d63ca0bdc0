-- ARGV  5 id  6 ticket  7 lead in ms  8 the lock's raw name  9 how many may wait
--       or straight in too: 10 the text of a ledger at rest  11 and with the author in, both with blanks  12 the highest fence
--       remembered  13 the author's clock  14 leap and 15 how far behind a clock may be, in ms  16 no fence is above this
local id = ARGV[5]
local kept = redis.call('HMGET', KEYS[1], 'seq', 'last', 't:' .. id, 'v', 'ledger', 'h')
local seq, last = kept[1] or '0', kept[2] or '0'
if not whole(seq) or not whole(last) then return damaged(KEYS[1], 'seq or last is not a number') end
local known = kept[3] or redis.call('ZSCORE', KEYS[3], id)
if not known and redis.call('ZCARD', KEYS[2]) >= tonumber(ARGV[9]) then
  return redis.error_reply('VLFULL ' .. ARGV[9])
end

-- The next version and its ledger, if the lock is plain: nobody in it, nobody before it, and nothing else said of it.
local function go_straight()
  if not ARGV[10] or settled ~= mark or redis.call('ZCARD', KEYS[2]) > 0 then return end
  local version, text, holders = kept[4], kept[5], kept[6]
  local fence, leap = '0', ARGV[14]
  local function filled(form)
    return (string.gsub(form, '[\1-\4]', { ['\1'] = version, ['\2'] = epoch, ['\3'] = fence, ['\4'] = stamp }))
  end
  local function sealed(form)
    return form .. '\n' .. redis.sha1hex(form) .. '\n'
  end
  if version or text or holders then
    fence, leap = string.match(text or '', '"fence":(%d+)'), '0'
    if not whole(version) or not whole(fence) or tonumber(fence) > tonumber(ARGV[16]) then return end
    if holders ~= '' or text ~= sealed(filled(ARGV[10])) then return end
  end
  local floor = tonumber(ARGV[13]) - now > tonumber(ARGV[15]) and tonumber(ARGV[13]) or now
  local highest = math.max(tonumber(fence) + 1, floor + tonumber(leap), tonumber(ARGV[12]) + 1)
  version, fence = string.format('%.0f', tonumber(version or '0') + 1), string.format('%.0f', highest)
  return version, sealed(filled(ARGV[11]))
end

remember()
if not known then
  local version, ledger = go_straight()
  local at = math.max(now, tonumber(last))
  local order = string.format('%.0f', at - tonumber(ARGV[7]))
  local number = string.format('%016.0f', tonumber(seq) + 1)
  redis.call('HSET', KEYS[1], 'seq', string.format('%.0f', tonumber(seq) + 1), 'last', string.format('%.0f', at),
    't:' .. id, ARGV[6], 's:' .. id, number .. ' ' .. order .. ' ' .. string.format('%.0f', at), 'b:' .. id, beats(0))
  if version then
    redis.call('HSET', KEYS[1], 'v', version, 'ledger', ledger, 'h', id)
  else
    redis.call('ZADD', KEYS[2], order, number .. ':' .. id)
  end
  redis.call('SADD', KEYS[5], ARGV[8])
end
return show(answer('view'), id)
