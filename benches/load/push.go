package main

import (
	"flag"
	"fmt"
	"time"
)

// together runs work for each client at once, and waits for all.
func together(clients []*client, work func(n int, c *client)) {
	inParallel(len(clients), func(n int) { work(n, clients[n]) })
}

// push: every client pushes artifacts, one after the other, until the time is over. A push that is under way then is finished and
// counted, and the clock runs until the last one is.
func push(arguments []string) error {
	flags := flag.NewFlagSet("push", flag.ExitOnError)
	base := flags.String("base", "", "the registry's URL")
	pid := flags.Int("pid", 0, "the server's process")
	count := flags.Int("clients", 200, "how many push at once")
	repositories := flags.Int("repositories", 1, "over how many repositories they are spread")
	prefix := flags.String("prefix", "bench/push", "what the repositories' names begin with")
	seconds := flags.Float64("seconds", 5, "how long")
	seed := flags.Uint64("seed", 1, "makes content and tags of a run its own")
	_ = flags.Parse(arguments)

	clients, err := newClients(*base, *count)
	if err != nil {
		return err
	}
	names := make([]string, *repositories)
	for n := range names {
		names[n] = fmt.Sprintf("%s-%d", *prefix, n)
	}
	if err := prepare(clients, names, *seed); err != nil {
		return err
	}
	span := begin(*pid)
	until := span.began.Add(time.Duration(*seconds * float64(time.Second)))
	together(clients, func(n int, c *client) {
		repository := names[n%len(names)]
		for i := uint64(0); time.Now().Before(until); i++ {
			blob := content(1024, *seed, uint64(n), i)
			began := time.Now()
			err := c.putArtifact(repository, fmt.Sprintf("s%d-c%d-%d", *seed, n, i), blob)
			span.done(time.Since(began), int64(len(blob)), err)
		}
	})
	span.tell()
	return nil
}

// prepare opens every client's connection, and pushes to each repository the configuration that all artifacts share and a first
// artifact: what a server does once for a repository is not measured.
func prepare(clients []*client, names []string, seed uint64) error {
	errs := make([]error, len(clients))
	together(clients, func(n int, c *client) {
		if _, _, errs[n] = c.do("GET", "/v2/", "", nil, 200); errs[n] != nil {
			return
		}
		for at := n; at < len(names) && errs[n] == nil; at += len(clients) {
			if errs[n] = c.putBlob(names[at], emptyConfig); errs[n] == nil {
				errs[n] = c.putArtifact(names[at], fmt.Sprintf("s%d-first", seed), content(1024, seed, 1<<32, uint64(at)))
			}
		}
	})
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// upload: so many new blobs of one size.
func upload(arguments []string) error {
	flags := flag.NewFlagSet("upload", flag.ExitOnError)
	base := flags.String("base", "", "the registry's URL")
	pid := flags.Int("pid", 0, "the server's process")
	clients := flags.Int("clients", 1, "how many push at once")
	repository := flags.String("repository", "bench/push", "where to")
	size := flags.Int("bytes", 1_000_000, "of one blob")
	count := flags.Int("count", 10, "how many blobs, by all clients together")
	seed := flags.Uint64("seed", 1, "makes the content of a run its own")
	_ = flags.Parse(arguments)

	pushers, err := newClients(*base, *clients)
	if err != nil {
		return err
	}
	// Made and hashed before the clock starts, all of them: what the client does meanwhile is only to send.
	type blob struct {
		bytes  []byte
		digest string
	}
	made := make([][]blob, *clients)
	together(pushers, func(n int, _ *client) {
		for i := n; i < *count; i += *clients {
			bytes := content(*size, *seed, uint64(n), uint64(i))
			made[n] = append(made[n], blob{bytes, digestOf(bytes)})
		}
	})
	span := begin(*pid)
	together(pushers, func(n int, c *client) {
		for _, blob := range made[n] {
			began := time.Now()
			err := c.streamBlob(*repository, blob.bytes, blob.digest)
			span.done(time.Since(began), int64(len(blob.bytes)), err)
		}
	})
	span.tell()
	return nil
}
