"""What the store does in one atomic step each for what is set for all gateways, kill switches and notes: Lua."""

TURN = """
local function turn(key, known, era)
  local of, number = string.match(redis.call('GET', key) or '', '^(%w+)%.(%d+)$')
  local known_of, known_number = string.match(known, '^(%w+)%.(%d+)$')
  if not of or (of == known_of and tonumber(number) < tonumber(known_number)) then of, number = era, 0 end
  local version = of .. '.' .. string.format('%d', number + 1)
  redis.call('SET', key, version)
  return version
end
"""
"""The next version (version.py): of another era where the store is behind what is known."""

TAKEN_AWAY = """
local function taken_away(key, name, stamp)
  redis.call('HSET', key, name, stamp)
  redis.call('PEXPIRE', key, 86400000)
  if redis.call('HLEN', key) <= 5000 then return end
  local all, names = redis.call('HGETALL', key), {}
  for i = 1, #all, 2 do names[#names + 1] = {all[i], tonumber(all[i + 1])} end
  table.sort(names, function(one, other) return one[2] < other[2] end)
  for i = 1, 2500 do redis.call('HDEL', key, names[i][1]) end
end
"""
"""Remembers it for a day after the last one, the latest thousands: whoever sets and takes away all day long must not fill the store."""

SWITCH = (
    TURN
    + TAKEN_AWAY
    + """
local how, scope, what = ARGV[1], ARGV[2], ARGV[3]
local kept, lifted = redis.call('HGET', KEYS[1], scope), tonumber(redis.call('HGET', KEYS[3], scope) or '-1')
local readable, was = pcall(cjson.decode, kept or '{}')
local since = readable and type(was) == 'table' and tonumber(was.since) or -1
if how == 'on' then
  redis.call('HSET', KEYS[1], scope, what)
  redis.call('HDEL', KEYS[3], scope)
elseif how == 'again' then
  local told = cjson.decode(what).since or 0
  if told > since and told > lifted then redis.call('HSET', KEYS[1], scope, what) end
else
  if since <= tonumber(what) then redis.call('HDEL', KEYS[1], scope) end
  taken_away(KEYS[3], scope, what)
end
local version = turn(KEYS[2], ARGV[4], ARGV[5])
redis.call('PUBLISH', KEYS[2], version)
return version
"""
)
"""KEYS: all switches by scope, their version, which is the channel's name as well, and which were lifted, for a day. `again`: after the
store has lost something; what was lifted since stays so.
"""

SWITCHES = """
return (redis.call('GET', KEYS[2]) or '') .. ' ' .. cjson.encode(redis.call('HVALS', KEYS[1]))
"""
"""The same keys. The version, and every switch."""

NOTE = (
    TURN
    + TAKEN_AWAY
    + """
local how, name, what = ARGV[1], ARGV[2], ARGV[3]
local function stamp(text) return tonumber(string.match(text or '', '^%d+') or '-1') end
local latest = math.max(stamp(redis.call('HGET', KEYS[1], name)), stamp(redis.call('HGET', KEYS[3], name)))
local time = redis.call('TIME')
local now = string.format('%d', math.max(time[1] * 1000000 + time[2], latest + 1))
if how == 'on' then
  redis.call('HSET', KEYS[1], name, now .. ' ' .. what)
elseif how == 'off' then
  redis.call('HDEL', KEYS[1], name)
  taken_away(KEYS[3], name, now)
elseif stamp(what) > latest then
  redis.call('HSET', KEYS[1], name, what)
end
return turn(KEYS[2], ARGV[4], ARGV[5])
"""
)
"""KEYS: all notes by name, each behind the microsecond in which it was set, their version, and which were deleted when, for a day.
`again`: after the store has lost something; the latest stays.
"""

NOTES = """
local version = redis.call('GET', KEYS[2]) or ''
if version == ARGV[1] then return version end
local flat = redis.call('HGETALL', KEYS[1])
return version .. ' ' .. (#flat == 0 and '[]' or cjson.encode(flat))
"""
"""The same keys. The version, and every note where it is not the one that is known."""
