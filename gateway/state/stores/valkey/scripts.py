"""What the store does in one atomic step each for counts: Lua, for Valkey and Redis from 7. Keys of one script share a hash tag, the agent.

A gateway writes under an epoch, the number of its connection. What it said under an earlier one may still lie unread in a socket when it
has made good for it under the next: so an epoch that is older than the one that stands here is not listened to any more, and one that
is not known here at all (the store lost something) is asked to say first what its gateway has used.
"""

BEGIN = """
local time = redis.call('TIME')
local ms = time[1] * 1000 + math.floor(time[2] / 1000)
local info = KEYS[2] and redis.pcall('INFO', 'server')
local process = type(info) == 'string' and string.match(info, 'run_id:(%w+)')
if process and redis.call('GET', KEYS[2]) ~= process then
  redis.call('SET', KEYS[2], process)
  redis.call('SET', KEYS[1], ms)
end
redis.call('SET', KEYS[1], ms, 'NX')
return redis.call('GET', KEYS[1]) .. ' ' .. ms
"""
"""KEYS: since when the store has held what it holds, and (under a new connection) the process that holds it: a replica that has become
the primary may lack what came last. The store's clock besides; one that cannot be written fails here.
"""

HOUR = """
local function leave(key, now)
  local seen = redis.call('HMGET', key, 'n', 'o')
  local used, oldest = tonumber(seen[1] or '0'), tonumber(seen[2] or now)
  local past, calls = oldest, redis.call('HGET', key, oldest)
  while past < now - 3600 or (not calls and used > 0 and past < now) do
    if calls then
      redis.call('HDEL', key, past)
      used = redis.call('HINCRBY', key, 'n', -calls)
    end
    past = past + 1
    calls = redis.call('HGET', key, past)
  end
  if past > oldest then redis.call('HSET', key, 'o', past) end
  return used, past
end
local function count(key, seconds)
  local sum, first = 0, nil
  for second, more in pairs(seconds) do
    redis.call('HINCRBY', key, second, more)
    sum, first = sum + more, math.min(second, first or second)
  end
  if not first then return end
  local oldest = redis.call('HGET', key, 'o')
  if not oldest or first < tonumber(oldest) then redis.call('HSET', key, 'o', first) end
  redis.call('PEXPIRE', key, 3602000)
  return redis.call('HINCRBY', key, 'n', sum)
end
"""
"""An agent's calls by the second, as SlidingHour counts them: however many there are, no gateway has more than 3,600 numbers to tell. `n`
is their sum, and before `o` there is none. Each gateway's part has the same form, under the key of all with the gateway's name.
"""

CHARGE = (
    HOUR
    + """
local G, epoch, id = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local forced, fresh_agent, fresh_run = ARGV[4] == '1', ARGV[5] == '1', ARGV[6] == '1'
local hour, day_spend, day_tool = tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[9])
local price, tool, step = tonumber(ARGV[10]), ARGV[11], tonumber(ARGV[12])
local max_calls, max_spend, max_ms, max_tool = tonumber(ARGV[13]), tonumber(ARGV[14]), tonumber(ARGV[15]), tonumber(ARGV[16])
local kept, run = tonumber(ARGV[17]), KEYS[5]
local time = redis.call('TIME')
local ms = time[1] * 1000 + math.floor(time[2] / 1000)
local day, now = KEYS[3] .. math.floor(time[1] / 86400), tonumber(time[1])
local of_agent = hour >= 0 or day_spend >= 0 or day_tool >= 0

local function unheard(key, field, fresh, kept_ms)
  local known = tonumber(redis.call('HGET', key, field) or '0')
  if known == epoch then return nil end
  if known > epoch then return 'stale' end
  if not fresh then return 'sync' end
  redis.call('HSET', key, field, ARGV[2])
  redis.call('PEXPIRE', key, kept_ms)
end
local wrong = of_agent and unheard(KEYS[1], G, fresh_agent, 172800000)
wrong = wrong or (run and unheard(run, 'e|' .. G, fresh_run, kept))
if wrong then return wrong end

local used, wait, spent, tools = 0, -1, 0, 0
if hour >= 0 then
  local second
  used, second = leave(KEYS[2], now)
  if used >= hour and hour > 0 then
    local left = used
    while left >= hour and second <= now do
      left = left - (redis.call('HGET', KEYS[2], second) or 0)
      second = second + 1
    end
    wait = (second + 3600) * 1000 - ms
  end
end
if day_spend >= 0 then spent = tonumber(redis.call('HGET', day, 's') or '0') end
if day_tool >= 0 then tools = tonumber(redis.call('HGET', day, 'c:' .. tool) or '0') end
local began, n, s, p, c, by, why = ms, 0, 0, 0, 0, false, false
if run then
  local seen = redis.call('HMGET', run, 'b', 'n', 's', 'p', 'c:' .. tool, 'by', 'why')
  began, n, s = tonumber(seen[1] or ms), tonumber(seen[2] or '0'), tonumber(seen[3] or '0')
  p, c, by, why = tonumber(seen[4] or '0'), tonumber(seen[5] or '0'), seen[6], seen[7]
end

local word = 'ok'
if by then word = 'ended'
elseif run and ms - began >= max_ms then word = 'seconds'
elseif run and n >= max_calls then word = 'calls'
elseif run and max_spend >= 0 and s + price > max_spend then word = 'usd'
elseif run and max_tool >= 0 and c >= max_tool then word = 'tool'
elseif hour >= 0 and used >= hour then word = 'hour'
elseif day_spend >= 0 and spent + price > day_spend then word = 'day_spend'
elseif day_tool >= 0 and tools >= day_tool then word = 'day_tool' end

local charged = 0
if redis.call('EXISTS', KEYS[4]) == 1 then
  word, charged = 'ok', 1
elseif word == 'ok' or (forced and word ~= 'ended') then
  charged = 1
  redis.call('SET', KEYS[4], '1', 'PX', 600000)
  if hour >= 0 then
    leave(KEYS[2] .. '|' .. G, now)
    count(KEYS[2] .. '|' .. G, {[now] = 1})
    used = count(KEYS[2], {[now] = 1})
  end
  local function add(key, field, more)
    redis.call('HINCRBY', key, field .. '|' .. G, more)
    return redis.call('HINCRBY', key, field, more)
  end
  if day_spend >= 0 then spent = add(day, 's', price) end
  if day_tool >= 0 then tools = add(day, 'c:' .. tool, 1) end
  if day_spend >= 0 or day_tool >= 0 then redis.call('PEXPIRE', day, 172800000) end
  if of_agent then redis.call('PEXPIRE', KEYS[1], 172800000) end
  if run then
    redis.call('HSETNX', run, 'b', ms)
    n = add(run, 'n', 1)
    if price > 0 then s = add(run, 's', price) end
    if max_tool >= 0 then c = add(run, 'c:' .. tool, 1) end
    if step > p then p = step; redis.call('HSET', run, 'p', step) end
    redis.call('PEXPIRE', run, kept)
  end
end
return table.concat({word, charged, ms, used, wait, spent, tools, n, p, s, c, ms - began, by or '-', why or '-'}, ' ')
"""
)
"""KEYS: the agent's epochs, its hour, its days (the number follows), the call, the run (left out where it is not shared)."""

REFUND = (
    HOUR
    + """
local G, epoch, id = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local price, tool, counts_spend, counts_tool, run_tool = tonumber(ARGV[4]), ARGV[5], ARGV[6] == '1', ARGV[7] == '1', ARGV[8] == '1'
local second, run = tonumber(ARGV[9]), KEYS[5]
if redis.call('GET', KEYS[4]) == 'back' then return 'ok' end
redis.call('SET', KEYS[4], 'back', 'PX', 600000)
local function less(key, field, by)
  redis.call('HINCRBY', key, field, -by)
  redis.call('HINCRBY', key, field .. '|' .. G, -by)
end
if tonumber(redis.call('HGET', KEYS[1], G) or '0') == epoch then
  if second >= redis.call('TIME')[1] - 3600 then
    count(KEYS[2] .. '|' .. G, {[second] = -1})
    count(KEYS[2], {[second] = -1})
  end
  if counts_spend then less(KEYS[3], 's', price) end
  if counts_tool then less(KEYS[3], 'c:' .. tool, 1) end
end
if run and tonumber(redis.call('HGET', run, 'e|' .. G) or '0') == epoch then
  less(run, 'n', 1)
  if price > 0 then less(run, 's', price) end
  if run_tool then less(run, 'c:' .. tool, 1) end
end
return 'ok'
"""
)
"""The same keys, with the day that the charge was counted in. What stands under another epoch, or not at all, is said anew anyway."""

TELL_RUN = """
local G, epoch, kept, began, steps = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local run = KEYS[1]
if tonumber(redis.call('HGET', run, 'e|' .. G) or '0') > epoch then return 'stale' end
redis.call('HSET', run, 'e|' .. G, ARGV[2])
local b = tonumber(redis.call('HGET', run, 'b') or '0')
if began > 0 and (b == 0 or began < b) then redis.call('HSET', run, 'b', began) end
if steps > tonumber(redis.call('HGET', run, 'p') or '0') then redis.call('HSET', run, 'p', steps) end
if ARGV[6] ~= '' and redis.call('HSETNX', run, 'by', ARGV[6]) == 1 then redis.call('HSET', run, 'why', ARGV[7]) end
for i = 8, #ARGV, 2 do
  local field, mine = ARGV[i], tonumber(ARGV[i + 1])
  local more = mine - tonumber(redis.call('HGET', run, field .. '|' .. G) or '0')
  if more ~= 0 then
    redis.call('HINCRBY', run, field, more)
    redis.call('HSET', run, field .. '|' .. G, mine)
  end
end
redis.call('PEXPIRE', run, kept)
return 'ok'
"""
"""KEYS: the run. All that the gateway has used of it, in absolute numbers."""

TELL_AGENT = (
    HOUR
    + """
local G, epoch, seconds = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
if tonumber(redis.call('HGET', KEYS[1], G) or '0') > epoch then return 'stale' end
redis.call('HSET', KEYS[1], G, ARGV[2])
redis.call('PEXPIRE', KEYS[1], 172800000)
local own, now, more = KEYS[2] .. '|' .. G, tonumber(redis.call('TIME')[1]), {}
leave(own, now)
leave(KEYS[2], now)
local i, had = 4, redis.call('HGETALL', own)
for field = 1, #had, 2 do
  local second = tonumber(had[field])
  if second then more[second] = -had[field + 1] end
end
for _ = 1, seconds do
  local second = tonumber(ARGV[i])
  if second >= now - 3600 then more[second] = (more[second] or 0) + ARGV[i + 1] end
  i = i + 2
end
for second, difference in pairs(more) do
  if difference == 0 then more[second] = nil end
end
count(own, more)
count(KEYS[2], more)
while i <= #ARGV do
  local day, field, mine = KEYS[3] .. ARGV[i], ARGV[i + 1], tonumber(ARGV[i + 2])
  local more = mine - tonumber(redis.call('HGET', day, field .. '|' .. G) or '0')
  if more ~= 0 then
    redis.call('HINCRBY', day, field, more)
    redis.call('HSET', day, field .. '|' .. G, mine)
    redis.call('PEXPIRE', day, 172800000)
  end
  i = i + 3
end
return 'ok'
"""
)
"""KEYS: the agent's epochs, hour and days. All that the gateway has used of them."""

LOOK = """
local known, step, max_steps, kept = ARGV[3] == '1', ARGV[4] == '1', tonumber(ARGV[5]), tonumber(ARGV[6])
local time = redis.call('TIME')
local ms = time[1] * 1000 + math.floor(time[2] / 1000)
local run = KEYS[1]
if known and redis.call('HGET', run, 'e|' .. ARGV[1]) ~= ARGV[2] then return 'sync' end
local seen = redis.call('HMGET', run, 'b', 'n', 's', 'p', 'by', 'why')
local p, word = tonumber(seen[4] or '0'), 'ok'
if not seen[1] and not seen[5] and not step then return 'unknown' end
if seen[5] then word = 'ended'
elseif step and p >= max_steps then word = 'steps'
elseif step then
  p = redis.call('HINCRBY', run, 'p', 1)
  redis.call('HSETNX', run, 'b', ms)
  redis.call('PEXPIRE', run, kept)
end
local began = tonumber(seen[1] or ms)
return table.concat({word, 0, ms, 0, -1, 0, 0, seen[2] or 0, p, seen[3] or 0, 0, ms - began, seen[5] or '-', seen[6] or '-'}, ' ')
"""
"""KEYS: the run. How it stands, after one more step where that is asked for and there is one left."""
