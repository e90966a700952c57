package main

import "github.com/parley-chat/parley/bench/report"

func visitorOpen() benchmark {
	return benchmark{
		name:  "visitor-open",
		title: "From an event of a visitor's to the chat that is seen open in the tab that he looks at.",
		method: "The event is published on the stream; a workflow sends `botstar.widget.open`; the worker has it done through the gateway in the visitor's own tab, a Chromium whose page carries `parley.js`; " +
			"the window's own callback and a look at the frame prove it; the result is durable. The widget is booted before, and closed again after each, which is not in the time. " +
			"The echo is a ping of another visitor's raw WebSocket through the same gateway, after each opening.",
		counted: true, pages: true, jobs: 100, repeats: 5,
		contenders: []contender{ourContender("Parley, event to verified window", "visitor-open")},
		promises: []promise{
			{suffix: "p50", measure: report.P50, against: "ours", than: report.EchoP50, bar: 500},
			{suffix: "p99", measure: report.P99, against: "ours", than: report.EchoP99, bar: 500},
		},
	}
}

func pageWeight() benchmark {
	const script = "weight.mjs"
	return benchmark{
		name:  "page-weight",
		title: "What a chat costs the page that carries it: the shop's product page without one, with the vendor's snippet, and with Parley.",
		method: "Each round is one visit, in a fresh browser context, of the same page with another chat, on a main thread that is slowed down four times, until a second after the load event. " +
			"Parley's gateway is a real one, and the page connects to it; the widget comes with the first command, and there is none. " +
			"LCP and blocking time are the browser's own; blocking of less than a millisecond counts as one. The main thread's time is all of its tasks. " +
			"A further visit with the browser's trace tells the longest task in which a script of ours ran. Bytes are of bodies as they travel.",
		counted: true, pages: true, shop: true, jobs: 1, repeats: 40,
		contenders: []contender{
			nodeContender("ours", "Parley, the widget when it is needed", script, chatParley),
			nodeContender("none", "no chat", script, chatNone),
			nodeContender("vendor", "the vendor's snippet alone", script, chatVendor),
		},
		promises: []promise{
			{suffix: "lcp", measure: report.LCP, against: "none", bar: 1.05},
			{suffix: "blocking", measure: report.Blocking, against: "vendor", bar: 0.5},
			{suffix: "main-thread", measure: report.MainThread, against: "vendor", bar: 0.8},
			{suffix: "bytes", measure: report.OwnBytes, against: "5,000 bytes", limit: 5000, bar: 1},
			{suffix: "task", measure: report.OwnTask, against: "50 ms", limit: 50e3, bar: 1},
		},
	}
}

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
