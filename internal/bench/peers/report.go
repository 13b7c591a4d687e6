package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"time"
)

// report is what is printed, and appended to a file if it has a name.
type report struct {
	file string
	err  error // the first one of writing the file
}

func (r *report) Write(p []byte) (int, error) {
	r.print(string(p))
	return len(p), nil
}

func (r *report) print(text string) {
	fmt.Print(text)
	if r.file == "" || r.err != nil {
		return
	}
	f, err := os.OpenFile(r.file, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err == nil {
		_, err = f.WriteString(text)
		err = errors.Join(err, f.Close())
	}
	r.err = err
}

// begin says what is measured where and when.
func (r *report) begin(ctx context.Context, mail string) error {
	versions, err := exec.CommandContext(ctx, "dpkg-query", append([]string{"-W", "-f", "${Package} ${Version}, "}, packages()...)...).Output()
	if err != nil {
		return fmt.Errorf("versions of the peers: %w", err)
	}
	revision, err := exec.CommandContext(ctx, "git", "describe", "--always", "--dirty").Output()
	if err != nil {
		revision = []byte("outside of git")
	}
	r.print(fmt.Sprintf("\n%s, %s, %d processors, %s, Linux %s; mail: %s; load %s.\nPostkeep %s with %s; %s.\n",
		time.Now().UTC().Format("2006-01-02 15:04 UTC"), field("/proc/cpuinfo", "model name"), runtime.NumCPU(), field("/proc/meminfo", "MemTotal"),
		firstLine("/proc/sys/kernel/osrelease"), mail, load(),
		strings.TrimSpace(string(revision)), runtime.Version(), strings.TrimSuffix(string(versions), ", ")))
	return r.err
}

func load() string {
	one, _, _ := strings.Cut(firstLine("/proc/loadavg"), " ")
	return one
}

func firstLine(name string) string {
	data, err := os.ReadFile(name)
	if err != nil {
		return "unknown"
	}
	line, _, _ := strings.Cut(string(data), "\n")
	return line
}

// field is the value of "name : value" in a file.
func field(file, name string) string {
	data, err := os.ReadFile(file)
	if err != nil {
		return "unknown"
	}
	_, rest, _ := strings.Cut(string(data), name)
	line, _, _ := strings.Cut(rest, "\n")
	return strings.TrimLeft(line, " \t:")
}

// contender is something that is measured, in turns with others.
type contender struct {
	name string
	most int // rounds, 0 is all of them
	// messages and octets are what it deals with, for rates; 0 if they are of no interest.
	messages, octets int64
	run              func(ctx context.Context) (result, error)
}

// result is one measurement.
type result struct {
	usage
	disk int64 // bytes it left, 0 if that is of no interest
}

// turns measures all contenders, one after the other, again and again, and prints a table. The first
// one is what the others are compared with.
func (b *bench) turns(ctx context.Context, title string, contenders []contender) error {
	contenders = slices.DeleteFunc(contenders, func(c contender) bool { return !b.wanted.MatchString(c.name) })
	if len(contenders) == 0 {
		return nil
	}
	results, failed := make([][]result, len(contenders)), make([]int, len(contenders))
	loads := []string{load()}
	for round := range b.pairs {
		for i, c := range contenders {
			if c.most > 0 && round >= c.most {
				continue
			}
			r, err := c.run(ctx)
			if err != nil && (i == 0 || ctx.Err() != nil) {
				return fmt.Errorf("%s: %w", c.name, err)
			}
			if err != nil { // a peer may fail, which is a result
				fmt.Fprintf(os.Stderr, "%s: %s: %v\n", title, c.name, err)
				failed[i]++
				continue
			}
			fmt.Fprintf(os.Stderr, "%s: %s: %.2f s, CPU %.2f s, load %s\n", title, c.name, r.wall.Seconds(), r.cpu.Seconds(), load())
			results[i] = append(results[i], r)
		}
		loads = append(loads, load())
	}
	b.report.print(fmt.Sprintf("\n### %s\n\n%d rounds, load %s.\n\n", title, b.pairs, strings.Join(loads, " ")))
	rated := slices.ContainsFunc(contenders, func(c contender) bool { return c.octets > 0 })
	b.report.print("| | s, median (least to most) | ratio | CPU s | RSS MiB | RssAnon MiB | disk MB |")
	if rated {
		b.report.print(" messages/s | MB/s |")
	}
	b.report.print("\n|---|--:|--:|--:|--:|--:|--:|" + strings.Repeat("--:|", map[bool]int{true: 2}[rated]) + "\n")
	for i, c := range contenders {
		if failed[i] > 0 {
			c.name += fmt.Sprintf(", failed in %d rounds", failed[i])
		}
		b.report.print(row(c.name, results[i], results[0]) + c.rates(results[i]) + "\n")
	}
	return b.report.err
}

// rates are the last cells of a row, of the median of the times.
func (c *contender) rates(results []result) string {
	if c.octets == 0 || len(results) == 0 {
		return ""
	}
	wall, messages := spreadOf(results, func(r result) float64 { return r.wall.Seconds() }).median, ""
	if c.messages > 0 {
		messages = fmt.Sprintf("%.0f", float64(c.messages)/wall)
	}
	return fmt.Sprintf(" %s | %.0f |", messages, float64(c.octets)/1e6/wall)
}

// row is a line of the table. The ratio is the median of those of the rounds.
func row(name string, results, first []result) string {
	if len(results) == 0 {
		return fmt.Sprintf("| %s | | | | | | |", name)
	}
	wall := spreadOf(results, func(r result) float64 { return r.wall.Seconds() })
	cpu := spreadOf(results, func(r result) float64 { return r.cpu.Seconds() })
	ratios := make([]float64, len(results))
	for i := range results {
		ratios[i] = results[i].wall.Seconds() / first[i].wall.Seconds()
	}
	mib := func(get func(result) int64) string {
		return fmt.Sprintf("%.0f", spreadOf(results, func(r result) float64 { return float64(get(r)) / (1 << 20) }).most)
	}
	disk := ""
	if results[0].disk > 0 {
		disk = fmt.Sprintf("%.1f", spreadOf(results, func(r result) float64 { return float64(r.disk) / 1e6 }).median)
	}
	return fmt.Sprintf("| %s | %.2f (%.2f to %.2f) | %.2f | %.2f | %s | %s | %s |", name, wall.median, wall.least, wall.most, spread(ratios).median,
		cpu.median, mib(func(r result) int64 { return r.rss }), mib(func(r result) int64 { return r.anon }), disk)
}

type summary struct{ least, median, p95, p99, most float64 }

func spreadOf(results []result, get func(result) float64) summary {
	values := make([]float64, len(results))
	for i, r := range results {
		values[i] = get(r)
	}
	return spread(values)
}

// spread sorts values, of which there is at least one.
func spread(values []float64) summary {
	slices.Sort(values)
	at := func(q float64) float64 { return values[int(q*float64(len(values)-1)+0.5)] }
	return summary{values[0], at(0.5), at(0.95), at(0.99), values[len(values)-1]}
}
