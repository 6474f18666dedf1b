// Loads a registry as benches/*.sh ask it to, and prints what came of it as `name=value` pairs on one line.
//
//	load push       clients that push artifacts of 1 KiB, to one repository or to many
//	load upload     clients that push blobs of one size by POST, PATCH, PUT
//	load fill       many small blobs in many repositories of a store, and the list of their paths
//	load read       clients that read one URL over TLS, by HTTP/1.1 or HTTP/2
//	load list       all pages of a list, and how long the first and all of them took
//	load tokens     a bearer token for each of many users
//	load draw       paths drawn from a list, by Zipf's law or each once
//	load clone      copies of what one name has in a directory, under many names
//	load blobs      a store's directories of many empty blobs
//	load await      the moment at which a server answers
//
// The credentials come from the environment (AUTHORIZATION), never from the list of processes.
package main

import (
	"fmt"
	"os"
	"sort"
	"sync"
)

var commands = map[string]func([]string) error{
	"push":   push,
	"upload": upload,
	"fill":   fill,
	"read":   read,
	"list":   list,
	"tokens": tokens,
	"draw":   draw,
	"clone":  clone,
	"blobs":  blobs,
	"await":  await,
}

func main() {
	if len(os.Args) < 2 || commands[os.Args[1]] == nil {
		var names []string
		for name := range commands {
			names = append(names, name)
		}
		sort.Strings(names)
		fmt.Fprintf(os.Stderr, "usage: load COMMAND [FLAG...], COMMAND one of %v\n", names)
		os.Exit(2)
	}
	if err := commands[os.Args[1]](os.Args[2:]); err != nil {
		fmt.Fprintf(os.Stderr, "load %s: %v\n", os.Args[1], err)
		os.Exit(1)
	}
}

// inParallel runs work so many times at once, numbered from 0, and waits for all.
func inParallel(count int, work func(n int)) {
	var all sync.WaitGroup
	for n := range count {
		all.Add(1)
		go func() {
			defer all.Done()
			work(n)
		}()
	}
	all.Wait()
}
