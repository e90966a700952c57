package main

import "github.com/parley-chat/parley/bench/report"

func memoryHeld() benchmark {
	full := nodeContender("puppeteer-full", "puppeteer-core, a context each, on full Chromium", "puppeteer.mjs", "memory-full")
	full.binary = wholeBrowser
	return benchmark{
		name:  "memory-held",
		title: "A hundred visitors at once, each isolated from the others: the memory of the browsers for each, and whether all still answer.",
		method: "Every round begins with a new browser. The memory is the proportional set size (smaps_rollup) of all browser processes " +
			"with all sessions held, and after they have done their jobs, without what the browser uses with no session. " +
			"Ours: a browser context for each visitor, on a light page; a job is a command, verified; the p99 is taken with one session, " +
			"and then with all. The peers: a context for each visitor, as puppeteer-cluster makes them, the shop's product page; a job is one `evaluate`.",
		pages: true, prepare: true, memory: true, sessions: 100, window: 1, jobs: 600, repeats: 5,
		contenders: []contender{
			ourContender("Parley, light page", "memory-held"),
			nodeContender("puppeteer", "puppeteer-core, a context each", "puppeteer.mjs", "memory"),
			full,
		},
		promises: []promise{
			{suffix: "puppeteer", measure: report.MemoryHeld, against: "puppeteer", bar: 0.4},
			{suffix: "puppeteer-full", measure: report.MemoryHeld, against: "puppeteer-full", bar: 0.2},
			{suffix: "p99", measure: report.P99, against: "ours", than: report.P99One, bar: 3},
		},
	}
}

func rehydrate() benchmark {
	return benchmark{
		name:  "rehydrate",
		title: "A command for a hibernated session, until its result is verified; one after another.",
		method: "Ours: `botstar.widget.open` or `botstar.widget.close` for a session that is stored and has no page: its page is opened, made as the " +
			"last one was, and the command done and verified. Then the session is hibernated again. " +
			"The peer boots the same visitor anew, as in `cold-session`. Hibernating and closing are in the CPU time of both.",
		pages: true, sessions: 15, jobs: 15, repeats: 5,
		contenders: []contender{
			ourContender("Parley, from a snapshot", "rehydrate"),
			nodeContender("cluster", "puppeteer-cluster CONCURRENCY_CONTEXT, cold", "cluster.mjs", "cold"),
		},
		promises: []promise{
			{suffix: "p50", measure: report.P50, against: "cluster", bar: 0.5},
			{suffix: "cpu", measure: report.CPU, against: "cluster", bar: 0.5},
		},
	}
}

func ownershipCost() benchmark {
	return benchmark{
		name:  "ownership-cost",
		title: "What it costs that every command has one owner, and is done once.",
		method: "Twenty held sessions, one action after another, as in `warm-action`. Ours: partition leases, fences and effect records. " +
			"unowned: the same worker and browser, whose commands come from one consumer that workers share, with no lease, no fence and no effect record.",
		pages: true, sessions: 20, window: 1, jobs: 600, repeats: 7,
		contenders: []contender{
			ourContender("Parley", "warm-action"),
			{name: "unowned", what: "Parley without ownership and effect records", command: []string{self(), "contend"}, job: "unowned"},
		},
		promises: []promise{
			{suffix: "p50", measure: report.P50, against: "unowned", bar: 1.25},
			{suffix: "cpu", measure: report.CPU, against: "unowned", bar: 1.25},
		},
	}
}

func snapshots() benchmark {
	return benchmark{
		name:  "snapshots",
		title: "A session of 50 KB saved and loaded again; one after another.",
		method: "Half of the bytes are random, as tokens are; half are JSON. Ours: encoded, compressed, sealed, stored by compare-and-set, " +
			"read, opened, decompressed, decoded. raw: the same bytes put and got by nats.go. " +
			"raw-leader: the same, where only the leader of the bucket answers a get, as it does for ours, so that nobody goes on with a session's past.",
		sessions: 50, jobs: 500, repeats: 7,
		contenders: []contender{
			ourContender("Parley's store", "snapshots"),
			goContender("raw", "nats.go, put and get", "raw-kv"),
			goContender("raw-leader", "nats.go, put and get from the leader", "raw-kv-leader"),
		},
		promises: []promise{
			{suffix: "p50", measure: report.P50, against: "raw", bar: 1.5},
			{suffix: "cpu", measure: report.CPU, against: "raw", bar: 1.5},
		},
	}
}

func failover() benchmark {
	limit := func(suffix, what string, m report.Measure, us float64) promise {
		return promise{suffix: suffix, measure: m, against: what, limit: us, bar: 1}
	}
	return benchmark{
		name:  "failover",
		title: "One of three worker processes is lost under 500 commands a second: how long its partitions wait.",
		method: "Real worker processes on one NATS server, without a browser: an action takes 20 ms. A round kills one worker (SIGKILL), ends one " +
			"(SIGTERM), and stops one for 5 s (SIGSTOP). The time of a partition is from the signal, or from when there was a command for it, until the " +
			"result of the first action on another worker is stored. The reference is the promised time. Every command must succeed. " +
			"What the same does to a cluster, and that nothing is lost or done twice, is what `make cluster-test` counts.",
		counted: true, jobs: 3, repeats: 7,
		contenders: []contender{ourContender("Parley", "failover")},
		promises: []promise{
			limit("kill", "1 s", report.FailoverKill, 1e6),
			limit("stop", "300 ms", report.FailoverStop, 300e3),
			limit("pause", "2.5 s", report.FailoverPause, 2.5e6),
		},
	}
}

// idealRate is what a worker with lanes lanes can do at most in a second, when
// an action takes 20 ms.
const (
	lanes     = 4
	idealRate = lanes * 1000 / 20
)

func scaleOut() benchmark {
	full := func(suffix, who string) promise {
		return promise{suffix: suffix, who: who, measure: report.PerWorker, against: "ideal", limit: idealRate, bar: 0.9, atLeast: true}
	}
	return benchmark{
		name:  "scale-out",
		title: "One, two and four worker processes with more to do than they can: what each of them does.",
		method: "Real worker processes with 4 lanes each on one NATS server, without a browser: an action takes 20 ms. So 200 actions a second are " +
			"ideal for each worker, and two cores suffice for four. All commands of a round are there at once, for 128 sessions. " +
			"The time is from the first publication to the last result.",
		counted: true, window: lanes, jobs: 640, repeats: 5,
		contenders: []contender{
			ourContender("Parley, four workers", "scale-4"),
			{name: "two", what: "Parley, two workers", command: []string{self(), "contend"}, job: "scale-2"},
			{name: "one", what: "Parley, one worker", command: []string{self(), "contend"}, job: "scale-1"},
		},
		promises: []promise{full("4", "ours"), full("2", "two"), full("1", "one")},
	}
}
