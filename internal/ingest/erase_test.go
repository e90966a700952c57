package ingest_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/bus/bustest"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/internal/ingest"
)

// who returns whom the source's last event is for, and whom it merges.
func (r *rig) who(source string) said {
	r.t.Helper()
	var got said
	for _, one := range r.triggers() {
		if one.Source == "/ingest/plain/"+source {
			got = said{Key: one.Visitor.Key()}
			if one.Previous != nil {
				got.Previous = one.Previous.Key()
			}
		}
	}
	return got
}

// TestDeleteForgetsWhoIsWho: a delete event is stored for the visitor, and then
// nothing leads to the visitor any more; others, and other sites, stay.
func TestDeleteForgetsWhoIsWho(t *testing.T) {
	t.Parallel()
	for name, asked := range map[string]string{
		"by user id": `"user_id":"u"`, "by address": `"email":"old@example.test"`, "by device": `"anonymous_id":"a2"`,
		"by a former user id": `"user_id":"u-former"`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := bustest.Start(t)
			edge := newRig(t, b, nil, mountPlain(t, "web"))
			n := 0
			send := func(site, fields string) said {
				n++
				body := fmt.Sprintf(`{"id":"m-%d","event":"E","site":%q,%s}`, n, site, fields)
				if a := edge.post("web", body); a.status != http.StatusAccepted {
					t.Fatalf("%s is answered %d %s", body, a.status, a.body)
				}
				return edge.who("web")
			}
			for _, fields := range []string{
				`"anonymous_id":"a1","email":"old@example.test"`, `"email":"old@example.test","user_id":"u-former"`,
				`"kind":"alias","previous_user_id":"u-former","user_id":"u"`, `"anonymous_id":"a2","user_id":"u"`,
				`"anonymous_id":"b1","user_id":"other"`,
			} {
				send("shop", fields)
			}
			send("shop-de", `"anonymous_id":"a1","user_id":"u"`)
			if got := send("shop", `"kind":"delete",`+asked); got != (said{Key: "u:u"}) {
				t.Errorf("the delete event is for %+v, want u:u and no merge", got)
			}
			for _, step := range []struct {
				site, fields string
				want         said
			}{
				{"shop", `"anonymous_id":"a1"`, said{Key: "a:a1"}},
				{"shop", `"anonymous_id":"a2"`, said{Key: "a:a2"}},
				{"shop", `"email":"old@example.test"`, said{Key: "e:old@example.test"}},
				{"shop", `"user_id":"u-former"`, said{Key: "u:u-former"}},
				{"shop", `"anonymous_id":"b1"`, said{Key: "u:other"}},
				{"shop-de", `"anonymous_id":"a1"`, said{Key: "u:u"}},
				{"shop", `"anonymous_id":"a1","user_id":"u"`, said{Key: "u:u", Previous: "a:a1"}}, // Anew, as for the first time.
			} {
				if diff := cmp.Diff(step.want, send(step.site, step.fields)); diff != "" {
					t.Errorf("after the deletion, %s on %s (-want +got):\n%s", step.fields, step.site, diff)
				}
			}
		})
	}
}

// TestADeleteEventLinksNothing: who asks to be forgotten is not remembered for it.
func TestADeleteEventLinksNothing(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	edge := newRig(t, b, nil, mountPlain(t, "web"))
	edge.post("web", `{"id":"1","event":"E","site":"shop","kind":"delete","anonymous_id":"n","user_id":"u"}`)
	identities, err := b.KV(t.Context(), bus.BucketIdentities)
	if err != nil {
		t.Fatal(err)
	}
	if keys, err := identities.Keys(t.Context()); err != nil || len(keys) > 0 {
		t.Errorf("the bucket has %v, %v", keys, err)
	}
}

// brittle is a bucket whose next purges fail.
type brittle struct {
	ingest.Bucket
	failures *atomic.Int64
}

var errPurge = errors.New("the bucket is away")

func (b brittle) Purge(ctx context.Context, key string) error {
	if b.failures.Add(-1) >= 0 {
		return fault.New(fault.BusUnavailable, "purging").Because(errPurge)
	}
	return b.Bucket.Purge(ctx, key)
}

// TestAnUnfinishedDeletionIsAskedForAgain: a deletion that could not be done is
// not answered as done, and the sender's repetition does it, although the event
// is stored already.
func TestAnUnfinishedDeletionIsAskedForAgain(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	var failures atomic.Int64
	edge := newRig(t, b, func(o *ingest.Options) { o.Identities = brittle{o.Identities, &failures} }, mountPlain(t, "web"))
	edge.post("web", `{"id":"1","event":"E","site":"shop","anonymous_id":"a1","user_id":"u"}`)
	edge.post("web", `{"id":"2","event":"E","site":"shop","anonymous_id":"a2","user_id":"u"}`)
	const deletion = `{"id":"3","event":"E","site":"shop","kind":"delete","anonymous_id":"a1"}`
	failures.Store(2)
	for _, want := range []int{http.StatusServiceUnavailable, http.StatusServiceUnavailable, http.StatusOK} {
		a := edge.post("web", deletion)
		if a.status != want || want == http.StatusServiceUnavailable && a.header.Get("Retry-After") == "" {
			t.Errorf("the deletion is answered %d %v %s, want %d", a.status, a.header, a.body, want)
		}
	}
	for _, id := range []string{"a1", "a2"} {
		edge.post("web", fmt.Sprintf(`{"id":%q,"event":"E","site":"shop","anonymous_id":%q}`, "after-"+id, id))
		if got := edge.who("web"); got.Key != "a:"+id {
			t.Errorf("after the deletion, %s is %s", id, got.Key)
		}
	}
	if got := len(edge.triggers()); got != 5 {
		t.Errorf("%d events are stored, want 5: the deletion once", got)
	}
}

// TestForgetFindsTheIds: what an operator's erasure has to visit.
func TestForgetFindsTheIds(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	edge := newRig(t, b, nil, mountPlain(t, "web"))
	edge.post("web", `{"id":"1","event":"E","site":"shop","anonymous_id":"a1","email":"A@example.test"}`)
	edge.post("web", `{"id":"2","event":"E","site":"shop","email":"a@example.test","user_id":"u"}`)
	identities, err := b.KV(t.Context(), bus.BucketIdentities)
	if err != nil {
		t.Fatal(err)
	}
	found, err := ingest.Forget(t.Context(), ingest.OnKV(identities), "shop", event.Visitor{AnonymousID: "a1"})
	if err != nil {
		t.Fatal(err)
	}
	var keys []string
	for _, one := range found {
		keys = append(keys, one.Key())
	}
	if len(keys) != 3 || keys[0] != "a:a1" || !strings.Contains(strings.Join(keys, " "), "u:u") || !strings.Contains(strings.Join(keys, " "), "e:a@example.test") {
		t.Errorf("found %v, want a:a1 first, and u:u and the address", keys)
	}
	if left, err := identities.Keys(t.Context()); err != nil || len(left) > 0 {
		t.Errorf("the bucket still has %v, %v", left, err)
	}
}
