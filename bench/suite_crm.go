package main

import (
	"github.com/parley-chat/parley/bench/report"
	"github.com/parley-chat/parley/internal/crm/pgserver"
)

// intoDatabase is a contender of ours with a database. Where PostgreSQL is not
// installed, a look whether it runs at all leaves it out.
func intoDatabase(name, what, job, kind string) contender {
	c := contender{name: name, what: what, command: []string{self(), "contend"}, job: job + "-" + kind}
	if kind == "postgres" {
		c.binary = pgserver.Program()
	}
	return c
}

func crmRecord() benchmark {
	bar := func(suffix, who string, of report.Measure, against string, us float64) promise {
		return promise{suffix: suffix, who: who, measure: of, against: against, limit: us, bar: 1}
	}
	return benchmark{
		name:  "crm-record",
		title: "From the end of a chat to its row in the CRM, at 200 chats a second.",
		method: "200 visitors a second become known and open their chat, and as many close theirs: 600 messages a second, of which each is flushed to disk by the embedded server in the process. " +
			"The time is from when the closing was due to be published until the row that says so is committed, flushed to disk too. Each chat becomes a row when it opens, and that row is changed when it closes. " +
			"All rows are counted in the end. The settings are those that databases have by default: changes of a visitor are collected for 20 ms. The references are promised.",
		counted: true, jobs: 4000, repeats: 5,
		contenders: []contender{
			intoDatabase("ours", "Parley into SQLite", "crm-record", "sqlite"),
			intoDatabase("postgres", "Parley into PostgreSQL", "crm-record", "postgres"),
		},
		promises: []promise{
			bar("sqlite-p50", "ours", report.P50, "100 ms", 100e3), bar("sqlite-p99", "ours", report.P99, "500 ms", 500e3),
			bar("postgres-p50", "postgres", report.P50, "100 ms", 100e3), bar("postgres-p99", "postgres", report.P99, "500 ms", 500e3),
		},
	}
}

func crmSustained() benchmark {
	return benchmark{
		name:  "crm-sustained",
		title: "Chats that become rows in the CRM, as many as go on for a minute.",
		method: "Ours: chats happen as fast as they become rows, with up to 2,000 on their way. For each one three messages are stored by the embedded server in the process, read, folded, " +
			"written as a contact and a chat, and remembered as written. loop: a loop without Parley, without a log and without a memory, which prepares its statements and writes contact and chat in one transaction when the chat opens, " +
			"and again when it closes, as one that hears of events does; into PostgreSQL as many loops at once as ours has connections. It writes the same columns by the same upsert, into a database with the same settings. " +
			"Every commit of all is flushed to disk. Ours hears of opening and closing of a chat soon after each other here, and writes what it hears of within 20 ms at once. " +
			"The jobs are seconds; all rows are counted after each round.",
		counted: true, sessions: 2000, window: 1, jobs: 60, repeats: 5,
		contenders: []contender{
			intoDatabase("ours", "Parley into SQLite", "crm-sustained", "sqlite"),
			intoDatabase("loop", "upserts into SQLite", "crm-loop", "sqlite"),
			intoDatabase("postgres", "Parley into PostgreSQL", "crm-sustained", "postgres"),
			intoDatabase("loop-postgres", "upserts into PostgreSQL, four loops", "crm-loop", "postgres"),
		},
		promises: []promise{
			{suffix: "sqlite", measure: report.Sustained, against: "loop", bar: 0.7, atLeast: true},
			{suffix: "postgres", who: "postgres", measure: report.Sustained, against: "loop-postgres", bar: 0.7, atLeast: true},
		},
	}
}

func crmCalls() benchmark {
	return benchmark{
		name:  "crm-calls",
		title: "Calls to HubSpot for a thousand events of fifty chats.",
		method: "Each visitor becomes known, opens and closes the chat nine times within seven seconds, and changes a field in the end: twenty events, and fifty visitors at the same time. " +
			"The settings are the default ones: what happens within two seconds is collected. The stand-in counts all calls, with those that read the account's properties; " +
			"in the end it has each contact and each note once, tied together, with the last state, or the round fails. The reference is one call for each event.",
		counted: true, jobs: 50, repeats: 5,
		contenders: []contender{ourContender("Parley, HubSpot's stand-in", "crm-calls")},
		promises:   []promise{{measure: report.PerThousand, against: "a call each", limit: 1000, bar: 0.05}},
	}
}
