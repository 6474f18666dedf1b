-- wrk's figures on one line, and the credentials from the environment rather than from the list of processes.
--
-- AUTHORIZATION is sent with every request. Where REQUESTS names a file, its lines are what is asked for, in turn: a path, and
-- after a tab what to send as Authorization instead.

if os.getenv("AUTHORIZATION") then
  wrk.headers["Authorization"] = os.getenv("AUTHORIZATION")
end
wrk.headers["Accept"] = "application/vnd.oci.image.manifest.v1+json, */*"

local requests, at = {}, 0

-- Each different line is made into a request once: while it is measured, only the next one is taken.
local function prepare(file)
  local made = {}
  for line in io.lines(file) do
    if not made[line] then
      local path, authorization = line:match("^([^\t]*)\t(.*)$")
      local headers = {}
      for name, value in pairs(wrk.headers) do headers[name] = value end
      if authorization then headers["Authorization"] = authorization end
      made[line] = wrk.format("GET", path or line, headers)
    end
    requests[#requests + 1] = made[line]
  end
  -- Not always from the first: each run is to see other draws.
  at = tonumber(os.getenv("REQUESTS_FROM") or 0) % #requests
end

-- Only a script with this function is asked before every request.
if os.getenv("REQUESTS") then
  function init()
    prepare(os.getenv("REQUESTS"))
  end

  function request()
    at = at % #requests + 1
    return requests[at]
  end
end

-- RESULT requests microseconds bytes bad-answers other-errors p50-microseconds p99-microseconds
function done(summary, latency, _)
  local e = summary.errors
  io.write(string.format("RESULT %d %d %d %d %d %d %d\n", summary.requests, summary.duration, summary.bytes, e.status,
    e.connect + e.read + e.write + e.timeout, latency:percentile(50), latency:percentile(99)))
end
