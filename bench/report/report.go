// Package report keeps what the benchmarks measured, and tells it to people: a
// line for the terminal, the page docs/benchmarks.md, and the charts in it.
package report

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"

	"github.com/parley-chat/parley/bench/contend"
)

// Results is all that bench/results.json holds.
type Results struct {
	// Benchmarks are in the order in which the page shows them.
	Benchmarks []Benchmark `json:"benchmarks"`
	// Faults are the recorded runs with faults. They come from files of their own.
	Faults []FaultRun `json:"-"`
}

// Benchmark is the last full run of one benchmark.
type Benchmark struct {
	Name string `json:"name"`
	// Title says what is measured, Method how, in sentences.
	Title  string `json:"title"`
	Method string `json:"method"`
	// Date is the day of the run, and Machine where it ran.
	Date    string  `json:"date"`
	Machine Machine `json:"machine"`
	// Repeats is how many rounds each contender did, Jobs how many jobs a round
	// has.
	Repeats    int         `json:"repeats"`
	Jobs       int         `json:"jobs"`
	Contenders []Contender `json:"contenders"`
	Lines      []Line      `json:"lines"`
}

// Machine is where a benchmark ran.
type Machine struct {
	CPU      string `json:"cpu"`
	Cores    int    `json:"cores"`
	System   string `json:"system"`
	Go       string `json:"go"`
	Node     string `json:"node,omitempty"`
	Chromium string `json:"chromium,omitempty"`
}

// Contender is what one contender reached, round by round.
type Contender struct {
	Name string `json:"name"`
	// What says in a few words what it is.
	What string `json:"what"`
	// Values are by the name of the measure, then by round.
	Values map[Measure][]float64 `json:"values"`
}

// Measure is something that is measured in every round.
type Measure string

// The measures.
const (
	P50        Measure = "p50_us"
	P99        Measure = "p99_us"
	PerSecond  Measure = "jobs_per_second"
	PerCPU     Measure = "jobs_per_cpu_second"
	CPU        Measure = "cpu_us_per_job"
	ClientCPU  Measure = "client_cpu_us_per_job"
	BrowserCPU Measure = "browser_cpu_us_per_job"
	// See package contend for the others.
	MemoryHeld    Measure = contend.MemoryHeld
	P99One        Measure = contend.P99One
	PerWorker     Measure = contend.PerWorker
	FailoverKill  Measure = contend.FailoverKill
	FailoverStop  Measure = contend.FailoverStop
	FailoverPause Measure = contend.FailoverPause
	RestoresShort Measure = contend.RestoresShort
	RestoresLong  Measure = contend.RestoresLong
	PerEvent      Measure = contend.PerEvent
	PerThousand   Measure = contend.CallsPerThousand
	Sustained     Measure = contend.SessionsPerSecond
	TimerMemory   Measure = contend.TimerMemory
	TimerDisk     Measure = contend.TimerDisk
	PeakFirst     Measure = contend.PeakFirst
	PeakSecond    Measure = contend.PeakSecond

	ConnectionMemory Measure = contend.ConnectionMemory
	ConnectionCPU    Measure = contend.ConnectionCPU

	LCP        Measure = contend.LCP
	Blocking   Measure = contend.Blocking
	MainThread Measure = contend.MainThread
	OwnTask    Measure = contend.OwnTask
	PageBytes  Measure = contend.PageBytes
	OwnBytes   Measure = contend.OwnBytes
	EchoP50    Measure = contend.EchoP50
	EchoP99    Measure = contend.EchoP99
)

// measures is the order of the columns.
func measures() []Measure {
	return []Measure{
		MemoryHeld, P99One, PerWorker, FailoverKill, FailoverStop, FailoverPause,
		P50, P99, PerSecond, PerCPU, CPU, ClientCPU, BrowserCPU, RestoresShort, RestoresLong,
		PerEvent, PerThousand, Sustained, TimerMemory, TimerDisk, PeakFirst, PeakSecond, ConnectionMemory, ConnectionCPU,
		LCP, Blocking, MainThread, OwnTask, PageBytes, OwnBytes, EchoP50, EchoP99,
	}
}

// title is the measure's name for people.
func (m Measure) title() string {
	switch m {
	case P50:
		return "p50"
	case P99:
		return "p99"
	case PerSecond:
		return "per second"
	case PerCPU:
		return "per CPU-second"
	case CPU:
		return "CPU per job"
	case ClientCPU:
		return "client CPU per job"
	case BrowserCPU:
		return "Chromium CPU per job"
	case MemoryHeld:
		return "memory per session"
	case P99One:
		return "p99 of one session"
	case PerWorker:
		return "per second and worker"
	case FailoverKill:
		return "SIGKILL, p99"
	case FailoverStop:
		return "SIGTERM, p99"
	case FailoverPause:
		return "SIGSTOP of 5 s, p99"
	case RestoresShort:
		return "restores, 2 min"
	case RestoresLong:
		return "restores, 30 min"
	case PerEvent:
		return "time per event"
	case PerThousand:
		return "calls per 1,000 events"
	case Sustained:
		return "sessions per second"
	case TimerMemory:
		return "memory per timer"
	case TimerDisk:
		return "disk per timer"
	case PeakFirst:
		return "peak memory, first half"
	case PeakSecond:
		return "peak memory, second half"
	case ConnectionMemory:
		return "memory per connection"
	case ConnectionCPU:
		return "CPU per connection"
	case LCP:
		return "LCP"
	case Blocking:
		return "blocking time"
	case MainThread:
		return "main thread"
	case OwnTask:
		return "longest task of ours"
	case PageBytes:
		return "bytes of the page"
	case OwnBytes:
		return "bytes of ours"
	case EchoP50:
		return "echo, p50"
	case EchoP99:
		return "echo, p99"
	}
	return string(m)
}

// show writes a value with its unit.
func (m Measure) show(v float64) string {
	switch m {
	case PerSecond, PerCPU, PerWorker, Sustained:
		return number(v) + "/s"
	case MemoryHeld, PeakFirst, PeakSecond:
		return number(v/(1<<20)) + "MiB"
	case TimerMemory, TimerDisk, ConnectionMemory, PageBytes, OwnBytes:
		return number(v) + "B"
	case PerEvent, P50, P99, P99One, CPU, ClientCPU, BrowserCPU, FailoverKill, FailoverStop, FailoverPause, ConnectionCPU,
		LCP, Blocking, MainThread, OwnTask, EchoP50, EchoP99:
		switch {
		case v >= 1e6:
			return number(v/1e6) + "s"
		case v >= 1e3:
			return number(v/1e3) + "ms"
		}
		return number(v) + "us"
	case RestoresShort, RestoresLong, PerThousand:
	}
	return number(v)
}

// number writes three digits that count.
func number(v float64) string {
	switch {
	case v >= 100:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case v >= 10:
		return strconv.FormatFloat(v, 'f', 1, 64)
	}
	return strconv.FormatFloat(v, 'f', 2, 64)
}

// Line is one promise: ours beside a reference of the same run.
type Line struct {
	Name    string  `json:"name"`
	Measure Measure `json:"measure"`
	Against string  `json:"against"`
	// Ours and Reference are medians over the rounds.
	Ours      float64 `json:"ours"`
	Reference float64 `json:"reference"`
	// Min, Median and Max are of the ratios of the rounds: ours of a round
	// through the reference of the same round.
	Min    float64 `json:"min"`
	Median float64 `json:"median"`
	Max    float64 `json:"max"`
	Bar    float64 `json:"bar"`
	// AtLeast says that the ratio is to be at least the bar, not at most.
	AtLeast bool `json:"at_least"`
}

// OK reports whether the median of the ratios keeps the promise.
func (l Line) OK() bool { return l.margin() >= 1 }

// margin is above 1 when there is room to the bar, and below when it is short.
func (l Line) margin() float64 {
	if l.AtLeast {
		return l.Median / l.Bar
	}
	return l.Bar / l.Median
}

// String is the line for the terminal.
func (l Line) String() string {
	return fmt.Sprintf("%s ours=%s reference=%s ratio=%.2f (%.2f/%.2f/%.2f) bar=%s %s",
		l.Name, l.Measure.show(l.Ours), l.Measure.show(l.Reference),
		l.Median, l.Min, l.Median, l.Max, l.bar(), l.verdict())
}

func (l Line) bar() string {
	if l.AtLeast {
		return fmt.Sprintf(">=%.2f", l.Bar)
	}
	return fmt.Sprintf("<=%.2f", l.Bar)
}

func (l Line) verdict() string {
	if l.OK() {
		return "ok"
	}
	return "short"
}

// Closest returns the line with the least room to its bar, under the
// benchmark's own name: it stands for the benchmark.
func (b Benchmark) Closest() Line {
	line := slices.MinFunc(b.Lines, func(a, b Line) int {
		if a.margin() < b.margin() {
			return -1
		}
		return 1
	})
	line.Name = b.Name
	return line
}

// Compare makes the line of two contenders from their rounds.
func Compare(l Line, ours, reference []float64) (Line, error) {
	if len(ours) == 0 || len(ours) != len(reference) {
		return l, fmt.Errorf("%s: %d rounds of ours, %d of %s", l.Name, len(ours), len(reference), l.Against)
	}
	ratios := make([]float64, len(ours))
	for i := range ours {
		if ours[i] <= 0 || reference[i] <= 0 {
			return l, fmt.Errorf("%s: round %d measured nothing: ours %g, %s %g", l.Name, i+1, ours[i], l.Against, reference[i])
		}
		ratios[i] = ours[i] / reference[i]
	}
	l.Ours, l.Reference = Median(ours), Median(reference)
	l.Min, l.Median, l.Max = slices.Min(ratios), Median(ratios), slices.Max(ratios)
	return l, nil
}

// Median returns the middle value. The values need no order.
func Median(values []float64) float64 { return contend.Percentile(values, 50) }

// Load reads the results. A file that does not exist holds none.
func Load(file string) (Results, error) {
	var r Results
	text, err := os.ReadFile(file) //nolint:gosec // the caller's file.
	if errors.Is(err, fs.ErrNotExist) {
		return r, nil
	}
	if err != nil {
		return r, fmt.Errorf("reading the results: %w", err)
	}
	if err := json.Unmarshal(text, &r); err != nil {
		return r, fmt.Errorf("reading %s: %w", file, err)
	}
	return r, nil
}

// With returns the results with the benchmark in the place of its name, in the
// order of names. Those without a name in the order are left out.
func (r Results) With(b Benchmark, order []string) Results {
	kept := slices.DeleteFunc(slices.Clone(r.Benchmarks), func(old Benchmark) bool {
		return old.Name == b.Name || !slices.Contains(order, old.Name)
	})
	kept = append(kept, b)
	slices.SortFunc(kept, func(a, b Benchmark) int {
		return slices.Index(order, a.Name) - slices.Index(order, b.Name)
	})
	return Results{Benchmarks: kept, Faults: r.Faults}
}

// Save writes the results.
func (r Results) Save(file string) error {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("encoding the results: %w", err)
	}
	if err := os.WriteFile(file, append(text, '\n'), 0o644); err != nil { //nolint:gosec // for everybody to read.
		return fmt.Errorf("writing the results: %w", err)
	}
	return nil
}
