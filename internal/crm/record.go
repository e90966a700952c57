// Package crm brings chat sessions into CRMs, once each. It reduces the events
// of a session to one record, and brings records into each target in order, in
// batches, through outages.
package crm

import (
	"time"

	"github.com/parley-chat/parley/internal/event"
)

// Record is one chat session: one visit of one person to the chat of one site.
// Its JSON form is what is stored and what a webhook is sent.
type Record struct {
	// Key names the chat session for ever.
	Key string `json:"key"`
	// Site and Session name the visitor as events do; the contact's key is the
	// session.
	Site    string `json:"site"`
	Session string `json:"session"`
	// Number counts the chat sessions of the visitor, from 1.
	Number int `json:"number"`
	// Provider is the vendor of the widget.
	Provider string `json:"provider,omitempty"`
	// OpenedAt is when the chat was first opened, ClosedAt when it was last
	// closed; zero as long as that did not happen.
	OpenedAt time.Time `json:"opened_at,omitzero"`
	ClosedAt time.Time `json:"closed_at,omitzero"`
	// OpenedBy and ClosedBy are the causes.
	OpenedBy event.Cause `json:"opened_by,omitempty"`
	ClosedBy event.Cause `json:"closed_by,omitempty"`
	// StartedAt and LastAt are the first and the last thing that happened.
	StartedAt time.Time `json:"started_at"`
	LastAt    time.Time `json:"last_at"`
	// Seconds is how long the chat was open, in all.
	Seconds float64 `json:"seconds"`
	// Open says that the chat is open now, Ended that the session is over, and
	// Why why.
	Open  bool   `json:"open"`
	Ended bool   `json:"ended"`
	Why   string `json:"why,omitempty"`
	// Opens counts how often it was opened.
	Opens int `json:"opens"`
	// Pages are where it happened, without queries, in order of the first time.
	Pages []string `json:"pages,omitempty"`
	// Attributes are the names of what was sent to the vendor of the widget.
	Attributes []string `json:"attributes,omitempty"`
	// Handoff is the request for a human, or nil.
	Handoff *Handoff `json:"handoff,omitempty"`
	// Webviews are what the visitor answered on webview pages.
	Webviews []Webview `json:"webviews,omitempty"`
	// Runs are the workflow runs that acted in the session.
	Runs []string `json:"runs,omitempty"`
	// Actions counts what was done, by action and status.
	Actions map[string]int `json:"actions,omitempty"`
	// Seq rises with each state of the record.
	Seq uint64 `json:"seq"`
}

// Handoff is a request for a human.
type Handoff struct {
	At     time.Time `json:"at"`
	Reason string    `json:"reason,omitempty"`
}

// Webview is one answer of a webview page.
type Webview struct {
	At       time.Time      `json:"at"`
	URL      string         `json:"url"`
	Response string         `json:"response,omitempty"`
	Outputs  map[string]any `json:"outputs,omitempty"`
}
