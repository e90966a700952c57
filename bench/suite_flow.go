package main

import "github.com/parley-chat/parley/bench/report"

func ingestBatch() benchmark {
	return benchmark{
		name:  "ingest-batch",
		title: "Events of Segment's batch endpoint, a hundred in a request, stored and answered; 8 senders at once, every write flushed to disk.",
		method: "Ours: `POST /v1/batch` over HTTP on loopback to the edge; every event is proved, parsed, made one of a known visitor, checked against its schema, " +
			"and stored once, with the marker by which its repetition is known; then the sender gets its answer. The senders are in the process. " +
			"raw: the same events, made before, by nats.go in atomic batches of a hundred, 8 at once, into the same kind of stream on the same " +
			"kind of server; no HTTP, no parsing, no marker. p50 and p99 are those of a request, and of a batch.",
		prepare: true, sessions: 1000, window: 8, jobs: 16000, repeats: 7,
		contenders: []contender{
			ourContender("Parley's edge", "ingest-batch"),
			goContender("raw", "nats.go, atomic batches", "ingest-raw-batch"),
		},
		promises: []promise{{measure: report.PerSecond, against: "raw", bar: 0.8, atLeast: true}},
	}
}

func ingestSingle() benchmark {
	return benchmark{
		name:  "ingest-single",
		title: "Events of Segment's single endpoint, one in a request, stored and answered; 64 senders at once, every write flushed to disk.",
		method: "Ours: `POST /v1/track` over HTTP on loopback to the edge, as in `ingest-batch`. " +
			"raw: the same events, made before, each published by nats.go, 64 at once, on the same kind of server.",
		prepare: true, sessions: 1000, window: 64, jobs: 3200, repeats: 7,
		contenders: []contender{
			ourContender("Parley's edge", "ingest-single"),
			goContender("raw", "nats.go, one publish for each", "ingest-raw-single"),
		},
		promises: []promise{{measure: report.PerSecond, against: "raw", bar: 0.8, atLeast: true}},
	}
}

func eventPath() benchmark {
	return benchmark{
		name:  "event-path",
		title: "The way of an event through a workflow: received, looked at, and for one in ten a command published.",
		method: "A round publishes its events, of 2,000 new visitors, first and measures then. Ours: one workflow, `if: trigger.properties.size > 10`, run by the engine: every event " +
			"is handled exactly once, and a run is kept for each command. The engine begins anew in every round, and asks which visitors have a record; no worker answers, so that the round's runs stay under way. The embedded server is in the CPU time of both. " +
			"Both count what they published as it happens; our commands are counted on the stream as well, by their ids, between the rounds and outside of the time. " +
			"watermill: a handler of its router with the same condition in Go, its JetStream subscriber and publisher, asynchronous acks; " +
			"no state, and at least once. Redpanda Connect is not measured: the module with its NATS components is not under an open-source licence as a whole.",
		prepare: true, sessions: 2000, window: 1000, jobs: 40_000, repeats: 5,
		contenders: []contender{
			ourContender("Parley: one workflow, exactly once", "event-path"),
			goContender("watermill", "Watermill's router, at least once", "event-watermill"),
		},
		promises: []promise{{measure: report.PerCPU, against: "watermill", bar: 2, atLeast: true}},
	}
}

func eventCommand() benchmark {
	return benchmark{
		name:  "event-command",
		title: "From an event to the command that follows from it, at 500 events a second; and what more workflows cost.",
		method: "Ours: 200 workflows, each with an event of its own, and 10,000 runs that wait; 500 events a second, each of which starts a run that sends a command. " +
			"The time is from when the event was due to be published until the command is taken from the queue, as a worker takes it. " +
			"The reference is the promised time. thousand and ten: 1,000 and 10 workflows, as many waiting runs, and events that lie there before " +
			"the engine begins; one in ten starts a run. The time per event is from the first of them that is handled to the last.",
		counted: true, sessions: 10_000, window: 100, jobs: 8000, repeats: 5,
		contenders: []contender{
			ourContender("Parley, 200 workflows, 500 events/s", "event-command"),
			{name: "thousand", what: "Parley, 1,000 workflows, events that lie there", command: []string{self(), "contend"}, job: "event-rules-1000"},
			{name: "ten", what: "Parley, 10 workflows, events that lie there", command: []string{self(), "contend"}, job: "event-rules-10"},
		},
		promises: []promise{
			{suffix: "p50", measure: report.P50, against: "20 ms", limit: 20e3, bar: 1},
			{suffix: "p99", measure: report.P99, against: "100 ms", limit: 100e3, bar: 1},
			{suffix: "growth", who: "thousand", measure: report.PerEvent, against: "ten", bar: 1.5},
		},
	}
}

func timersWaiting() benchmark {
	return benchmark{
		name:  "timers",
		title: "A million timers that wait, and ten thousand that are due within a minute.",
		method: "Timers are set as runs of workflows set them, each of a visitor of its own: a million that are due in a day or later, and in every round " +
			"ten thousand at random times of one minute. Memory is that of the process with its server (PSS), disk that of its folder, without what both were before. " +
			"Lateness is from when a timer is due until its message is read. None may be early, and none may fire twice. The references are promised.",
		counted: true, sessions: 1_000_000, jobs: 10_000, repeats: 5,
		contenders: []contender{ourContender("Parley", "timers")},
		promises: []promise{
			{suffix: "p99", measure: report.P99, against: "5 s", limit: 5e6, bar: 1},
			{suffix: "memory", measure: report.TimerMemory, against: "1 KiB", limit: 1024, bar: 1},
			{suffix: "disk", measure: report.TimerDisk, against: "1 KiB", limit: 1024, bar: 1},
		},
	}
}

func backtesting() benchmark {
	return benchmark{
		name:  "backtest",
		title: "A back-test of a million stored events.",
		method: "The history is of 14 days and 50,000 visitors, who come and go. Two workflows run over it: one sends a command for every tenth event; the other one " +
			"waits for a day, and does so once a day, so that the visitors of about three days are remembered at a time. All is read from the stream; the server is in the process. " +
			"The most memory of the second half is held against that of the first.",
		prepare: true, window: 1000, jobs: 1_000_000, repeats: 5,
		contenders: []contender{ourContender("Parley", "backtest")},
		promises: []promise{
			{suffix: "memory", measure: report.PeakSecond, against: "ours", than: report.PeakFirst, bar: 1.1},
			{suffix: "speed", measure: report.PerCPU, against: "10,000/s", limit: 10_000, bar: 1, atLeast: true},
		},
	}
}
