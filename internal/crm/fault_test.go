package crm

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parley-chat/parley/internal/bus/bustest"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
)

// chats has so many visitors chat for a second each, at so many per second.
func (w *world) chats(visitors int, each time.Duration) {
	for n := range visitors {
		w.identify(n, map[string]any{"name": fmt.Sprint("n", n)})
		w.happen(n, event.FactWidgetOpened)
		w.pass(each)
	}
	w.pass(time.Second)
	for n := range visitors {
		w.happen(n, event.FactWidgetClosed)
		if n%100 == 0 {
			w.pass(time.Millisecond)
		}
	}
}

// TestFaults has chats brought through everything that goes wrong at a CRM, in
// virtual time. The ledger of the CRM counts: nothing lost, nothing twice, never
// an older state after a newer one.
func TestFaults(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name     string
		visitors int
		limits   Limits
		faults   faults
		perItem  float64 // the most calls for each item
	}{
		{"well", 1000, Limits{Contacts: 100, Activities: 100, Parallel: 4}, faults{}, 0.2},
		{"C1 5 % of the answers are lost", 2500, Limits{Contacts: 1, Activities: 1, Parallel: 8}, faults{unanswered: 0.05}, 1.3},
		{"C2 429 with patience", 500, Limits{Contacts: 20, Activities: 20, Parallel: 4}, faults{throttled: 0.2, patience: 7 * time.Second}, 0.5},
		{"C3 30 % of the calls fail", 2500, Limits{Contacts: 1, Activities: 1, Parallel: 8}, faults{unavailable: 0.3}, 2},
		{"C6 20 % of the items are to come again", 1000, Limits{Contacts: 50, Activities: 50, Parallel: 4}, faults{partial: 0.2}, 0.5},
		{"a rate of 20 calls per second", 500, Limits{Contacts: 10, Activities: 10, Parallel: 4, Rate: 20, Burst: 5}, faults{}, 0.5},
		{"all at once", 1000, Limits{Contacts: 50, Activities: 50, Parallel: 4}, faults{unanswered: 0.05, unavailable: 0.2, partial: 0.1, throttled: 0.05, patience: time.Second}, 0.6},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				crm := newLedger(20261125, test.limits)
				crm.faults = test.faults
				w := newWorld(t, crm, Options{Window: 200 * time.Millisecond})
				w.chats(test.visitors, 10*time.Millisecond)
				w.pass(2 * time.Hour)
				w.want(test.visitors, test.visitors)
				items := float64(4 * test.visitors) // Contacts and chats, opened and closed.
				if got := float64(crm.calls) / items; got > test.perItem {
					t.Errorf("%.2f calls for each item, want at most %.2f", got, test.perItem)
				}
				w.end()
			})
		})
	}
}

// TestC4Outage has the CRM away for four hours while many visitors chat, 20,000
// in the long form, with a change of the leader in the middle.
func TestC4Outage(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		visitors := bustest.Count(2000, 20_000)
		crm := newLedger(4, Limits{Contacts: 100, Activities: 100, Parallel: 4, Rate: 10, Burst: 10})
		crm.set(faults{down: true})
		w := newWorld(t, crm, Options{Window: time.Second})
		began := time.Now()
		for n := range visitors {
			w.identify(n, nil)
			w.happen(n, event.FactWidgetOpened)
			if n%2 == 0 {
				w.pass(time.Second)
			}
			w.happen(n, event.FactWidgetClosed)
			w.happen(n, event.FactWidgetOpened)
			w.pass(time.Millisecond)
			w.happen(n, event.FactWidgetClosed)
			if n == visitors/2 {
				w.end()
				w.lead()
			}
		}
		w.pass(4*time.Hour - time.Since(began))
		calls := crm.calls
		if calls > 600 {
			t.Errorf("%d calls during the outage, want few", calls)
		}
		if got := w.target.Figures(); got.Waiting != int64(visitors) || !got.Health.Open {
			t.Errorf("%d visitors wait, and the target is left alone: %t; want %d and true", got.Waiting, got.Health.Open, visitors)
		}
		crm.set(faults{})
		back := time.Now()
		for range 600 {
			if w.pass(time.Second); w.target.Figures().Waiting == 0 {
				break
			}
		}
		t.Logf("calls during the outage %d; drained in %s with %d calls", calls, time.Since(back), crm.calls-calls)
		w.want(visitors, visitors)
		w.end()
	})
}

// TestC7Rejected has a CRM reject every tenth contact for good: each is one dead
// letter without a retry, and the others go on. After the cause is mended a
// replay brings them, with their chats.
func TestC7Rejected(t *testing.T) {
	t.Parallel()
	for _, whole := range []bool{false, true} {
		t.Run(fmt.Sprintf("as a whole %t", whole), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				visitors := bustest.Count(500, 5000)
				crm := newLedger(7, Limits{Contacts: 50, Activities: 50, Parallel: 2})
				bad := func(key string) bool { return strings.HasPrefix(key, "s0") && strings.HasSuffix(key, "7") }
				rejected := 0
				f := faults{reject: func(key string) *fault.Error {
					if !bad(key) {
						return nil
					}
					rejected++
					return fault.New(fault.VendorRejects, "no such e-mail address").At("/email")
				}}
				if whole {
					f = faults{whole: func(keys []string) error {
						if !slices.ContainsFunc(keys, bad) {
							return nil
						}
						if len(keys) == 1 {
							rejected++
						}
						return fault.New(fault.VendorRejects, "one of them is wrong")
					}}
				}
				crm.set(f)
				w := newWorld(t, crm, Options{Window: 200 * time.Millisecond})
				w.chats(visitors, 10*time.Millisecond)
				w.pass(time.Hour)
				w.want(visitors*9/10, visitors*9/10)
				if rejected != visitors/10 {
					t.Errorf("%d items were rejected, want %d: each once", rejected, visitors/10)
				}
				crm.set(faults{})
				dead := 0
				for n := range visitors {
					v := w.stored(n)
					if dead += len(v.rejected()); len(v.rejected()) > 0 {
						w.asks <- asked{Ask{Kind: AskReplay, Site: "shop", Session: w.session(n), Edits: map[string]any{"email": "mended@example.test"}}, w.next()}
					}
				}
				if dead != visitors/10 {
					t.Errorf("%d dead letters, want %d", dead, visitors/10)
				}
				w.pass(time.Minute)
				w.want(visitors, visitors)
				if got := crm.contacts[w.session(7)]["email"]; got != "mended@example.test" {
					t.Errorf("the e-mail address is %v, want the edit", got)
				}
				if letters := w.stored(7).rejected(); len(letters) > 0 {
					t.Errorf("dead letters after the replay: %v", letters)
				}
				w.end()
			})
		})
	}
}

// stored returns the visitor as it was saved.
func (w *world) stored(n int) *Visitor {
	w.t.Helper()
	found, err := w.store.load(w.t.Context(), []place{{"shop", w.session(n)}})
	if err != nil {
		w.t.Fatal(err)
	}
	return found[place{"shop", w.session(n)}]
}

// TestHalt has the CRM refuse the credentials: nothing is lost or counted against
// anybody, and all goes on when they are good again.
func TestHalt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		crm := newLedger(1, Limits{Contacts: 10, Activities: 10, Parallel: 2})
		crm.set(faults{whole: func([]string) error { return fault.New(fault.ReauthNeeded, "consent is gone") }})
		w := newWorld(t, crm, Options{Window: 10 * time.Millisecond})
		w.chats(100, time.Millisecond)
		w.pass(time.Hour)
		if got := w.target.Figures().Health; got.Reason != fault.ReauthNeeded || !got.Open {
			t.Errorf("the health is %+v, want one that says why a person must act", got)
		}
		if crm.calls > 200 {
			t.Errorf("%d calls in an hour, want few", crm.calls)
		}
		crm.set(faults{})
		w.pass(5 * time.Minute)
		w.want(100, 100)
		w.end()
	})
}

// TestSlow has every call last 30 seconds (C5), with many changes meanwhile: a
// contact never has two calls at once, and gets its last state.
func TestSlow(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		crm := newLedger(5, Limits{Contacts: 50, Activities: 50, Parallel: 4, Timeout: time.Minute})
		crm.late = 30 * time.Second
		w := newWorld(t, crm, Options{Window: 100 * time.Millisecond})
		for range 5 {
			for n := range 200 {
				w.identify(n, nil)
				w.happen(n, event.FactWidgetOpened)
			}
			w.pass(20 * time.Second)
			for n := range 200 {
				w.happen(n, event.FactWidgetClosed)
			}
			w.pass(5 * time.Second)
		}
		w.pass(time.Hour)
		w.want(200, 200)
		for _, a := range crm.activities {
			if a.Record.Opens != 5 || a.Record.Seconds != 100 {
				t.Fatalf("a chat has %d openings and %g s, want 5 and 100", a.Record.Opens, a.Record.Seconds)
			}
		}
		w.end()
	})
}

// TestC14Gone has the CRM lose contacts: they are made anew, with everything.
func TestC14Gone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		crm := newLedger(14, Limits{Contacts: 10, Activities: 10})
		w := newWorld(t, crm, Options{Window: 10 * time.Millisecond})
		w.chats(100, time.Millisecond)
		w.pass(time.Minute)
		gone := map[string]int{}
		crm.set(faults{reject: func(key string) *fault.Error {
			if gone[key]++; gone[key] == 1 && strings.HasPrefix(key, "s") {
				delete(crm.contacts, key)
				return fault.New(fault.VendorNotFound, "no such record")
			}
			return nil
		}})
		for n := range 100 {
			w.identify(n, map[string]any{"name": "another"})
		}
		w.pass(time.Minute)
		if diff := cmp.Diff(map[string]any{"email": "u3@example.test", "user_id": "u-3", "name": "another"}, less(crm.contacts[w.session(3)], "last_chat_at")); diff != "" {
			t.Errorf("the contact (-want +got):\n%s", diff)
		}
		for key, n := range gone {
			if strings.HasPrefix(key, "s") && n > 2 {
				t.Errorf("%s was written %d times, want 2", key, n)
			}
		}
		w.end()
	})
}

func less(of map[string]any, name string) map[string]any {
	delete(of, name)
	return of
}
