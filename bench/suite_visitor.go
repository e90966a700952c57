package main

import "github.com/parley-chat/parley/bench/report"

func visitorIdle() benchmark {
	return benchmark{
		name:  "visitor-idle",
		title: "15,000 idle visitors on one process, of whom a thousand a second send a message and are answered.",
		method: "The visitors are raw WebSocket connections of another process, each greeted and with a name by which it can be reached. " +
			"The memory is the proportional set size of the server's process with all of them, without what it has with nobody, for each. " +
			"The CPU time is the server's of a whole round: all connect, and then the messages. Ours: the gateway with the embedded NATS server, " +
			"a token made for each, and a ping of the page as the message. centrifuge: one node in memory, a channel for each, an RPC that echoes; with the settings " +
			"that it has for many idle connections (small read buffers, pooled write buffers, commands off the read loop).",
		counted: true, prepare: true, crowd: true, sessions: 15_000, window: 1000, jobs: 10_000, repeats: 5,
		contenders: []contender{
			ourContender("Parley's gateway, with its bus", "visitor-idle"),
			goContender("centrifuge", "Centrifuge, one node", "visitor-centrifuge"),
		},
		promises: []promise{
			{suffix: "memory", measure: report.ConnectionMemory, against: "32 KiB", limit: 32 << 10, bar: 1},
			{suffix: "centrifuge-memory", measure: report.ConnectionMemory, against: "centrifuge", bar: 1},
			{suffix: "centrifuge-cpu", measure: report.ConnectionCPU, against: "centrifuge", bar: 1},
		},
	}
}
