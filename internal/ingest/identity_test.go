package ingest_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/bus/bustest"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/internal/ingest"
)

// said is who an event was for, as it is stored.
type said struct {
	Key, Previous string
}

// TestIdentities follows visitors through the ids that they have over time. Each
// step is one event; want is who it is for, and whom it tells to be that one.
func TestIdentities(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	type step struct {
		event string
		want  said
	}
	tests := map[string][]step{
		"an anonymous visitor becomes known": {
			{`"anonymous_id":"A1"`, said{"a:A1", ""}},
			{`"anonymous_id":"A1","user_id":"A-u"`, said{"u:A-u", "a:A1"}},
			{`"anonymous_id":"A1"`, said{"u:A-u", ""}},
			{`"anonymous_id":"A1","user_id":"A-u"`, said{"u:A-u", ""}},
			{`"user_id":"A-u"`, said{"u:A-u", ""}},
		},
		"a second device": {
			{`"anonymous_id":"B1","user_id":"B-u"`, said{"u:B-u", "a:B1"}},
			{`"anonymous_id":"B2","user_id":"B-u"`, said{"u:B-u", "a:B2"}},
			{`"anonymous_id":"B1"`, said{"u:B-u", ""}},
			{`"anonymous_id":"B2"`, said{"u:B-u", ""}},
		},
		"an address first, a user id later": {
			{`"anonymous_id":"C1","email":"c@example.test"`, said{"e:c@example.test", "a:C1"}},
			{`"anonymous_id":"C1"`, said{"e:c@example.test", ""}},
			{`"anonymous_id":"C1","user_id":"C-u"`, said{"u:C-u", "e:c@example.test"}},
			{`"anonymous_id":"C1"`, said{"u:C-u", ""}},
		},
		"both merges of one event are told, one after the other": {
			{`"anonymous_id":"D1"`, said{"a:D1", ""}},
			{`"email":"d@example.test"`, said{"e:d@example.test", ""}},
			{`"anonymous_id":"D1","email":"D@example.test","user_id":"D-u"`, said{"u:D-u", "a:D1"}},
			{`"email":"d@example.test","user_id":"D-u"`, said{"u:D-u", "e:d@example.test"}},
			{`"email":"d@example.test"`, said{"u:D-u", ""}},
			{`"anonymous_id":"D1","email":"d@example.test","user_id":"D-u"`, said{"u:D-u", ""}},
		},
		"an address on a known device": {
			{`"anonymous_id":"E1","user_id":"E-u"`, said{"u:E-u", "a:E1"}},
			{`"anonymous_id":"E1","email":"e@example.test"`, said{"u:E-u", "e:e@example.test"}},
			{`"email":"e@example.test"`, said{"u:E-u", ""}},
		},
		"one device, two persons": {
			{`"anonymous_id":"F1","user_id":"F-u"`, said{"u:F-u", "a:F1"}},
			{`"anonymous_id":"F1","user_id":"F-v"`, said{"u:F-v", ""}},
			{`"anonymous_id":"F1"`, said{"u:F-v", ""}},
			{`"user_id":"F-u"`, said{"u:F-u", ""}},
		},
		"an alias of an anonymous id": {
			{`"anonymous_id":"G1"`, said{"a:G1", ""}},
			{`"kind":"alias","previous_id":"G1","user_id":"G-u"`, said{"u:G-u", "a:G1"}},
			{`"anonymous_id":"G1"`, said{"u:G-u", ""}},
			{`"user_id":"G1"`, said{"u:G-u", "u:G1"}}, // Some senders write the old id here.
			{`"user_id":"G1"`, said{"u:G-u", ""}},
		},
		"a chain": {
			{`"anonymous_id":"H1","email":"h@example.test"`, said{"e:h@example.test", "a:H1"}},
			{`"email":"h@example.test","user_id":"H-u"`, said{"u:H-u", "e:h@example.test"}},
			{`"kind":"alias","previous_user_id":"H-u","user_id":"H-v"`, said{"u:H-v", "u:H-u"}},
			{`"anonymous_id":"H1"`, said{"u:H-v", ""}},
			{`"email":"h@example.test"`, said{"u:H-v", ""}},
			{`"user_id":"H-u"`, said{"u:H-v", ""}},
		},
		"an alias in a circle": {
			{`"kind":"alias","previous_user_id":"I-u","user_id":"I-v"`, said{"u:I-v", "u:I-u"}},
			{`"kind":"alias","previous_user_id":"I-v","user_id":"I-u"`, said{"u:I-v", ""}},
			{`"user_id":"I-u"`, said{"u:I-v", ""}},
		},
	}
	for name, steps := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			source := "s" + event.DerivedID(name)[:8]
			for i, step := range steps {
				// Each step on another edge, so that nothing rests on what one remembers.
				edge := newRig(t, b, nil, mountPlain(t, source))
				body := fmt.Sprintf(`{"id":"m-%d","event":"E","site":"shop",%s}`, i, step.event)
				if a := edge.post(source, body); a.status != http.StatusAccepted {
					t.Fatalf("step %d is answered %d %s", i, a.status, a.body)
				}
				got := said{}
				for _, one := range triggersOf(t, b) {
					if one.Source == "/ingest/plain/"+source && one.ID == fmt.Sprintf("m-%d", i) {
						got.Key = one.Visitor.Key()
						if one.Previous != nil {
							got.Previous = one.Previous.Key()
						}
						kind := strings.Split(one.Type, ".")[3]
						if want := event.TriggerSubject(source, kind, "shop", event.SessionKey("shop", one.Visitor)); one.subject != want {
							t.Errorf("step %d is on %s, want %s", i, one.subject, want)
						}
					}
				}
				if diff := cmp.Diff(step.want, got); diff != "" {
					t.Errorf("step %d, %s (-want +got):\n%s", i, step.event, diff)
				}
			}
		})
	}
}

// TestKeysTellNothing: what names a visitor in the bucket is not the visitor.
func TestKeysTellNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t, bustest.Start(t), nil, mountPlain(t, "web"))
	r.post("web", `{"event":"E","site":"shop","user_id":"user-4711","email":"ada@example.test","anonymous_id":"anon-4711"}`)
	kv, err := r.bus.KV(t.Context(), bus.BucketIdentities)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := kv.Keys(t.Context())
	if err != nil || len(keys) != 2 {
		t.Fatalf("the keys are %v, %v", keys, err)
	}
	for _, key := range keys {
		if !strings.HasPrefix(key, "shop.") || strings.Contains(key, "4711") || strings.Contains(key, "ada") {
			t.Errorf("the key %s tells who it is", key)
		}
	}
}

// TestSitesAreApart: an id on one site says nothing about the same id on another.
func TestSitesAreApart(t *testing.T) {
	t.Parallel()
	r := newRig(t, bustest.Start(t), nil, mountPlain(t, "web"))
	r.post("web", `{"id":"1","event":"E","site":"shop","user_id":"u","anonymous_id":"a"}`)
	r.post("web", `{"id":"2","event":"E","site":"shop-de","anonymous_id":"a"}`)
	all := r.triggers()
	if len(all) != 2 || all[1].Visitor.Key() != "a:a" {
		t.Errorf("the visitor of the other site is %v", all)
	}
}

// TestOneOfManyTellsTheMerge: many edges see one visitor become known at the same
// moment. Exactly one event tells it.
func TestOneOfManyTellsTheMerge(t *testing.T) {
	t.Parallel()
	const edges, visitors, tries = 4, 12, 3
	b := bustest.Start(t)
	var senders sync.WaitGroup
	for edge := range edges {
		r := newRig(t, b, nil, mountPlain(t, "web"))
		senders.Go(func() {
			for visitor := range visitors {
				for try := range tries {
					body := fmt.Sprintf(`{"id":"m-%d-%d-%d","event":"E","site":"shop","user_id":"u-%d","anonymous_id":"a-%d"}`,
						edge, visitor, try, visitor, visitor)
					if a := r.post("web", body); a.status != http.StatusAccepted {
						t.Errorf("the answer is %d %s", a.status, a.body)
					}
				}
			}
		})
	}
	senders.Wait()
	told, events := map[string]int{}, map[string]int{}
	for _, one := range triggersOf(t, b) {
		events[one.Visitor.Key()]++
		if one.Previous != nil {
			told[one.Visitor.Key()+" was "+one.Previous.Key()]++
		}
	}
	for visitor := range visitors {
		if n := events[fmt.Sprintf("u:u-%d", visitor)]; n != edges*tries {
			t.Errorf("visitor %d has %d events, want %d", visitor, n, edges*tries)
		}
		if n := told[fmt.Sprintf("u:u-%d was a:a-%d", visitor, visitor)]; n != 1 {
			t.Errorf("the merge of visitor %d is told %d times", visitor, n)
		}
	}
	if len(told) != visitors || len(events) != visitors {
		t.Errorf("%d merges of %d visitors are told, want %d", len(told), len(events), visitors)
	}
}

// failing is a real store that refuses the first tries.
type failing struct {
	ingest.Store
	mu   sync.Mutex
	left int
}

func (f *failing) Accept(ctx context.Context, events []ingest.Event) []ingest.Stored {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.left > 0 {
		f.left--
		all := make([]ingest.Stored, len(events))
		for i := range all {
			all[i].Err = fault.New(fault.BusUnavailable, "away")
		}
		return all
	}
	return f.Store.Accept(ctx, events)
}

// TestMergeOfALostEventIsTold: the link was made and its event not stored. The
// sender's next try tells of the merge, as the first would have.
func TestMergeOfALostEventIsTold(t *testing.T) {
	t.Parallel()
	r := newRig(t, bustest.Start(t), func(o *ingest.Options) { o.Store = &failing{Store: o.Store, left: 2} }, mountPlain(t, "web"))
	const body = `{"id":"m-1","event":"E","site":"shop","user_id":"u","anonymous_id":"a"}`
	for range 2 {
		if a := r.post("web", body); a.status != http.StatusServiceUnavailable {
			t.Fatalf("the answer is %d %s", a.status, a.body)
		}
	}
	if a := r.post("web", body); a.status != http.StatusAccepted {
		t.Fatalf("the answer is %d %s", a.status, a.body)
	}
	r.post("web", strings.Replace(body, "m-1", "m-2", 1))
	all := r.triggers()
	if len(all) != 2 || all[0].Previous == nil || all[1].Previous != nil {
		t.Errorf("the merge is told wrongly: %+v", all)
	}
}
