package hubspot_test

import (
	"context"
	"encoding/base32"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/parley-chat/parley/internal/bus/bustest"
	"github.com/parley-chat/parley/internal/crm"
	"github.com/parley-chat/parley/internal/crm/hubspot"
	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/internal/standin"
	vendor "github.com/parley-chat/parley/internal/standin/hubspot"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, bustest.Leaks()...) }

// canary is the token of the tests. It must turn up nowhere.
const canary = "canary-token-0123456789abcdef"

// token is a credential.
type token string

func (t token) Authorize(h http.Header) { h.Set("Authorization", "Bearer "+string(t)) }
func (t token) Reveal() string          { return string(t) }
func (token) Account(string) string     { return "" }

// tokens lends the current token, and the next one when that is refused.
type tokens struct {
	list []string
	at   atomic.Int32
	// renewed counts how often another token was asked for.
	renewed atomic.Int32
}

func (l *tokens) Do(ctx context.Context, call func(ctx context.Context, t crm.Token) error) error {
	at := l.at.Load()
	err := call(ctx, token(l.list[at]))
	if !errors.Is(err, fault.New(fault.TokenRefused, "")) {
		return err
	}
	l.renewed.Add(1)
	if int(at)+1 >= len(l.list) {
		return fault.New(fault.ReauthNeeded, "there is no other token")
	}
	l.at.CompareAndSwap(at, at+1)
	return call(ctx, token(l.list[at+1]))
}

// rig is an account and a connector to it.
type rig struct {
	*vendor.Standin
	t      testing.TB
	hosts  *standin.Server
	client *http.Client
	tokens *tokens
	crm    *hubspot.Connector
}

// newRig has an account that is prepared.
func newRig(t testing.TB, v vendor.Options, o hubspot.Options) *rig {
	t.Helper()
	r := bareRig(t, v, o)
	if _, err := r.crm.Prepare(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	r.Define("contacts", vendor.Property{Name: "plan", Label: "Plan", Type: "string", FieldType: "text"})
	return r
}

func bareRig(t testing.TB, v vendor.Options, o hubspot.Options) *rig {
	t.Helper()
	r := &rig{t: t, Standin: vendor.New(v), tokens: &tokens{list: []string{canary}}}
	var err error
	if r.hosts, err = standin.Start(slog.New(slog.DiscardHandler), r.Hosts(nil)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.hosts.Close() })
	r.client = r.hosts.Client()
	o.Transport = r.client.Transport
	r.crm = hubspot.New(r.tokens, o)
	t.Cleanup(func() { _ = r.crm.Close() })
	return r
}

// keyOf is a key as the engine makes them.
func keyOf(name string) string {
	text := strings.ToLower(base32.HexEncoding.WithPadding(base32.NoPadding).EncodeToString(fmt.Appendf(nil, "%016s", name)))
	return text[:26]
}

// contact is a contact with a plan, and an address if there is one.
func contact(name string, seq uint64, plan, email string) crm.Contact {
	c := crm.Contact{Key: keyOf(name), Seq: seq, At: time.Now(), Attempt: 1, Email: email}
	if email != "" {
		c.Fields = append(c.Fields, crm.Field{Name: "email", Value: email, Rule: crm.Always})
	}
	c.Fields = append(c.Fields, crm.Field{Name: "plan", Value: plan, Rule: crm.Always})
	return c
}

// upsert writes, and returns the outcomes by key.
func (r *rig) upsert(contacts ...crm.Contact) map[string]crm.Outcome {
	r.t.Helper()
	outcomes, err := r.crm.UpsertContacts(r.t.Context(), contacts)
	if err != nil {
		r.t.Fatal(err)
	}
	return byKey(r.t, outcomes)
}

func byKey(t testing.TB, outcomes []crm.Outcome) map[string]crm.Outcome {
	t.Helper()
	all := map[string]crm.Outcome{}
	for _, o := range outcomes {
		if _, twice := all[o.Key]; twice {
			t.Errorf("two outcomes of %s", o.Key)
		}
		all[o.Key] = o
	}
	return all
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

// want fails unless the error has the reason.
func want(t testing.TB, err error, reason fault.Reason) {
	t.Helper()
	if fault.From(err) == nil || fault.From(err).Reason != reason {
		t.Errorf("the error is %v, want %s", err, reason)
	}
}
