package main

import (
	"bufio"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"sort"
)

// draw: lines of a file, drawn by Zipf's law with exponent 1 (the line of rank k k times more seldom than the first), or each of them
// once in random order. Which line has which rank is drawn, too, so that no directory has all that is popular.
func draw(arguments []string) error {
	flags := flag.NewFlagSet("draw", flag.ExitOnError)
	from := flags.String("from", "", "the file of lines")
	count := flags.Int("count", 200_000, "how many draws; 0: each line once")
	seed := flags.Uint64("seed", 1, "of the draws; the ranks are the same for all")
	_ = flags.Parse(arguments)

	lines, err := readLines(*from)
	if err != nil {
		return err
	}
	rand.New(rand.NewPCG(1, 1)).Shuffle(len(lines), func(a, b int) { lines[a], lines[b] = lines[b], lines[a] })
	out := bufio.NewWriter(os.Stdout)
	if *count == 0 {
		for _, line := range lines {
			fmt.Fprintln(out, line)
		}
		return out.Flush()
	}
	sums, sum := make([]float64, len(lines)), 0.0
	for rank := range lines {
		sum += 1 / float64(rank+1)
		sums[rank] = sum
	}
	random := rand.New(rand.NewPCG(*seed, 2))
	for range *count {
		fmt.Fprintln(out, lines[sort.SearchFloat64s(sums, random.Float64()*sum)])
	}
	return out.Flush()
}

func readLines(path string) ([]string, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	var lines []string
	scanner := bufio.NewScanner(file)
	for scanner.Scan() {
		lines = append(lines, scanner.Text())
	}
	if err := scanner.Err(); err != nil {
		return nil, err
	}
	if len(lines) == 0 {
		return nil, fmt.Errorf("%s is empty", path)
	}
	return lines, nil
}
