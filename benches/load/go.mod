// The clients of the benchmark that wrk cannot be, and what fills stores for it. Nothing but the standard library.
module regatta.dev/benches/load

go 1.24.0
