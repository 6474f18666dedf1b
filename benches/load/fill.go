package main

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// How many workers fill a store at once: it is the filesystem that they wait for.
const fillers = 4

// What a server wrote for a template: a file's path from the store's directory, and what is in it.
type written struct{ path, content string }

// fill: many blobs of 1 KiB in many repositories, written as a server has written the template, a blob of 1 KiB in a repository
// whose name ends in r0000: the same files under other digests and other names. Their paths in the API are printed, one a line.
// Pushing 100,000 blobs would take longer than all else of the benchmark.
func fill(arguments []string) error {
	flags := flag.NewFlagSet("fill", flag.ExitOnError)
	store := flags.String("store", "", "the directory of a server that does not run")
	repository := flags.String("repository", "bench/many/r0000", "the template's repository")
	digest := flags.String("digest", "", "the template's digest")
	objects := flags.Int("objects", 100_000, "how many blobs")
	repositories := flags.Int("repositories", 1000, "in how many repositories")
	_ = flags.Parse(arguments)

	base, numbered := strings.CutSuffix(*repository, "r0000")
	_, hex, sha := strings.Cut(*digest, "sha256:")
	if !numbered || !sha {
		return errors.New("the repository must end in r0000, the digest be of sha256")
	}
	template, err := writtenFor(*store, hex)
	if err != nil {
		return err
	}
	name := func(n int) string { return fmt.Sprintf("%sr%04d", base, n%*repositories) }
	errs := make([]error, fillers)
	lines := make([][]string, fillers)
	inParallel(fillers, func(worker int) {
		for n := worker; n < *objects && errs[worker] == nil; n += fillers {
			blob := content(1024, 1, 0, uint64(n))
			made := digestOf(blob)
			lines[worker] = append(lines[worker], "/v2/"+name(n)+"/blobs/"+made)
			rename := strings.NewReplacer(
				"/"+hex[:2]+"/"+hex, "/"+made[7:9]+"/"+made[7:],
				hex, made[7:],
				"/"+*repository+"/", "/"+name(n)+"/",
			)
			errs[worker] = writeLike(*store, template, rename, string(blob))
		}
	})
	if err := errors.Join(errs...); err != nil {
		return err
	}
	out := bufio.NewWriter(os.Stdout)
	for _, some := range lines {
		for _, line := range some {
			fmt.Fprintln(out, line)
		}
	}
	return out.Flush()
}

// writtenFor finds the files whose path has the digest in it.
func writtenFor(store, hex string) ([]written, error) {
	var found []written
	err := filepath.WalkDir(store, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.Contains(path, hex) {
			return err
		}
		content, err := os.ReadFile(path)
		found = append(found, written{strings.TrimPrefix(path, store), string(content)})
		return err
	})
	if err == nil && len(found) < 2 {
		err = fmt.Errorf("%s has no blob and no link of %s", store, hex)
	}
	return found, err
}

// writeLike writes the template's files for another blob.
func writeLike(store string, template []written, rename *strings.Replacer, blob string) error {
	for _, file := range template {
		path := filepath.Join(store, rename.Replace(file.path))
		content := rename.Replace(file.content)
		if filepath.Base(path) == "data" {
			content = blob
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			return err
		}
	}
	return nil
}
