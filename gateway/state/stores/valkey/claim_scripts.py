"""What the store does in one atomic step each for calls with an Idempotency-Key: Lua. KEYS of each share a hash tag, the agent.

A claim is a hash: its holder `h` (the id of the call that is performed), the call's `a` (which call), `until` when its lease runs; once it
is answered, `end` and `at` when; `w` is when somebody last asked who waits for it. An end that is not kept is told for a while under the
holder's own key, empty where nobody waits: what lies unread in a socket cannot make a claim of something that is over.
"""

_NOW = """
local time = redis.call('TIME')
local ms = time[1] * 1000 + math.floor(time[2] / 1000)
"""

CLAIM = (
    _NOW
    + """
local holder, args, lease, ttl, safe, small = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]), ARGV[5] == '1', tonumber(ARGV[6])
local found = redis.call('HMGET', KEYS[1], 'h', 'a', 'until', 'end', 'at', 'w')
local h, a, till, told, at, w = found[1], found[2], tonumber(found[3]), found[4], tonumber(found[5]), tonumber(found[6])
if told and at + ttl > ms then return #told <= small and 'end ' .. told or 'held ' .. h .. ' ' .. a end
if h == holder and not told then
  redis.call('HSET', KEYS[1], 'until', ms + lease)
  redis.call('PEXPIRE', KEYS[1], math.max(ttl, lease))
  redis.call('PEXPIRE', KEYS[2], 10000)
  return (w and ms - w < 1000) and 'mine watched' or 'mine'
end
if redis.call('EXISTS', KEYS[2]) == 1 then return 'over' end
if h and not told and not (safe and a == args and till <= ms) then
  redis.call('HSET', KEYS[1], 'w', ms)
  return 'held ' .. h .. ' ' .. a
end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'h', holder, 'a', args, 'until', ms + lease)
redis.call('PEXPIRE', KEYS[1], math.max(ttl, lease))
return 'mine'
"""
)
"""KEYS: the claim, what its holder has told. Also what renews the lease of a claim. `safe`: the call may be performed again though the
holder of an earlier claim went silent; any other stays claimed, for nobody knows whether it ran. An end that is longer than `small` is
watched for, like one that is to come.
"""

WATCH = (
    _NOW
    + """
local small = tonumber(ARGV[2])
local function ended(told) return (small < 0 or #told <= small) and 'end ' .. told or 'long' end
local told = redis.call('GET', KEYS[2])
if told then return told == '' and 'unmade' or ended(told) end
local found = redis.call('HMGET', KEYS[1], 'h', 'until', 'end')
if found[1] ~= ARGV[1] then return 'gone' end
if found[3] then return ended(found[3]) end
if tonumber(found[2]) <= ms then return 'gone' end
redis.call('HSET', KEYS[1], 'w', ms)
return 'wait'
"""
)
"""The same keys, for another gateway: how the holder's performance fares. Its holder learns that somebody waits. An end that is longer than
`small` is not told until it is asked for with -1.
"""

END = (
    _NOW
    + """
local holder, args, how, told = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local ttl, size, most = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local found = redis.call('HMGET', KEYS[1], 'h', 'w')
local h, awaited = found[1], how == 'told' or found[1] ~= holder or found[2]
if how ~= 'kept' or (h and h ~= holder) or size > most then
  redis.call('SET', KEYS[2], awaited and told or '', 'PX', 10000)
  if how ~= 'told' and h == holder then redis.call('DEL', KEYS[1]) end
  return 'ok'
end
local function drop(entry)
  local bytes, of, key = string.match(entry, '^(%d+) (%S+) (.+)$')
  redis.call('ZREM', KEYS[3], entry)
  if redis.call('HGET', key, 'h') == of then redis.call('DEL', key) end
  return redis.call('DECRBY', KEYS[4], bytes)
end
for _, entry in ipairs(redis.call('ZRANGE', KEYS[3], '-inf', ms - ttl, 'BYSCORE', 'LIMIT', 0, 1000)) do drop(entry) end
local entry = size .. ' ' .. holder .. ' ' .. KEYS[1]
if redis.call('ZADD', KEYS[3], 'NX', ms, entry) == 0 then return 'ok' end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'h', holder, 'a', args, 'end', told, 'at', ms)
redis.call('PEXPIRE', KEYS[1], ttl)
local held = redis.call('INCRBY', KEYS[4], size)
while held > most do
  local oldest = redis.call('ZRANGE', KEYS[3], 0, 0)[1]
  if not oldest then redis.call('DEL', KEYS[4]); break end
  held = drop(oldest)
end
redis.call('PEXPIRE', KEYS[3], ttl)
redis.call('PEXPIRE', KEYS[4], ttl)
return 'ok'
"""
)
"""The same keys, the agent's answers by age, and their bytes. `told`: to whoever waits, while the call goes on as a stream; `over`: and it
may be performed anew; `kept`: for each that comes within the ttl. Of an agent's answers the oldest go first.
"""
