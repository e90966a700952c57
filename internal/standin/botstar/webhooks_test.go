package botstar_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parley-chat/parley/internal/standin/botstar"
)

// receiver keeps what it was sent.
type receiver struct {
	*httptest.Server
	mu     sync.Mutex
	bodies []map[string]any
	signed []string
}

func receive(t *testing.T, status int) *receiver {
	t.Helper()
	r := &receiver{}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		raw, _ := io.ReadAll(q.Body)
		var body map[string]any
		if err := json.Unmarshal(raw, &body); err != nil || q.Header.Get("Content-Type") != "application/json" {
			t.Errorf("the webhook sends %s: %v", raw, err)
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		body["path"] = q.URL.Path
		r.bodies, r.signed = append(r.bodies, body), append(r.signed, q.Header.Get("X-Parley-Signature"))
		w.WriteHeader(status)
	}))
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) ids() []any {
	r.mu.Lock()
	defer r.mu.Unlock()
	var ids []any
	for _, body := range r.bodies {
		ids = append(ids, body["id"])
	}
	return ids
}

// hooks returns a webhook for every event and environment.
func hooks(url string) []botstar.Hook {
	var all []botstar.Hook
	for _, event := range botstar.HookEvents() {
		for _, environment := range []string{botstar.HookLive, botstar.HookTest} {
			all = append(all, botstar.Hook{Event: event, Environment: environment, URL: url + "/" + environment})
		}
	}
	return all
}

// Every event reaches the webhook that is set up for it, and no other.
func TestWebhooksReachWhatIsSetUp(t *testing.T) {
	t.Parallel()
	r := receive(t, http.StatusOK)
	w := botstar.NewWebhooks(botstar.WebhooksOptions{BotID: "b-1", Hooks: hooks(r.URL)})
	for _, event := range botstar.HookEvents() {
		for _, environment := range []string{botstar.HookLive, botstar.HookTest} {
			h := botstar.Happening{Event: event, Environment: environment, User: botstar.HookUser{ID: "s-1"}}
			if err := w.Happen(t.Context(), h); err != nil {
				t.Fatal(err)
			}
		}
	}
	if len(r.bodies) != 14 || len(w.Deliveries()) != 14 {
		t.Fatalf("%d bodies came, %d were sent, want 14", len(r.bodies), len(w.Deliveries()))
	}
	names := map[any]int{}
	for i, body := range r.bodies {
		names[body["event"]]++
		if body["path"] != "/"+w.Deliveries()[i].Environment || body["environment"] != w.Deliveries()[i].Environment {
			t.Errorf("the body %v went to %s", body, body["path"])
		}
	}
	if len(names) != 7 {
		t.Errorf("the events are %v", names)
	}
}

func TestTheBodyOfAWebhook(t *testing.T) {
	t.Parallel()
	r := receive(t, http.StatusOK)
	at := time.Date(2026, 11, 25, 9, 0, 0, 0, time.UTC)
	w := botstar.NewWebhooks(botstar.WebhooksOptions{BotID: "b-1", Hooks: hooks(r.URL), Secret: []byte("s3cret"), Now: func() time.Time { return at }})
	err := w.Happen(t.Context(), botstar.Happening{
		Event: botstar.HookAttribute, Environment: botstar.HookLive, Attribute: "tier", Value: "gold",
		User: botstar.HookUser{ID: "s-1", Name: "Ada", Email: "ada@example.test", Tags: []string{"vip"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []map[string]any{{
		"path": "/live", "id": "evt-1", "event": "updated_user_attribute", "environment": "live", "bot_id": "b-1",
		"user":      map[string]any{"id": "s-1", "name": "Ada", "email": "ada@example.test", "tags": []any{"vip"}},
		"timestamp": "2026-11-25T09:00:00Z", "attribute": "tier", "attribute_value": "gold",
	}}
	if diff := cmp.Diff(want, r.bodies); diff != "" {
		t.Errorf("the body (-want +got):\n%s", diff)
	}
	if len(r.signed[0]) != len("sha256=")+64 {
		t.Errorf("the signature is %q", r.signed[0])
	}
}

func TestCopiesAndReversedOrder(t *testing.T) {
	t.Parallel()
	r := receive(t, http.StatusInternalServerError)
	w := botstar.NewWebhooks(botstar.WebhooksOptions{Hooks: hooks(r.URL), Copies: 1, Hold: 4})
	for range 3 {
		if err := w.Happen(t.Context(), botstar.Happening{Event: botstar.HookTag, Environment: botstar.HookTest}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := []any{"evt-2", "evt-2", "evt-1", "evt-1", "evt-3", "evt-3"}
	if diff := cmp.Diff(want, r.ids()); diff != "" {
		t.Errorf("the order (-want +got):\n%s", diff)
	}
	failed := slices.IndexFunc(w.Deliveries(), func(d botstar.Delivery) bool { return d.Status != http.StatusInternalServerError })
	if failed >= 0 || len(w.Deliveries()) != 6 {
		t.Errorf("the ledger is %+v", w.Deliveries())
	}
}

func TestAReceiverThatIsAwayIsInTheLedger(t *testing.T) {
	t.Parallel()
	r := receive(t, http.StatusOK)
	w := botstar.NewWebhooks(botstar.WebhooksOptions{Hooks: hooks(r.URL)})
	r.Close()
	if err := w.Happen(t.Context(), botstar.Happening{Event: botstar.HookTag, Environment: botstar.HookLive}); err != nil {
		t.Fatal(err)
	}
	if got := w.Deliveries(); len(got) != 1 || got[0].Err == nil || got[0].Status != 0 {
		t.Errorf("the ledger is %+v", got)
	}
}
