package vault_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/standin/oauth"
	"github.com/parley-chat/parley/internal/vault"
)

// sink collects all that is said anywhere.
type sink struct {
	mu  sync.Mutex
	out bytes.Buffer
}

func (s *sink) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.out.Write(p)
}

func (s *sink) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.out.String()
}

// show prints a value in every way that something is printed.
func (s *sink) show(log *slog.Logger, value any) {
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		_, _ = fmt.Fprintf(s, verb+"\n", value)
	}
	text, err := json.Marshal(value)
	_, _ = fmt.Fprintf(s, "%s %v\n", text, err)
	log.Info("shown", slog.Any("value", value))
}

// TestNoSecretIsFound does everything that a vault does, with every fault, and
// looks for every secret that the vendors know in logs, errors, facts, listings,
// and in all that the bus stores.
func TestNoSecretIsFound(t *testing.T) {
	t.Parallel()
	w := newWorld(t, oauth.Options{Life: 30 * time.Minute})
	said := &sink{}
	log := slog.New(slog.NewJSONHandler(said, &slog.HandlerOptions{Level: slog.LevelDebug, AddSource: true}))
	publish := func(ctx contextT, subject string, e event.Envelope) error {
		_, err := w.bus.Publish(ctx, subject, e)
		return err
	}
	seen := filepath.Join(t.TempDir(), "seen")
	v, err := vault.Open(t.Context(), log, w.store, w.master, w.options(vault.Options{
		Publish: publish, Seen: seen, CallTimeout: 200 * time.Millisecond, Every: 20 * time.Millisecond,
	}))
	if err != nil {
		t.Fatal(err)
	}
	w.vault = v
	run(t, v)
	note := func(err error) {
		if err != nil {
			said.show(log, err)
			said.show(log, errUnwrapped(err))
		}
	}
	w.everyFault(v, said, log, note)
	hand := vault.Name{Provider: oauth.BotStar}
	for range 3 {
		c, err := v.PutToken(t.Context(), hand, vault.NewSecret(w.vendor.Issue()), time.Time{})
		said.show(log, c)
		note(err)
		c, err = v.RotateToken(t.Context(), hand, vault.NewSecret(w.vendor.Issue()), time.Hour)
		said.show(log, c)
		note(err)
		said.show(log, token(t, v, hand))
	}
	secrets := w.vendor.Secrets()
	text, err := w.master.Text()
	if err != nil {
		t.Fatal(err)
	}
	said.show(log, w.master)
	said.show(log, v)
	said.show(log, v.Source(hand))
	consent := w.ask(vault.Name{Provider: oauth.HubSpot})
	said.show(log, consent)
	consent.Close(t.Context())
	for _, field := range strings.FieldsFunc(text.Reveal(), func(r rune) bool { return r == '"' }) {
		if len(field) > 40 && !strings.Contains(field, "type.googleapis") {
			secrets = append(secrets, field)
		}
	}
	stored := w.everythingStored()
	found := 0
	for _, secret := range secrets {
		for where, text := range map[string]string{"what was said": said.String(), "the bus": stored} {
			if strings.Contains(text, secret) {
				found++
				t.Errorf("a secret is in %s: %.12s…", where, secret)
			}
		}
	}
	t.Logf("%d secrets, %d bytes said, %d bytes stored, %d found", len(secrets), len(said.String()), len(stored), found)
	if len(secrets) < 40 || len(said.String()) < 10_000 || !strings.Contains(stored, "connection.reauth_needed") {
		t.Error("too little happened for the search to mean anything")
	}
	_, _ = said.Write([]byte(secrets[0]))
	if !strings.Contains(said.String(), secrets[0]) {
		t.Error("the search finds nothing at all")
	}
}

// everyFault refreshes, probes, revokes and connects again under each fault.
func (w *world) everyFault(v *vault.Vault, said *sink, log *slog.Logger, note func(error)) {
	w.t.Helper()
	ctx := w.t.Context()
	for _, vendor := range oauthVendors() {
		name := vault.Name{Provider: vendor}.Filled()
		said.show(log, w.connect(name))
		for _, f := range []oauth.Fault{
			{},
			{Status: 500},
			{After: 500, Echo: true},
			{After: 400, Echo: true},
			{After: 200, Echo: true},
			{Page: true},
			{Hang: true},
			{Busy: true},
			{NoRefresh: true},
			{TextExpiry: true},
		} {
			w.vendor.Set(vendor, oauth.Faults{Token: f.Times(2), API: oauth.Fault{After: 500}.Times(1), Revoke: f.Times(1)})
			w.clock.push(2 * time.Hour)
			_, got, end, err := v.Source(name).Token(ctx)
			note(err)
			if err == nil {
				said.show(log, got)
				_, err = v.Source(name).Refused(ctx, got)
				note(err)
				end()
			}
			health, err := v.Probe(ctx, name)
			said.show(log, health)
			note(err)
			_, err = v.Rotate(ctx, name)
			note(err)
			c, err := v.Show(ctx, name)
			said.show(log, c)
			note(err)
			if c.State == vault.ReauthNeeded || f.Busy {
				_, err = v.Revoke(ctx, name, "canary")
				note(err)
				w.vendor.Set(vendor, oauth.Faults{})
				said.show(log, w.connect(name))
			}
		}
		_, err := v.RotateSecret(ctx, name, vault.NewSecret(clientSecret+"-next"))
		note(err)
		_, err = v.Revoke(ctx, name, "canary")
		note(err)
	}
}

// everythingStored returns all that the bus has: the bucket and the history.
func (w *world) everythingStored() string {
	w.t.Helper()
	var out strings.Builder
	keys, err := w.store.Keys(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	for _, key := range keys {
		entry, _, err := w.store.Get(w.t.Context(), key)
		if err != nil {
			w.t.Fatal(err)
		}
		out.WriteString(key)
		out.Write(entry.Value)
	}
	for d, err := range w.bus.Tail(w.t.Context(), bus.TailOptions{Subjects: []string{"evt.>", "res.>", "in.>", "dead.>"}, All: true, ToEnd: true}) {
		if err != nil {
			w.t.Fatal(err)
		}
		e, err := d.Envelope()
		if err != nil {
			w.t.Fatal(err)
		}
		_, body := event.EncodeStructured(e)
		out.WriteString(d.Subject)
		out.Write(body)
	}
	return out.String()
}

func TestSecretShowsNothing(t *testing.T) {
	t.Parallel()
	const text = "s3cr3t-of-a-customer"
	said := &sink{}
	log := slog.New(slog.NewTextHandler(said, nil))
	for _, value := range []any{
		vault.NewSecret(text), new(vault.NewSecret(text)),
		[]vault.Secret{vault.NewSecret(text)},
		map[string]vault.Secret{"a": vault.NewSecret(text)},
		struct{ S vault.Secret }{vault.NewSecret(text)},
		vault.Token{Secret: vault.NewSecret(text)},
		vault.Ask{ClientSecret: vault.NewSecret(text)},
	} {
		said.show(log, value)
	}
	if out := said.String(); strings.Contains(out, text) || strings.Contains(out, fmt.Sprintf("%x", text)) {
		t.Errorf("shown: %s", out)
	}
	a, b := vault.NewSecret(text), vault.NewSecret(text+"x")
	if a.Fingerprint() == b.Fingerprint() || len(a.Fingerprint()) != 8 || a.Reveal() != text || (vault.Secret{}).Fingerprint() != "" {
		t.Error("the fingerprint tells nothing")
	}
}
