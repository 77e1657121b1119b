-- Divides the limits of scopes among nodes. A scope is a hash:
--   E             which memory this is: it changes when the store has lost what it knew
--   P             when the period of the quota began
--   n:PROCESS     what a process holds: "expiry period kind=held,used,reserved;..."
--   l:KIND        what time has not paid for of a rate: "units time"
--   w:KIND        the same of a window that slides: "slot count count ..."
--   s:NODE        what a node has used of the quota in the period: "tokens nanos"
--   t:KIND        the threshold that was told last, of which limit, up to which others have told, and by which process:
--                 "percent limit others process"
-- Times are microseconds of this server. Amounts of quotas are compared as text: they may be larger than a double holds.
-- What cannot be read is as if it were not there: a call that failed for one scope would fail for all.
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])

local at = 0
local function text() at = at + 1; return ARGV[at] end
local function number() return tonumber(text()) end
-- Numbers fit into 63 bits, and are never written as -0.
local function whole(n) return string.format('%.0f', math.max(0, math.min(n, 9e18))) end
local function exact(n) return string.format('%.17g', n) end
local function larger(a, b)
  if #a ~= #b then return #a > #b end
  return a > b
end

local SLOTS = 60
local QUOTA = { qt = true, qm = true }
-- Earlier processes of this node have ended before `begun`; 0 where that is not known.
local process, node, begun, lease, nodes = text(), text(), number(), number(), number()
local mates = 'n:' .. node .. '/'
local out = { whole(now) }
local function tell(v) out[#out + 1] = v end

-- A rate that time pays for steadily. Returns what it has not paid for.
local function leaked(stored, limit, window)
  local units, since = string.match(stored or '', '^(%S+) (%S+)$')
  units, since = tonumber(units), tonumber(since)
  if not units or not since then return 0 end
  -- The clock may be another one's, after a failover: then time begins to pay now.
  return math.max(0, units - math.max(0, now - since) * limit / window)
end

-- A window that slides. Returns its slots and their sum.
local function slid(stored, width)
  local ring = { newest = math.floor(now / width), total = 0 }
  for i = 1, SLOTS do ring[i] = 0 end
  if not stored then return ring end
  local counts = {}
  for count in string.gmatch(stored, '%d+') do counts[#counts + 1] = tonumber(count) end
  if #counts ~= 1 + SLOTS then return ring end
  -- A clock that goes back a little changes nothing. After a failover it may be another one: then all is as new.
  local newest = counts[1]
  local back = newest - ring.newest
  if back > 0 and back < SLOTS then ring.newest = newest end
  for i = 0, SLOTS - 1 do
    local slot = newest - i
    local here = back >= SLOTS and slot - back or slot
    if here > ring.newest - SLOTS and slot >= 0 then
      local count = counts[2 + slot % SLOTS] or 0
      ring[1 + here % SLOTS] = count
      ring.total = ring.total + count
    end
  end
  return ring
end

-- Until so many units have left a window.
local function leaves(ring, width, units)
  local left = 0
  for slot = ring.newest - SLOTS + 1, ring.newest do
    left = left + ring[1 + slot % SLOTS]
    if left >= units then return (slot + SLOTS) * width - now end
  end
  return (ring.newest + SLOTS) * width - now
end

for k = 1, #KEYS do
  local key = KEYS[k]
  local keep, epoch, slides, has_quota = number(), text(), text() == '1', text() == '1'
  local flat = redis.pcall('HGETALL', key)
  if flat.err then
    redis.call('DEL', key)
    flat = {}
  end
  local h = {}
  for i = 1, #flat, 2 do h[flat[i]] = flat[i + 1] end
  local changes, gone = {}, {}
  local function set(field, value)
    h[field] = value
    changes[#changes + 1] = field
    changes[#changes + 1] = value
  end
  local function remove(field)
    h[field] = nil
    gone[#gone + 1] = field
  end

  local is_known = h.E ~= nil and h.E == epoch
  if not h.E then set('E', process .. ':' .. whole(now)) end

  local is_current, used_of, warns, refused = false, { qt = 0, qm = 0 }, {}, {}
  if has_quota then
    local start = text()
    if not tonumber(h.P) or tonumber(start) > tonumber(h.P) then
      for field in pairs(h) do
        local kind = string.sub(field, 1, 2)
        if kind == 's:' or kind == 't:' then gone[#gone + 1] = field end
      end
      for _, field in ipairs(gone) do h[field] = nil end
      set('P', start)
    end
    is_current = start == h.P
    for _ = 1, number() do
      local name, tokens, nanos = text(), text(), text()
      if is_current then
        local known = h['s:' .. name] or ''
        local t, n = string.match(known, '^(%d+) (%d+)$')
        t, n = t or '0', n or '0'
        if larger(tokens, t) then t = tokens end
        if larger(nanos, n) then n = nanos end
        local merged = t .. ' ' .. n
        if merged ~= known then set('s:' .. name, merged) end
      end
    end
    for _ = 1, number() do warns[#warns + 1] = number() end
    refused.qt, refused.qm = text() == '1', text() == '1'
  end
  tell(h.E)
  tell(tonumber(h.P) and h.P or '0')
  local told = {}
  for field, value in pairs(h) do
    if string.sub(field, 1, 2) == 's:' then
      local t, n = string.match(value, '^(%d+) (%d+)$')
      if t and #t < 20 and #n < 20 then
        told[#told + 1] = { string.sub(field, 3), t, n }
        used_of.qt = used_of.qt + tonumber(t)
        used_of.qm = used_of.qm + tonumber(n)
      end
    end
  end
  tell(whole(#told))
  for _, one in ipairs(told) do tell(one[1]); tell(one[2]); tell(one[3]) end

  local held, idle, mine = {}, {}, {}
  for field, value in pairs(h) do
    if string.sub(field, 1, 2) == 'n:' then
      local expiry, period, rest = string.match(value, '^(%S+) (%S+) (.*)$')
      expiry = tonumber(expiry)
      local is_mine = string.sub(field, 3) == process
      -- An earlier process of this node has ended, whatever it held.
      local is_mate = not is_mine and string.sub(field, 1, #mates) == mates
      local is_over = is_mate and expiry and expiry - lease <= begun
      if is_over or not expiry or expiry < now or expiry > now + 2 * lease then
        remove(field)
      else
        for kind, units, used, reserved in string.gmatch(rest, '(%w+)=(%d+),(%d+),(%d+);') do
          if not QUOTA[kind] or period == h.P then
            if is_mine then
              mine[kind] = { held = tonumber(units), used = tonumber(used) }
            else
              held[kind] = (held[kind] or 0) + tonumber(units)
              idle[kind] = (idle[kind] or 0) + math.max(0, tonumber(units) - tonumber(reserved))
            end
          end
        end
      end
    end
  end

  local holds = {}
  for _ = 1, number() do
    local kind, limit, window = text(), number(), number()
    local used, reported, backlog = number(), number(), number()
    local reserved, needed, smallest, ahead, largest = number(), number(), number(), number(), number()
    local before = mine[kind]
    local level, wait, reset = 0, 0, 0
    if QUOTA[kind] then
      level = used_of[kind]
    elseif window > 0 then
      local more = backlog
      if before then more = used - before.used elseif is_known then more = used - reported end
      more = math.max(0, more)
      if slides then
        local width = math.ceil(window / (SLOTS - 1))
        local ring = slid(h['w:' .. kind], width)
        local place = 1 + ring.newest % SLOTS
        ring[place] = ring[place] + more
        ring.total = ring.total + more
        level = ring.total
        local over = level + largest - limit
        if over > 0 then wait = leaves(ring, width, over) end
        if level > 0 then reset = leaves(ring, width, level) end
        local counts = { whole(ring.newest) }
        for i = 1, SLOTS do counts[i + 1] = whole(ring[i]) end
        set('w:' .. kind, table.concat(counts, ' '))
      else
        level = leaked(h['l:' .. kind], limit, window) + more
        if limit > 0 then
          wait = math.max(0, level + largest - limit) * window / limit
          reset = level * window / limit
        end
        set('l:' .. kind, exact(level) .. ' ' .. whole(now))
      end
    end

    local room = limit - level - (held[kind] or 0)
    local base = reserved + needed
    local hold
    if base <= room then
      local more = math.min(ahead, math.floor((room - base) / (2 * nodes)))
      -- For whole requests.
      more = more - more % largest
      hold = base + more
    else
      -- Not for a request that is too large: others may fit.
      local free = math.floor(math.max(room - reserved, 0))
      if free >= largest then
        hold = reserved + math.min(needed, free)
      elseif needed > 0 and free >= smallest then
        hold = reserved + smallest
      else
        hold = reserved
      end
    end
    -- What was promised before, and may be in use by now.
    if before then
      local kept = math.max(0, before.held - math.max(0, used - before.used))
      hold = math.max(hold, math.min(base + ahead, kept))
    end
    if QUOTA[kind] and not is_current then hold = 0 end
    holds[#holds + 1] = kind .. '=' .. whole(hold) .. ',' .. whole(used) .. ',' .. whole(reserved) .. ';'

    local percent, others, by = 0, 0, ''
    if QUOTA[kind] and is_current then
      local reached = 0
      for _, warn in ipairs(warns) do
        if level * 100 >= limit * warn and warn > reached then reached = warn end
      end
      if refused[kind] then reached = 100 end
      local stored = h['t:' .. kind] or ''
      local p, l, o, process_of = string.match(stored, '^(%d+) (%S+) (%d+) (.*)$')
      if p and l == whole(limit) then percent, others, by = tonumber(p), tonumber(o), process_of end
      if reached > percent then
        if by ~= process then others = percent end
        percent, by = reached, process
        set('t:' .. kind, whole(percent) .. ' ' .. whole(limit) .. ' ' .. whole(others) .. ' ' .. process)
      end
    end

    local is_spent = window > 0 and level > limit or QUOTA[kind] and level >= limit
    tell(whole(hold))
    tell(exact(level))
    tell(whole(math.floor(room - hold)))
    tell(whole(idle[kind] or 0))
    tell(is_spent and '1' or '0')
    tell(whole(math.ceil(wait)))
    tell(whole(math.ceil(reset)))
    tell(whole(percent))
    tell(whole(by == process and others or percent))
  end
  set('n:' .. process, whole(now + lease) .. ' ' .. (h.P or '0') .. ' ' .. table.concat(holds))

  -- Lua passes some thousand values at once.
  for i = 1, #gone, 1000 do
    redis.call('HDEL', key, unpack(gone, i, math.min(i + 999, #gone)))
  end
  for i = 1, #changes, 1000 do
    redis.call('HSET', key, unpack(changes, i, math.min(i + 999, #changes)))
  end
  if keep > 0 then redis.call('PEXPIRE', key, keep) else redis.call('PERSIST', key) end
end
return out
