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
		method: "A round publishes its events first and measures then. Ours: one workflow, `if: trigger.properties.size > 10`, run by the engine: every event " +
			"is handled exactly once, and a run is kept for each command. The embedded server is in the CPU time of both. " +
			"watermill: a handler of its router with the same condition in Go, its JetStream subscriber and publisher, asynchronous acks; " +
			"no state, and at least once. Redpanda Connect is not measured: the module with its NATS components is not under an open-source licence as a whole.",
		prepare: true, sessions: 1000, window: 1000, jobs: 20000, repeats: 7,
		contenders: []contender{
			ourContender("Parley: one workflow, exactly once", "event-path"),
			goContender("watermill", "Watermill's router, at least once", "event-watermill"),
		},
		promises: []promise{{measure: report.PerCPU, against: "watermill", bar: 2, atLeast: true}},
	}
}
