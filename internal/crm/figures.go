package crm

import (
	"sync/atomic"
	"time"
)

// stats are the figures of a target.
type stats struct {
	calls, failed, items, written, retried, rejected, saved, stale, coalesced, folded, commits, refused, bisected, changes, updates, echoes atomic.Uint64
	behind, dirty                                                                                                                           atomic.Int64
	leads                                                                                                                                   atomic.Bool
}

// Figures are what a target counted. Only the leader's rise.
type Figures struct {
	// Leads says that this process serves the target.
	Leads bool
	// Folded are the messages of the log that were read.
	Folded uint64
	// Calls to the connector, and those that failed.
	Calls, Failed uint64
	// Written are the items that the CRM took, Retried those that it did not take
	// for now, and Rejected those that it will not.
	Written, Retried, Rejected uint64
	// Coalesced are changes that went along with another one, Saved writes that
	// were not needed, Stale those that the CRM had newer, and Bisected the calls
	// that were halved to find an item.
	Coalesced, Saved, Stale, Bisected uint64
	// Changes are contacts that the CRM told as changed, Updates what visitors were
	// told of it, and Echoes those in which nothing was others'.
	Changes, Updates, Echoes uint64
	// Waiting are the visitors whom the CRM does not have as they are.
	Waiting int64
	// Behind is how old the last change was when the CRM had it.
	Behind time.Duration
	// Commits are the saves, and Refused those that another leader prevented.
	Commits, Refused uint64
	Health           Health
}

// Figures returns what the target counted until now.
func (t *Target) Figures() Figures {
	s := &t.s
	return Figures{
		Leads: s.leads.Load(), Folded: s.folded.Load(), Calls: s.calls.Load(), Failed: s.failed.Load(), Written: s.written.Load(),
		Retried: s.retried.Load(), Rejected: s.rejected.Load(), Coalesced: s.coalesced.Load(), Saved: s.saved.Load(),
		Stale: s.stale.Load(), Bisected: s.bisected.Load(), Waiting: s.dirty.Load(), Behind: time.Duration(s.behind.Load()),
		Changes: s.changes.Load(), Updates: s.updates.Load(), Echoes: s.echoes.Load(),
		Commits: s.commits.Load(), Refused: s.refused.Load(), Health: t.gate.health(time.Now()),
	}
}
