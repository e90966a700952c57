package report

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// intro begins the page.
const intro = `# Benchmarks

<!-- Written by "make bench" from bench/results.json. Do not edit. -->

A figure is a ratio of two things that were measured in the same run, on the same
machine, in turns: ours, then each reference, then the other way round. What a
machine of yours shows will differ; the ratios should not differ much. Where the
reference is a number that was promised ("limit"), it is the same on every machine.

- ` + "`make bench`" + ` measures all of them and writes this page;
  ` + "`make bench ONLY=<name>`" + ` measures one, and fails when it is short of its bar.
- A contender is a process of its own ([bench/](../bench)). The peers are in
  [bench/peers](../bench/peers), with pinned versions. All see the same stand-in
  pages, served from outside of the processes that are measured, and the same
  Chromium program unless it is said otherwise.
- Every Chromium runs with its sandbox on, as an unprivileged user.
- CPU time is read from /proc for the contender's process ("client") and for
  everything that it started ("Chromium"), from quiet to quiet: what a round
  leaves to be done afterwards is counted. Where our client is measured, the
  embedded NATS server, the worker and the egress proxy are in it.
- The first round warms up and does not count.
- "ratio" is ours through the reference; the bar is a promise for the median.
`

// Page returns the text of docs/benchmarks.md.
func (r Results) Page() string {
	var b strings.Builder
	b.WriteString(intro)
	for _, bench := range r.Benchmarks {
		bench.section(&b)
	}
	r.faults(&b)
	return b.String()
}

// section writes one benchmark.
func (b Benchmark) section(to *strings.Builder) {
	fmt.Fprintf(to, "\n## %s\n\n%s\n\n%s\n\n", b.Name, b.Title, b.Method)
	fmt.Fprintf(to, "%d rounds of %d jobs each, on %s. %s.\n\n", b.Repeats, b.Jobs, b.Date, b.Machine)
	to.WriteString("| promise | measure | against | ours | reference | ratio: min / median / max | bar | |\n")
	to.WriteString("| --- | --- | --- | --- | --- | --- | --- | --- |\n")
	for _, l := range b.Lines {
		fmt.Fprintf(to, "| `%s` | %s | %s | %s | %s | %.2f / **%.2f** / %.2f | %s | %s |\n",
			l.Name, l.Measure.title(), l.Against, l.Measure.show(l.Ours), l.Measure.show(l.Reference),
			l.Min, l.Median, l.Max, l.bar(), l.verdict())
	}
	fmt.Fprintf(to, "\n![%s](img/bench-%s.svg)\n\n", b.Title, b.Name)
	b.table(to)
	fmt.Fprintf(to, "\nAgain: `make bench ONLY=%s`\n", b.Name)
}

// Table returns what every contender reached, as the page shows it.
func (b Benchmark) Table() string {
	var to strings.Builder
	b.table(&to)
	return to.String()
}

// table writes what every contender reached: the median of its rounds.
func (b Benchmark) table(to *strings.Builder) {
	columns := slices.DeleteFunc(measures(), func(m Measure) bool {
		return !slices.ContainsFunc(b.Contenders, func(c Contender) bool { return Median(c.Values[m]) > 0 })
	})
	to.WriteString("| contender |")
	for _, m := range columns {
		to.WriteString(" " + m.title() + " |")
	}
	to.WriteString("\n|" + strings.Repeat(" --- |", len(columns)+1) + "\n")
	for _, c := range b.Contenders {
		fmt.Fprintf(to, "| %s |", c.What)
		for _, m := range columns {
			if v := Median(c.Values[m]); v > 0 {
				to.WriteString(" " + m.show(v) + " |")
			} else {
				to.WriteString(" – |")
			}
		}
		to.WriteByte('\n')
	}
}

// String describes the machine in one sentence, without its full stop.
func (m Machine) String() string {
	parts := []string{fmt.Sprintf("%s, %d cores", m.CPU, m.Cores), m.System, m.Go}
	for name, version := range map[string]string{"Chromium": m.Chromium, "Node": m.Node} {
		if version != "" {
			parts = append(parts, name+" "+version)
		}
	}
	slices.Sort(parts[3:])
	return strings.Join(parts, "; ")
}

// Write writes the page and its charts below the folder of the documents.
func (r Results) Write(docs string) error {
	images := filepath.Join(docs, "img")
	if err := os.MkdirAll(images, 0o755); err != nil { //nolint:gosec // for everybody to read.
		return fmt.Errorf("making the folder of the charts: %w", err)
	}
	files := map[string]string{filepath.Join(docs, "benchmarks.md"): r.Page()}
	for _, b := range r.Benchmarks {
		files[filepath.Join(images, "bench-"+b.Name+".svg")] = b.Chart()
	}
	for file, text := range files {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil { //nolint:gosec // for everybody to read.
			return fmt.Errorf("writing the page of the benchmarks: %w", err)
		}
	}
	return nil
}
