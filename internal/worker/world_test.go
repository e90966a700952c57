//go:build browser

package worker_test

import (
	"context"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"testing"

	"github.com/parley-chat/parley/internal/actions"
	"github.com/parley-chat/parley/internal/browser"
	"github.com/parley-chat/parley/internal/bus/bustest"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/standin"
	"github.com/parley-chat/parley/internal/standin/botstar"
	"github.com/parley-chat/parley/internal/standin/shop"
)

// A world is a rig with a real browser, the vendor's stand-in and a shop.
type world struct {
	*rig
	vendor *botstar.Standin
	pool   *browser.Pool
	dir    string // of the browser's scratch files
}

// page returns the shop's site with another page, loaded as the customer's own.
func page(name, path string) actions.Site {
	return actions.Site{
		Name: name, Provider: "botstar", AppID: shop.AppID, Mode: "livechat",
		URL: shop.Origin + path, FullPage: true, Webviews: []string{shop.Origin},
	}
}

// newWorld starts a world with the demo sites and the further ones.
func newWorld(t testing.TB, p plan, further ...actions.Site) *world {
	t.Helper()
	w := &world{vendor: botstar.New(botstar.Options{Bots: []botstar.Bot{{ID: "bot-1", AppID: shop.AppID, Name: "Shop bot"}}})}
	hosts := maps.Clone(w.vendor.Hosts())
	maps.Copy(hosts, shop.New().Hosts())
	server, err := standin.Start(bustest.Log(t), hosts)
	must(t, err)
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	w.dir = t.TempDir()
	must(t, os.Chmod(filepath.Dir(w.dir), 0o711))
	w.pool, err = browser.New(bustest.Log(t), browser.Options{
		Dir: w.dir, Resolve: server.Resolve(), TrustSPKI: []string{server.SPKI()}, Spare: p.spare,
	})
	must(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), patience)
		defer cancel()
		if err := w.pool.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	must(t, w.pool.Start(t.Context()))
	if p.rest {
		p.worker.REST = restOf(t, w.vendor, server, 0)
	}
	p.pool = w.pool
	p.sites = append(demoSites(), further...)
	w.rig = setup(t, p)
	return w
}

func (w *world) in(t testing.TB) *world {
	t.Helper()
	inner := *w
	inner.rig = w.rig.in(t)
	return &inner
}

// healthy proves that the next command of the visitor works in the browser.
func (w *world) healthy(o order) {
	w.t.Helper()
	w.vendor.Set(botstar.Faults{})
	next := order{action: "botstar.widget.open", visitor: o.visitor, timeout: 25_000}
	if result := w.succeed(next); !result.Verified {
		w.t.Errorf("the next command: %+v", result)
	}
}

// count waits until the vendor has seen the number of entries of the kind.
func (w *world) count(visitor string, kind botstar.Kind, want int) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	snapshot, err := w.vendor.Ledger().Wait(ctx, func(s botstar.Snapshot) bool { return s.Count(visitor, kind) >= want })
	if err != nil || snapshot.Count(visitor, kind) != want {
		w.t.Errorf("%s was %s %d times, want %d: %v", visitor, kind, snapshot.Count(visitor, kind), want, err)
	}
}

// facts waits for a number of the session's facts of one name, and decodes them.
func facts[T any](w *world, o order, name string, want int) []T {
	w.t.Helper()
	o = o.filled()
	filter := event.FactSubject("botstar", name, o.site, event.SessionKey(o.site, o.visitor))
	var all []T
	for _, e := range w.history(filter, want) {
		if err := w.schemas.Validate(e.Type, e.Data); err != nil {
			w.t.Errorf("a fact does not fit its schema: %v\n%s", err, e.Data)
		}
		var fact T
		must(w.t, json.Unmarshal(e.Data, &fact))
		all = append(all, fact)
	}
	if len(all) != want {
		w.t.Errorf("%d facts %s, want %d: %+v", len(all), name, want, all)
	}
	return all
}
