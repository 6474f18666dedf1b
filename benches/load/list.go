package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"strings"
	"time"
)

// list: follows a list's pages to the end. Names must come in order, none twice.
func list(arguments []string) error {
	flags := flag.NewFlagSet("list", flag.ExitOnError)
	base := flags.String("base", "", "the registry's URL")
	path := flags.String("path", "/v2/_catalog", "the list, with its query")
	pid := flags.Int("pid", 0, "the server's process")
	_ = flags.Parse(arguments)

	c, err := newClient(*base)
	if err != nil {
		return err
	}
	if _, _, err := c.do("GET", "/v2/", "", nil, 200); err != nil {
		return err
	}
	var names, pages int
	var last string
	var first time.Duration
	span := begin(*pid)
	for next := *path; next != ""; pages++ {
		began := time.Now()
		header, body, err := c.do("GET", next, "", nil, 200)
		if err != nil {
			return err
		}
		var page struct{ Tags, Repositories []string }
		if err := json.Unmarshal(body, &page); err != nil {
			return err
		}
		if pages == 0 {
			first = time.Since(began)
		}
		for _, name := range append(page.Tags, page.Repositories...) {
			if name <= last {
				return fmt.Errorf("page %d: %q comes after %q", pages+1, name, last)
			}
			last = name
			names++
		}
		next = linked(header.Get("Link"))
	}
	fmt.Printf("names=%d pages=%d first-micros=%d all-micros=%d ticks=%d\n", names, pages, first.Microseconds(),
		time.Since(span.began).Microseconds(), ticksOf(*pid)-span.ticks)
	return nil
}

// linked is the URL of a Link header, if there is one.
func linked(header string) string {
	_, rest, found := strings.Cut(header, "<")
	target, _, closed := strings.Cut(rest, ">")
	if !found || !closed {
		return ""
	}
	return target
}
