//go:build browser

package session_test

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/parley-chat/parley/internal/actions"
	"github.com/parley-chat/parley/internal/browser"
	"github.com/parley-chat/parley/internal/bus/bustest"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/session"
)

// TestBrowserIsReplacedUnderASession has a browser grow old: the session moves
// to the next one.
func TestBrowserIsReplacedUnderASession(t *testing.T) {
	t.Parallel()
	h := newHotel(t, bustest.Start(t))
	w := h.house(h.bus, session.Options{Catalog: h.catalog, Snapshots: h.store}, browser.Options{MaxAge: 3 * time.Second, Watch: 100 * time.Millisecond})
	v := event.Visitor{UserID: "u-1"}
	w.settle(v, 1)
	if fact := framed[event.SessionHibernated](w, v, event.FactHibernated, 1)[0]; fact.Why != "retired" {
		t.Errorf("the fact says %s", fact.Why)
	}
	w.visit(v, 1, func(_ *session.Lease, env actions.Env) {
		if got := w.seen(env); !env.State.Open || got.Own != "2" || got.Frame.Local != "2" {
			t.Errorf("open %t, stored %+v", env.State.Open, got)
		}
	})
}

// TestKilledBrowserLosesNoSession kills the browser with all its sessions.
func TestKilledBrowserLosesNoSession(t *testing.T) {
	t.Parallel()
	h := newHotel(t, bustest.Start(t))
	w := h.worker(session.Options{SaveAfter: time.Millisecond})
	var all []event.Visitor
	for i := range 3 {
		v := event.Visitor{UserID: fmt.Sprint("u-", i)}
		all = append(all, v)
		w.settle(v, 1)
		bustest.Until(t, "the session is stored", func() bool {
			i, err := w.Show(t.Context(), w.key(v))
			return err == nil && i.Bytes > 0 && !i.Unsaved && !i.Busy
		})
	}
	browsers, err := w.pool.Memory(t.Context())
	must(t, err)
	for pid := range browsers {
		must(t, syscall.Kill(pid, syscall.SIGKILL))
	}
	for _, v := range all {
		if ended := framed[event.SessionEnded](w, v, event.FactSessionEnded, 1)[0]; ended.Why != "crash" {
			t.Errorf("%s: the fact says %s", v.UserID, ended.Why)
		}
		w.visit(v, 1, func(_ *session.Lease, env actions.Env) {
			if got := w.seen(env); !env.State.Open || env.State.Mode != "popup" || got.Own != "2" || got.Frame.Local != "2" {
				t.Errorf("%s: state %+v, stored %+v", v.UserID, env.State, got)
			}
		})
	}
	if n := w.Stats().Restored; n != 3 {
		t.Errorf("%d sessions were restored, want 3", n)
	}
}
