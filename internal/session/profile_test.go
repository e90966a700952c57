package session_test

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/parley-chat/parley/internal/actions"
	"github.com/parley-chat/parley/internal/browser"
	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/bus/bustest"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/session"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, bustest.Leaks()...) }

const patience = 20 * time.Second

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// setup returns a manager whose facts and profiles are on the bus. It is closed
// with the test.
func setup(t *testing.T, b *bus.Bus, o session.Options) *session.Manager {
	t.Helper()
	if o.Pool == nil {
		idle, err := browser.New(bustest.Log(t), browser.Options{})
		must(t, err)
		o.Pool = session.Chromium(idle)
	}
	var err error
	if o.Catalog == nil {
		o.Catalog, err = actions.NewCatalog(actions.Provider{Name: "probe"})
		must(t, err)
	}
	o.Profiles, err = b.KV(t.Context(), bus.BucketProfiles)
	must(t, err)
	if o.Publish == nil {
		o.Publish = func(ctx context.Context, subject string, e event.Envelope) error {
			_, err := b.Publish(ctx, subject, e)
			return err
		}
	}
	m := session.New(bustest.Log(t), o)
	t.Cleanup(func() { shut(t, m) })
	return m
}

func shut(t *testing.T, m *session.Manager) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), patience)
	defer cancel()
	if err := m.Close(ctx); err != nil {
		t.Errorf("closing the sessions: %v", err)
	}
}

var probeSite = actions.Site{Name: "shop", Provider: "probe", URL: "https://shop.example.test/"}

func acquire(t *testing.T, m *session.Manager, v event.Visitor) *session.Lease {
	t.Helper()
	l, err := m.Acquire(t.Context(), probeSite, v)
	must(t, err)
	return l
}

// profiled acquires the session, lets the function change its profile, stores
// it, and returns what it was before.
func profiled(t *testing.T, m *session.Manager, v event.Visitor, change func(p *actions.Profile)) actions.Profile {
	t.Helper()
	l := acquire(t, m, v)
	defer l.Release()
	must(t, l.LoadProfile(t.Context()))
	p := l.Env(session.Command{}, bustest.Log(t)).Profile
	before := copyOf(t, *p)
	change(p)
	must(t, l.StoreProfile(t.Context()))
	return before
}

func copyOf(t *testing.T, p actions.Profile) actions.Profile {
	t.Helper()
	raw, err := json.Marshal(p)
	must(t, err)
	var c actions.Profile
	must(t, json.Unmarshal(raw, &c))
	return c
}

func keep(name string, value any) func(p *actions.Profile) {
	return func(p *actions.Profile) {
		if p.Kept == nil {
			p.Kept = map[string]any{}
		}
		p.Kept[name] = value
	}
}

func nothing(*actions.Profile) {}

func TestProfileOutlivesTheManager(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	v := event.Visitor{AnonymousID: "a-1"}
	first := setup(t, b, session.Options{})
	profiled(t, first, v, keep("city", "London"))
	second := setup(t, b, session.Options{})
	if diff := cmp.Diff(map[string]any{"city": "London"}, profiled(t, second, v, nothing).Kept); diff != "" {
		t.Error(diff)
	}
}

// TestProfileIsStoredWhenItChanged counts the revisions of the bucket.
func TestProfileIsStoredWhenItChanged(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	m := setup(t, b, session.Options{})
	v := event.Visitor{UserID: "u-1"}
	profiled(t, m, v, nothing)
	kv, err := b.KV(t.Context(), bus.BucketProfiles)
	must(t, err)
	key := "shop." + event.SessionKey("shop", v)
	if _, found, err := kv.Get(t.Context(), key); found || err != nil {
		t.Fatalf("an empty profile is stored: %v", err)
	}
	profiled(t, m, v, keep("city", "London"))
	once, _, err := kv.Get(t.Context(), key)
	must(t, err)
	profiled(t, m, v, nothing)
	twice, _, err := kv.Get(t.Context(), key)
	must(t, err)
	if once.Revision != twice.Revision {
		t.Errorf("an unchanged profile was stored again, as %d after %d", twice.Revision, once.Revision)
	}
}

// TestTwoWorkersChangeOneProfile has a manager store what it cached before
// another one changed it.
func TestTwoWorkersChangeOneProfile(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	v := event.Visitor{AnonymousID: "a-1"}
	first, second := setup(t, b, session.Options{}), setup(t, b, session.Options{})
	profiled(t, first, v, keep("a", "1"))
	profiled(t, second, v, keep("b", "2"))
	profiled(t, first, v, keep("c", "3"))
	third := setup(t, b, session.Options{})
	want := map[string]any{"a": "1", "b": "2", "c": "3"}
	if diff := cmp.Diff(want, profiled(t, third, v, nothing).Kept); diff != "" {
		t.Error(diff)
	}
}

// TestIdentifiedTakesOver moves what was kept for an anonymous visitor, once,
// also when more is kept later.
func TestIdentifiedTakesOver(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	m := setup(t, b, session.Options{})
	anonymous := event.Visitor{AnonymousID: "a-1"}
	known := event.Visitor{UserID: "u-1", AnonymousID: "a-1"}
	profiled(t, m, anonymous, keep("city", "London"))
	got := profiled(t, m, known, func(p *actions.Profile) { p.Kept = nil }) // The action has sent it.
	if diff := cmp.Diff(map[string]any{"city": "London"}, got.Kept); diff != "" {
		t.Errorf("the identified visitor's profile: %s", diff)
	}
	if again := profiled(t, m, known, nothing); again.Kept != nil {
		t.Errorf("it was given twice: %+v", again.Kept)
	}
	profiled(t, m, anonymous, keep("plan", "Team"))
	got = profiled(t, m, known, nothing)
	if diff := cmp.Diff(map[string]any{"plan": "Team"}, got.Kept); diff != "" {
		t.Errorf("what was kept later: %s", diff)
	}
	stored := profiled(t, setup(t, b, session.Options{}), anonymous, nothing)
	if len(stored.Kept) != 0 {
		t.Errorf("the anonymous profile still keeps %+v", stored.Kept)
	}
}

func TestLeaseIsExclusive(t *testing.T) {
	t.Parallel()
	m := setup(t, bustest.Start(t), session.Options{})
	v := event.Visitor{UserID: "u-1"}
	first := acquire(t, m, v)
	got := make(chan *session.Lease)
	go func() {
		second, err := m.Acquire(t.Context(), probeSite, v)
		if err != nil {
			t.Error(err)
		}
		got <- second
	}()
	other := acquire(t, m, event.Visitor{UserID: "u-2"}) // Other sessions do not wait.
	other.Release()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := m.Acquire(ctx, probeSite, v); err == nil {
		t.Fatal("the session was given twice")
	}
	first.Release()
	(<-got).Release()
}

// TestForgetsOldSessions keeps the number of remembered sessions.
func TestForgetsOldSessions(t *testing.T) {
	t.Parallel()
	m := setup(t, bustest.Start(t), session.Options{Held: 1, Remembered: 3})
	for _, id := range []string{"a", "b", "c", "d", "e", "a"} {
		acquire(t, m, event.Visitor{UserID: id}).Release()
	}
	if stats := m.Stats(); stats.Sessions != 3 {
		t.Errorf("%d sessions are remembered, want 3", stats.Sessions)
	}
}
