package main

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// clone: what a server made for one name, once more for many others. Every child of a directory whose name begins with
// <prefix>000000 is copied, with all below it, as <prefix>000001 and so on, by hard links: a registry's store holds files that are
// never written again.
func clone(arguments []string) error {
	flags := flag.NewFlagSet("clone", flag.ExitOnError)
	directory := flags.String("directory", "", "where the children are")
	prefix := flags.String("prefix", "", "what their names begin with, before the number")
	count := flags.Int("count", 100_000, "how many there shall be, the first included")
	_ = flags.Parse(arguments)

	template := *prefix + "000000"
	children, err := os.ReadDir(*directory)
	if err != nil {
		return err
	}
	cloner := cloner{sources: map[string]string{}}
	found := false
	for _, child := range children {
		suffix, matches := strings.CutPrefix(child.Name(), template)
		if !matches {
			continue
		}
		found = true
		for n := 1; n < *count; n++ {
			name := fmt.Sprintf("%s%06d%s", *prefix, n, suffix)
			if err := cloner.copy(filepath.Join(*directory, child.Name()), filepath.Join(*directory, name)); err != nil {
				return err
			}
		}
	}
	if !found {
		return fmt.Errorf("%s has nothing that begins with %s", *directory, template)
	}
	return nil
}

// A file can have some ten thousand links only: which one is linked to by now.
type cloner struct{ sources map[string]string }

func (c *cloner) copy(from, to string) error {
	return filepath.WalkDir(from, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		target := to + strings.TrimPrefix(path, from)
		if entry.IsDir() {
			return os.Mkdir(target, 0o755)
		}
		return c.link(path, target)
	})
}

func (c *cloner) link(path, target string) error {
	source, known := c.sources[path]
	if !known {
		source = path
	}
	err := os.Link(source, target)
	if !errors.Is(err, syscall.EMLINK) {
		return err
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	c.sources[path] = target
	return os.WriteFile(target, content, 0o644)
}

// blobs: the directories of many blobs, as docker/registry/v2/blobs/sha256/<2 hex>/<hex>/data, empty, without anything that names
// them. One worker a core.
func blobs(arguments []string) error {
	flags := flag.NewFlagSet("blobs", flag.ExitOnError)
	store := flags.String("store", "", "the store's directory")
	count := flags.Int("count", 1_000_000, "how many")
	_ = flags.Parse(arguments)

	root := filepath.Join(*store, "docker/registry/v2/blobs/sha256")
	const workers = 2
	errs := make([]error, workers)
	inParallel(workers, func(worker int) { errs[worker] = makeBlobs(root, worker, workers, *count) })
	return errors.Join(errs...)
}

// makeBlobs makes those whose first byte is the worker's, all of one directory after the other: that spares the disk.
func makeBlobs(root string, worker, workers, count int) error {
	for first := worker; first < 256; first += workers {
		above := filepath.Join(root, hex.EncodeToString([]byte{byte(first)}))
		if err := os.MkdirAll(above, 0o755); err != nil {
			return err
		}
		for n := first; n < count; n += 256 {
			sum := sha256.Sum256(binary.BigEndian.AppendUint64(nil, uint64(n)))
			sum[0] = byte(first)
			directory := filepath.Join(above, hex.EncodeToString(sum[:]))
			if err := os.Mkdir(directory, 0o755); err != nil {
				return err
			}
			if err := os.WriteFile(filepath.Join(directory, "data"), nil, 0o644); err != nil {
				return err
			}
		}
	}
	return nil
}
