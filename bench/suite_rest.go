package main

import "github.com/parley-chat/parley/bench/report"

func restAction() benchmark {
	ours := func(name, what string) contender {
		return contender{name: name, what: what, command: []string{self(), "contend"}, job: name}
	}
	return benchmark{
		name:  "rest-action",
		title: "A user of BotStar read, changed, and read back by the REST API; one after another.",
		method: "Ours: `botstar.users.get` and `botstar.users.update`, each run and verified: three calls over TLS, with the token's look-up, limits, retries and checks of the answers. " +
			"rest-bare: the same three calls by net/http, and one comparison. Each has the stand-in in its own process, so its time is in both. " +
			"rest-bus: the same two actions as commands on the bus, one after the other, taken by a whole worker and answered with durable results. " +
			"It has two ways through the bus more, and what it stores is flushed to disk; it has no bar.",
		jobs: 1000, repeats: 7,
		contenders: []contender{
			ourContender("Parley's actions, verified", "rest-action"),
			ours("rest-bare", "net/http, three calls"),
			ours("rest-bus", "Parley's worker, by the bus"),
		},
		promises: []promise{{suffix: "p50", measure: report.P50, against: "rest-bare", bar: 1.3}},
	}
}
