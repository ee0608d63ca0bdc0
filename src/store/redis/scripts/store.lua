-- Every script begins with this: is it the store it was, and does it remember?
-- KEYS  1 lock (hash)  2 its queue (zset)  3 ids gone from it (zset)  4 the store's record (hash)  5 names (set)
-- ARGV  1 a fresh mark  2 max_ttl in ms  3 '1' for the first script on a connection, else '0'; 'b' where INFO may be refused; in a cluster
--       a blank and the node's record  4 a lock text longer than this is damaged
-- All checks come before all writes: Redis keeps what a failed script has already written.
local function field(info, name)
  return string.match(info, '\r\n' .. name .. ':([^\r\n]*)')
end
local function damaged(key, why)
  return redis.error_reply('VLDAMAGED ' .. key .. ' ' .. why)
end
local function whole(text)
  return text and #text <= 15 and string.match(text, '^%d+$')
end

local first, blind, node = string.match(ARGV[3], '^(%d)(b?) ?(.*)$')
-- Blind: by the caller's word a server that tells nothing is put up with.
local function info(section)
  if blind == '' then return redis.call('INFO', section) end
  local said = redis.pcall('INFO', section)
  return type(said) == 'string' and said or ''
end

local replication = info('replication')
local unseen = blind == 'b' and replication == ''
if not unseen and field(replication, 'role') ~= 'master' then
  return redis.error_reply('VLREPLICA it follows another server')
end
if first == '1' then
  local policy = field(info('memory'), 'maxmemory_policy') or ''
  if string.sub(policy, 1, 7) == 'allkeys' then
    return redis.error_reply('VLEVICTS ' .. policy)
  end
end
for i, wanted in ipairs({ 'hash', 'zset', 'zset', 'hash', 'set' }) do
  local is = redis.call('TYPE', KEYS[i]).ok
  if is ~= 'none' and is ~= wanted then
    return damaged(KEYS[i], 'it is a ' .. is .. ' and should be a ' .. wanted)
  end
end

local server = info('server')
local run_id, replid = field(server, 'run_id'), field(replication, 'master_replid')
if unseen then run_id, replid = 'unseen', 'unseen' end
if not run_id or not replid then
  return redis.error_reply('VLNOLIFE it does not tell its run_id')
end
local epoch = run_id .. ':' .. replid
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local stamp = string.format('%.0f', now)

-- A ticket's beats: how many, when the last one came, and the head of their digest. A few flipped digits would make a living
-- holder look as if it had been quiet for days.
local function digested(count, last)
  return string.sub(redis.sha1hex(count .. ' ' .. last), 1, 16)
end
local function beats(count)
  local text = string.format('%.0f', count)
  return text .. ' ' .. stamp .. ' ' .. digested(text, stamp)
end

-- `settled` is the mark that somebody has waited out, or nothing: no flipped digit makes a memory sure.
local record = redis.call('HMGET', KEYS[4], 'epoch', 'mark', 'settled', 'max_ttl_ms', 'carried')
local mark, settled, carried = record[2], record[3], record[5]
local unwritten = nil
if redis.call('EXISTS', KEYS[4]) == 0 then
  mark, settled, carried = ARGV[1], '', '0'
  -- A lock that is new to a node in whose present life somebody has waited already. Where its record is out of reach, or its
  -- slot has moved on, it says nothing.
  if node ~= '' and redis.pcall('HGET', node, 'epoch') == epoch then settled = mark end
  unwritten = true
else
  for i = 1, 5 do
    if not record[i] then return damaged(KEYS[4], 'a field is missing') end
  end
  if (settled ~= '' and settled ~= mark) or not whole(record[4]) or mark == '' then
    return damaged(KEYS[4], 'a field is not what it should be')
  end
  if record[4] ~= ARGV[2] then
    return redis.error_reply('VLMAXTTL ' .. record[4])
  end
  if record[1] ~= epoch then
    -- Carried into a new life: what it lost of the old one, nobody knows.
    mark, settled, carried = ARGV[1], '', '1'
    unwritten = true
  end
end

-- Writes the record if it is new. Each script calls it once, where its writes begin.
local function remember()
  if unwritten then
    redis.call('HSET', KEYS[4], 'epoch', epoch, 'mark', mark, 'settled', settled, 'max_ttl_ms', ARGV[2], 'carried', carried)
  end
end

-- For how many seconds the server has been up and certainly lost nothing; -1 if it may have lost something since.
local function proof()
  if field(replication, 'master_replid2') ~= string.rep('0', 40) then return '-1' end
  if field(info('stats'), 'evicted_keys') ~= '0' then return '-1' end
  local calls = info('commandstats')
  -- A reset of the counts hides the calls before it.
  for _, name in ipairs({ 'flushall', 'flushdb', 'swapdb', 'debug', 'replicaof', 'slaveof', 'failover', 'config', 'config|resetstat' }) do
    if string.match(calls, '\r\ncmdstat_' .. name .. ':calls=[1-9]') then return '-1' end
  end
  -- For how long a node has had a slot it does not say.
  if node ~= '' then return '0' end
  return field(server, 'uptime_in_seconds') or '-1'
end

-- What every answer begins with.
local function answer(kind)
  local shown = { kind, stamp, epoch, mark, settled, '-1', carried }
  if settled == '' then shown[6] = proof() end
  return shown
end
