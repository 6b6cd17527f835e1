// Command coverage prints the statement coverage of each top-level folder from a text profile and fails below a minimum.
//
// The profile may hold a block several times (unit tests, the real binaries in integration tests): a block counts as covered when any run reached it. Generated code does not count.
package main

import (
	"bufio"
	"flag"
	"fmt"
	"os"
	"sort"
	"strconv"
	"strings"
)

const module = "github.com/agentidp/agentidp/"

func main() {
	minimum := flag.Float64("min", 80, "percent that no folder may fall below")
	list := flag.Bool("packages", false, "list packages as well")
	flag.Parse()
	if err := run(flag.Arg(0), *minimum, *list); err != nil {
		fmt.Fprintln(os.Stderr, "coverage:", err)
		os.Exit(1)
	}
}

type block struct {
	statements int
	covered    bool
}

type sum struct{ statements, covered int }

func (s sum) percent() float64 { return 100 * float64(s.covered) / float64(s.statements) }

func run(profile string, minimum float64, packages bool) error {
	blocks, err := read(profile)
	if err != nil {
		return err
	}
	folders, pkgs := map[string]*sum{}, map[string]*sum{}
	for position, b := range blocks {
		file, _, _ := strings.Cut(position, ":")
		file = strings.TrimPrefix(file, module)
		folder, _, _ := strings.Cut(file, "/")
		add(folders, folder, b)
		add(pkgs, file[:strings.LastIndex(file, "/")], b)
	}
	if packages {
		show(pkgs)
		fmt.Println()
	}
	show(folders)
	var low []string
	for name, s := range folders {
		if s.percent() < minimum {
			low = append(low, fmt.Sprintf("%s %.1f %%", name, s.percent()))
		}
	}
	sort.Strings(low)
	if len(low) > 0 {
		return fmt.Errorf("below %.0f %%: %s", minimum, strings.Join(low, ", "))
	}
	return nil
}

func add(sums map[string]*sum, name string, b block) {
	if sums[name] == nil {
		sums[name] = &sum{}
	}
	sums[name].statements += b.statements
	if b.covered {
		sums[name].covered += b.statements
	}
}

func show(sums map[string]*sum) {
	names := make([]string, 0, len(sums))
	for n := range sums {
		names = append(names, n)
	}
	sort.Strings(names)
	for _, n := range names {
		fmt.Printf("  coverage  %-42s %6.1f %%  (%d of %d statements)\n", n, sums[n].percent(), sums[n].covered, sums[n].statements)
	}
}

func read(profile string) (map[string]block, error) {
	f, err := os.Open(profile)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	blocks := map[string]block{}
	scan := bufio.NewScanner(f)
	scan.Buffer(nil, 1<<20)
	for scan.Scan() {
		fields := strings.Fields(scan.Text())
		if len(fields) != 3 || skipped(fields[0]) {
			continue
		}
		statements, err := strconv.Atoi(fields[1])
		if err != nil {
			return nil, fmt.Errorf("%s: %q: %w", profile, scan.Text(), err)
		}
		b := blocks[fields[0]]
		b.statements = statements
		b.covered = b.covered || fields[2] != "0"
		blocks[fields[0]] = b
	}
	if err := scan.Err(); err != nil {
		return nil, err
	}
	if len(blocks) == 0 {
		return nil, fmt.Errorf("%s holds no blocks", profile)
	}
	return blocks, nil
}

// skipped: generated code, and code that runs only to build or to test.
func skipped(position string) bool {
	file, _, _ := strings.Cut(position, ":")
	return strings.HasSuffix(file, ".gen.go") || strings.HasSuffix(file, ".pb.go") || strings.HasSuffix(file, ".sql.go") || strings.Contains(file, "/postgres/gen/")
}
