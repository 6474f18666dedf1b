-- wrk's figures on one line, and the credentials from the environment rather than from the list of processes.

if os.getenv("AUTHORIZATION") then
  wrk.headers["Authorization"] = os.getenv("AUTHORIZATION")
end
wrk.headers["Accept"] = "application/vnd.oci.image.manifest.v1+json, */*"

-- RESULT requests microseconds bytes bad-answers other-errors p50-microseconds p99-microseconds
function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format("RESULT %d %d %d %d %d %d %d\n", summary.requests, summary.duration, summary.bytes, e.status,
    e.connect + e.read + e.write + e.timeout, latency:percentile(50), latency:percentile(99)))
end
