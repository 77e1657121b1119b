-- Notes that a process is there, takes what it tells the others, and tells it what they have told.
-- KEYS: the processes by the time at which they were there last, and the stream of messages.
-- ARGV: process, lease in microseconds, whether it ends, the last message that it knows, and its messages.
-- Returns the time in microseconds, the last message, how many processes there are, how many others of them have the same
-- name, and the age in milliseconds and the text of each new message.
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local process, lease, ends, last = ARGV[1], tonumber(ARGV[2]), ARGV[3] == '1', ARGV[4]
-- A process that begins learns what is a minute old.
local RECENT_MS = 60000
local MOST = 256

if ends then
  redis.call('ZREM', KEYS[1], process)
else
  redis.call('ZADD', KEYS[1], now, process)
end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - lease)
redis.call('PEXPIRE', KEYS[1], math.floor(lease / 1000))

for i = 5, #ARGV do
  redis.call('XADD', KEYS[2], 'MAXLEN', '~', 4 * MOST, '*', 'p', process, 'm', ARGV[i])
end
if #ARGV > 4 then redis.call('PEXPIRE', KEYS[2], RECENT_MS) end

if last == '' then last = string.format('%.0f-0', now / 1000 - RECENT_MS) end
local processes = redis.call('ZRANGE', KEYS[1], 0, -1)
local name = string.match(process, '^[^/]*/')
local mates = 0
for _, other in ipairs(processes) do
  if other ~= process and string.sub(other, 1, #name) == name then mates = mates + 1 end
end
local out = { string.format('%.0f', now), last, tostring(#processes), tostring(mates) }
local entries = redis.pcall('XRANGE', KEYS[2], '(' .. last, '+', 'COUNT', MOST)
if entries.err then
  redis.call('DEL', KEYS[2])
  entries = {}
end
for _, entry in ipairs(entries) do
  out[2] = entry[1]
  if entry[2][2] ~= process and entry[2][4] then
    local sent = tonumber(string.match(entry[1], '^%d+'))
    out[#out + 1] = string.format('%.0f', math.max(0, now / 1000 - sent))
    out[#out + 1] = entry[2][4]
  end
end
return out
