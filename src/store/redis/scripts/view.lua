-- Adds the lock to an answer: v, ledger, h, waiting, ahead, then t, s and b of each ticket listed: of the waiters the first
-- two if the asker is the first or none of them, else 32.
local function show(shown, id, all)
  local kept = redis.call('HMGET', KEYS[1], 'v', 'ledger', 'h')
  local longest = tonumber(ARGV[4])
  if kept[2] and #kept[2] > longest then return damaged(KEYS[1], 'its ledger has ' .. #kept[2] .. ' bytes') end
  local ids, listed = {}, { [''] = true }
  local function list(one)
    if not listed[one] then
      listed[one] = true
      ids[#ids + 1] = one
    end
  end
  for one in string.gmatch(kept[3] or '', '%S+') do list(one) end
  local place = redis.call('HGET', KEYS[1], 's:' .. id)
  local ahead = place and redis.call('ZRANK', KEYS[2], string.sub(place, 1, 16) .. ':' .. id)
  local last = (all or id == '' or ahead and ahead > 0) and 31 or 1
  for _, member in ipairs(redis.call('ZRANGE', KEYS[2], 0, last)) do list(string.sub(member, 18)) end
  list(id)
  local n = #shown
  for i = 1, 3 do shown[n + i] = kept[i] end
  shown[n + 4], shown[n + 5] = redis.call('ZCARD', KEYS[2]), ahead or 0
  n = n + 5
  for _, one in ipairs(ids) do
    local ticket = redis.call('HMGET', KEYS[1], 't:' .. one, 's:' .. one, 'b:' .. one)
    if ticket[1] and #ticket[1] > longest then ticket[1] = '' end
    shown[n + 1], shown[n + 2], shown[n + 3], shown[n + 4] = one, ticket[1], ticket[2], ticket[3]
    n = n + 4
  end
  return shown
end
