-- GCRA for several limits. KEYS: who is counted. ARGV: 'together' or 'apart', then for each key the microseconds one request takes and the burst.
-- A value is when its bucket is full again, in microseconds of this server's clock. Answers late and used for each key, in microseconds.
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local together = ARGV[1] == 'together'
local stored = redis.call('MGET', unpack(KEYS))
local full, late, interval, within = {}, {}, {}, true
for i = 1, #KEYS do
  interval[i] = tonumber(ARGV[2 * i])
  local window = interval[i] * tonumber(ARGV[2 * i + 1])
  full[i] = math.min(math.max(tonumber(stored[i] or 0) or 0, now), now + window)
  late[i] = math.max(full[i] + interval[i] - now - window, 0)
  if late[i] < 0.5 then late[i] = 0 end -- what doubles of this size cannot tell from nothing
  if late[i] > 0 then within = false end
end
local answer = {}
for i = 1, #KEYS do
  local taken = late[i] == 0 and (within or not together)
  if taken then full[i] = full[i] + interval[i] end
  if taken or late[i] > 0 then -- what is refused is kept, too: by a limit that has changed it may be less than what is stored
    redis.call('SET', KEYS[i], string.format('%.2f', full[i]), 'PX', math.ceil((full[i] - now) / 1000) + 1)
  end
  answer[2 * i - 1] = math.ceil(late[i])
  answer[2 * i] = math.ceil(full[i] - now)
end
return answer
