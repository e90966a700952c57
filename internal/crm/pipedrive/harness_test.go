package pipedrive_test

import (
	"context"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/parley-chat/parley/internal/bus/bustest"
	"github.com/parley-chat/parley/internal/crm"
	"github.com/parley-chat/parley/internal/crm/crmtest"
	"github.com/parley-chat/parley/internal/crm/pipedrive"
	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/internal/standin"
	vendor "github.com/parley-chat/parley/internal/standin/pipedrive"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, bustest.Leaks()...) }

const host = "demo.pipedrive.com"

// clock is a clock that tests push on.
type clock struct{ ahead atomic.Int64 }

var begin = time.Date(2026, 11, 25, 10, 0, 0, 0, time.UTC)

func (c *clock) Now() time.Time        { return begin.Add(time.Duration(c.ahead.Load())) }
func (c *clock) push(by time.Duration) { c.ahead.Add(int64(by)) }

// store is a store that outlives connectors.
type store struct {
	mu   sync.Mutex // guards the fields below
	all  map[string]pipedrive.Entry
	fail int // so many of the next writes fail
}

func newStore() *store { return &store{all: map[string]pipedrive.Entry{}} }

func (s *store) Get(_ context.Context, key string) (pipedrive.Entry, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.all[key], nil
}

func (s *store) Put(_ context.Context, key string, e pipedrive.Entry) (pipedrive.Entry, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail > 0 {
		s.fail--
		return e, fault.New(fault.BusUnavailable, "no store")
	}
	if s.all[key].Revision != e.Revision {
		return e, fault.New(fault.StaleFence, "it has changed")
	}
	e.Revision++
	s.all[key] = e
	return e, nil
}

// rig is an account and a connector to it.
type rig struct {
	*vendor.Account
	t      testing.TB
	clock  *clock
	hosts  *standin.Server
	client *http.Client
	tokens *crmtest.Static
	o      pipedrive.Options
	crm    *pipedrive.Connector
	key    string // of the field for our key
	plan   string
	seq    string
}

// newRig has an account that is prepared.
func newRig(t testing.TB, v vendor.Options, o pipedrive.Options) *rig {
	t.Helper()
	r := bareRig(t, v, o)
	r.key = r.AddField("Parley key", "varchar")
	r.seq = r.AddField("Parley sequence", "double")
	r.plan = r.AddField("Plan", "varchar")
	r.AddField("Level", "enum", "Low", "High")
	r.AddField("Tags", "set", "a", "b", "c")
	r.AddField("Since", "date")
	r.AddField("Twice", "varchar")
	r.AddField("Twice", "varchar")
	return r
}

func bareRig(t testing.TB, v vendor.Options, o pipedrive.Options) *rig {
	t.Helper()
	r := &rig{t: t, clock: &clock{}, tokens: &crmtest.Static{
		List: []string{crmtest.Canary}, Accounts: map[string]string{"api_domain": "https://" + host},
	}}
	if v.Valid == nil {
		v.Valid = func(token string) bool { return token == crmtest.Canary }
	}
	v.Now, o.Now = r.clock.Now, r.clock.Now
	r.Account = vendor.New(v)
	var err error
	if r.hosts, err = standin.Start(slog.New(slog.DiscardHandler), map[string]http.Handler{host: r.Account}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.hosts.Close() })
	r.client = r.hosts.Client()
	o.Transport = r.client.Transport
	r.o = o
	r.crm = pipedrive.New(r.tokens, o)
	t.Cleanup(func() { _ = r.crm.Close() })
	return r
}

// contact is a contact with a plan, and an address if there is one.
func contact(name string, seq uint64, plan, email string) crm.Contact {
	c := crm.Contact{Key: crmtest.Key(name), Seq: seq, At: begin, Attempt: 1, Email: email}
	if email != "" {
		c.Fields = append(c.Fields, crm.Field{Name: "email", Value: email, Rule: crm.Always})
	}
	c.Fields = append(c.Fields, crm.Field{Name: "Plan", Value: plan, Rule: crm.Always})
	return c
}

func with(c crm.Contact, name string, value any) crm.Contact {
	c.Fields = append(c.Fields, crm.Field{Name: name, Value: value, Rule: crm.Always})
	return c
}

// one writes one contact.
func (r *rig) one(c crm.Contact) crm.Outcome {
	r.t.Helper()
	all, err := r.crm.UpsertContacts(r.t.Context(), []crm.Contact{c})
	if err != nil {
		r.t.Fatal(err)
	}
	if len(all) != 1 || all[0].Key != c.Key {
		r.t.Fatalf("the outcomes: %+v", all)
	}
	return all[0]
}

// done writes one contact, which must do.
func (r *rig) done(c crm.Contact) crm.Outcome {
	r.t.Helper()
	o := r.one(c)
	if o.Status != crm.Done || o.ID == "" {
		r.t.Fatalf("%+v", o)
	}
	return o
}

// only returns the only record of the kind.
func (r *rig) only(kind string) vendor.Record {
	r.t.Helper()
	all := r.Records(kind)
	if len(all) != 1 {
		r.t.Fatalf("%d %s: %v", len(all), kind, all)
	}
	return all[0]
}

// pump writes on the rig's clock.
func (r *rig) pump() *crmtest.Pump {
	return &crmtest.Pump{To: r.crm, Size: 1, Parallel: 4, Wait: func(d time.Duration) { r.clock.push(max(d, 10*time.Millisecond)) }}
}

// want fails unless the error has the reason.
func want(t testing.TB, err error, reason fault.Reason) {
	t.Helper()
	if e := fault.From(err); e == nil || e.Reason != reason {
		t.Errorf("the error is %v, want %s", err, reason)
	}
}
