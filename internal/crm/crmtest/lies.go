package crmtest

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/parley-chat/parley/internal/crm"
	"github.com/parley-chat/parley/internal/fault"
)

// mostRead is the most that a connector reads of an answer, with what a reader
// takes at once beyond it.
const mostRead = 10<<20 + 1<<16

// Lies are answers that are none, to writes and to reads. A connector must not
// crash on any, must not believe that it was done, and must not read more than
// ten MiB.
type Lies struct {
	// Connector makes a connector whose requests go through the transport.
	Connector func(http.RoundTripper) crm.Connector
	// Vendor answers the requests for the fields that there are, which Honest names
	// by a part of their path; "" leaves all to the lies.
	Vendor http.RoundTripper
	Honest string
}

// lie is one answer.
type lie struct {
	kind string
	body func() io.Reader
}

func lies() []lie {
	text := func(kind, body string) lie { return lie{kind, func() io.Reader { return strings.NewReader(body) }} }
	return []lie{
		text("text/html", "<!doctype html><html><body>Maintenance</body></html>"),
		text("application/json", `{"results":[{"id":"1","properties":{"par`),
		text("application/json", `"a text"`),
		text("application/json", `[[[[]]]]`),
		text("application/json", `{"success":"yes","data":7,"results":{"id":[]},"compositeResponse":"x"}`),
		text("application/json", ""),
		text("application/json", "\xff\xfe\x00"),
		text("application/json", strings.Repeat("[", 100_000)),
		{"application/json", func() io.Reader { return io.LimitReader(endless{}, 100<<20) }},
	}
}

// endless is the begin of a list that does not end.
type endless struct{}

// Read implements io.Reader.
func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = '['
	}
	return len(p), nil
}

// liar answers with one lie, and counts what is read of it.
type liar struct {
	lie
	Lies
	status int
	asked  atomic.Int64
	read   atomic.Int64
}

// RoundTrip implements http.RoundTripper.
func (l *liar) RoundTrip(r *http.Request) (*http.Response, error) {
	if l.Honest != "" && strings.Contains(r.URL.Path, l.Honest) {
		return l.Vendor.RoundTrip(r) //nolint:wrapcheck // As it is.
	}
	l.asked.Add(1)
	l.read.Store(0)
	return &http.Response{
		StatusCode: l.status, Status: http.StatusText(l.status), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: r,
		Header: http.Header{"Content-Type": {l.kind}}, Body: io.NopCloser(counted{l.body(), &l.read}),
	}, nil
}

// counted counts what is read.
type counted struct {
	io.Reader
	n *atomic.Int64
}

// Read implements io.Reader.
func (c counted) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.n.Add(int64(n))
	return n, err //nolint:wrapcheck // As it is.
}

// Tell tells so many lies, of all kinds, as answers that say success or failure.
func (l Lies) Tell(t testing.TB, times int) {
	t.Helper()
	done := map[string]int{}
	for n := range times {
		all := lies()
		to := &liar{lie: all[n%len(all)], status: []int{200, 500, 200, 207}[n/len(all)%4], Lies: l}
		c := l.Connector(to)
		name := fmt.Sprintf("visitor-%d", n)
		what := fmt.Sprintf("%d, %s (%d)", to.status, to.kind, n%len(all))
		contact := crm.Contact{Key: Key(name), Seq: 1, Attempt: 1, Email: name + "@example.test"}
		outcomes, err := c.UpsertContacts(t.Context(), []crm.Contact{contact})
		l.judge(t, what, outcomes, err, done)
		outcomes, err = c.PutActivities(t.Context(), []crm.Activity{{Key: Key("a-" + name), Contact: crm.Ref{Key: Key(name), ID: "1"}, Seq: 1, Subject: "Chat", Attempt: 1}})
		l.judge(t, what, outcomes, err, done)
		if found, err := c.Read(context.WithoutCancel(t.Context()), []crm.Ref{{Key: Key(name), ID: "1"}}); err == nil && len(found) != 0 {
			t.Errorf("%s: read %v", what, found)
		}
		if got := to.read.Load(); got > mostRead {
			t.Errorf("%s: %d bytes were read", what, got)
		}
		if to.asked.Load() < 2 {
			t.Errorf("%s: only %d requests were made", what, to.asked.Load())
		}
	}
	t.Logf("%d answers that are none, to three calls each: %v", times, done)
}

// judge checks what the connector makes of the lie.
func (Lies) judge(t testing.TB, what string, outcomes []crm.Outcome, err error, done map[string]int) {
	t.Helper()
	if err != nil {
		done[string(fault.From(err).Reason)]++
		if e := fault.From(err); e.Reason != fault.EffectUnknown && !fault.Retryable(err) {
			t.Errorf("%s: %v, want one that is tried again", what, err)
		}
		return
	}
	for _, o := range outcomes {
		done[string(o.Status)]++
		if o.Status == crm.Done {
			t.Errorf("%s: it is believed to be done", what)
		}
	}
}
