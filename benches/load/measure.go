package main

import (
	"fmt"
	"os"
	"sort"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// A span of time in which clients work, and what it cost them and the server.
type span struct {
	pid    int
	began  time.Time
	ticks  int64
	client time.Duration

	mutex  sync.Mutex
	times  []time.Duration
	bytes  int64
	failed int
	first  error
}

// begin starts the clock. The server's clock ticks are counted where its process is given.
func begin(pid int) *span {
	return &span{pid: pid, began: time.Now(), ticks: ticksOf(pid), client: ownCPU()}
}

// done counts one piece of work.
func (s *span) done(took time.Duration, bytes int64, err error) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if err != nil {
		s.failed++
		if s.first == nil {
			s.first = err
		}
		return
	}
	s.times = append(s.times, took)
	s.bytes += bytes
}

// tell prints the figures; what failed is said on standard error, too.
func (s *span) tell() {
	took := time.Since(s.began)
	ticks, client := ticksOf(s.pid)-s.ticks, ownCPU()-s.client
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if s.failed > 0 {
		fmt.Fprintf(os.Stderr, "load: %d failed, the first: %v\n", s.failed, s.first)
	}
	sort.Slice(s.times, func(a, b int) bool { return s.times[a] < s.times[b] })
	fmt.Printf("count=%d micros=%d bytes=%d errors=%d p50=%d p99=%d ticks=%d client-micros=%d\n", len(s.times), took.Microseconds(), s.bytes,
		s.failed, s.percentile(50).Microseconds(), s.percentile(99).Microseconds(), ticks, client.Microseconds())
}

// percentile of sorted times: the least that so many in a hundred do not exceed.
func (s *span) percentile(p int) time.Duration {
	if len(s.times) == 0 {
		return 0
	}
	return s.times[(len(s.times)*p+99)/100-1]
}

// ticksOf is the clock ticks of CPU that a process has used with all its threads; 0 without a process.
func ticksOf(pid int) int64 {
	if pid == 0 {
		return 0
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	// The name in the second field may hold spaces and brackets: the fields are counted from the last bracket.
	text := string(stat)
	fields := strings.Fields(text[strings.LastIndexByte(text, ')')+1:])
	user, _ := strconv.ParseInt(fields[11], 10, 64)
	system, _ := strconv.ParseInt(fields[12], 10, 64)
	return user + system
}

func ownCPU() time.Duration {
	var usage syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &usage) != nil {
		return 0
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
