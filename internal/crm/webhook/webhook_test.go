package webhook

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parley-chat/parley/internal/crm"
	"github.com/parley-chat/parley/internal/fault"
)

// receiver takes webhooks, and checks each signature by the text of the
// standard, not by our code.
type receiver struct {
	t       *testing.T
	secrets []string
	answer  func(w http.ResponseWriter, n int, body []byte)

	mu     sync.Mutex // guards the fields below
	ids    []string   // of requests
	bodies [][]byte
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	body, err := io.ReadAll(q.Body)
	if err != nil {
		r.t.Error(err)
	}
	signatures := strings.Fields(q.Header.Get("webhook-signature"))
	if len(signatures) != len(r.secrets) {
		r.t.Errorf("%d signatures, want one for each of %d secrets", len(signatures), len(r.secrets))
	}
	for i, secret := range r.secrets {
		key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
		if err != nil {
			key = []byte(secret)
		}
		mac := hmac.New(sha256.New, key)
		_, _ = fmt.Fprintf(mac, "%s.%s.%s", q.Header.Get("webhook-id"), q.Header.Get("webhook-timestamp"), body)
		if want := "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil)); i < len(signatures) && signatures[i] != want {
			r.t.Errorf("the signature is %s, want %s", signatures[i], want)
		}
	}
	r.mu.Lock()
	r.ids, r.bodies = append(r.ids, q.Header.Get("webhook-id")), append(r.bodies, body)
	n := len(r.ids)
	r.mu.Unlock()
	r.answer(w, n, body)
}

func serve(t *testing.T, r *receiver, o Options) *Connector {
	t.Helper()
	r.t = t
	s := httptest.NewServer(r)
	t.Cleanup(s.Close)
	o.URL, o.Secrets, o.Client = s.URL, r.secrets, s.Client()
	return New(o)
}

func activities(n int) []crm.Activity {
	var all []crm.Activity
	for i := range n {
		all = append(all, crm.Activity{Key: fmt.Sprintf("k%d", i), Seq: 7, Contact: crm.Ref{Key: "c"}, Subject: "Chat", Record: crm.Record{Site: "shop", Opens: 2}})
	}
	return all
}

func TestAnEvent(t *testing.T) {
	t.Parallel()
	secret := "whsec_" + base64.StdEncoding.EncodeToString([]byte("a secret of some length"))
	r := &receiver{secrets: []string{secret, "an older one"}, answer: func(w http.ResponseWriter, _ int, _ []byte) { w.WriteHeader(http.StatusNoContent) }}
	c := serve(t, r, Options{})
	out, err := c.PutActivities(t.Context(), activities(1))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]crm.Outcome{{Key: "k0", Status: crm.Done, ID: "k0"}}, out); diff != "" {
		t.Errorf("outcomes (-want +got):\n%s", diff)
	}
	var got map[string]any
	if err := json.Unmarshal(r.bodies[0], &got); err != nil {
		t.Fatal(err)
	}
	data, _ := got["data"].(map[string]any)
	record, _ := data["record"].(map[string]any)
	if got["specversion"] != "1.0" || got["type"] != SessionType || got["id"] != "k0-7" || r.ids[0] != "k0-7" || data["contact"] != "c" || record["opens"] != 2.0 {
		t.Errorf("the event is %v, with the id %s", got, r.ids)
	}
	if _, err := c.UpsertContacts(t.Context(), []crm.Contact{{Key: "c", Seq: 3, Former: []string{"b"}, Fields: []crm.Field{{Name: "email", Value: "a@example.test", Rule: crm.IfEmpty}}}}); err != nil {
		t.Fatal(err)
	}
	if body := string(r.bodies[1]); !strings.Contains(body, `"email":{"value":"a@example.test","rule":"if_empty"}`) || !strings.Contains(body, `"former":["b"]`) {
		t.Errorf("the contact's event is %s", body)
	}
	if _, err := c.Forget(t.Context(), []crm.Ref{{Key: "c"}}); err != nil || !strings.Contains(string(r.bodies[2]), ForgetType) {
		t.Errorf("forgetting: %v, %s", err, r.bodies[2])
	}
}

// TestAnswers says what each answer leads to.
func TestAnswers(t *testing.T) {
	t.Parallel()
	tests := []struct {
		status int
		after  string
		want   fault.Reason
		wait   time.Duration
	}{
		{http.StatusOK, "", "", 0},
		{http.StatusAccepted, "", "", 0},
		{http.StatusFound, "", fault.BadConfig, 0},
		{http.StatusBadRequest, "", fault.VendorRejects, 0},
		{http.StatusUnsupportedMediaType, "", fault.VendorRejects, 0},
		{http.StatusUnauthorized, "", fault.TokenRefused, 0},
		{http.StatusGone, "", fault.VendorForbids, 0},
		{http.StatusTooManyRequests, "17", fault.RateLimited, 17 * time.Second},
		{http.StatusTooManyRequests, "999999", fault.RateLimited, time.Hour},
		{http.StatusTooManyRequests, "-1", fault.RateLimited, 0},
		{http.StatusInternalServerError, "", fault.VendorUnavailable, 0},
		{http.StatusServiceUnavailable, "3", fault.VendorUnavailable, 3 * time.Second},
	}
	for _, test := range tests {
		t.Run(fmt.Sprint(test.status, test.after), func(t *testing.T) {
			t.Parallel()
			c := serve(t, &receiver{answer: func(w http.ResponseWriter, _ int, _ []byte) {
				w.Header().Set("Location", "/elsewhere")
				w.Header().Set("Retry-After", test.after)
				w.WriteHeader(test.status)
			}}, Options{})
			c.o.Client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
			_, err := c.PutActivities(t.Context(), activities(1))
			if test.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if f := fault.From(err); f.Reason != test.want || f.After != test.wait {
				t.Errorf("%s after %s: %v; want %s after %s", f.Reason, f.After, err, test.want, test.wait)
			}
		})
	}
}

// TestABatch has a receiver tell of single events, and of none.
func TestABatch(t *testing.T) {
	t.Parallel()
	r := &receiver{answer: func(w http.ResponseWriter, n int, _ []byte) {
		if n == 1 {
			_, _ = io.WriteString(w, `{"results":[{"id":"k1-7","status":422,"error":"no"},{"id":"k2-7","status":503},{"id":"k0-7","status":200}]}`)
			return
		}
		_, _ = io.WriteString(w, "<html>thanks</html>")
	}}
	c := serve(t, r, Options{Batch: 3})
	if l := c.Limits(); l.Contacts != 3 || l.Activities != 3 {
		t.Errorf("the limits are %+v, want 3 of each", l)
	}
	for _, want := range [][]crm.Status{{crm.Done, crm.Rejected, crm.Retry}, {crm.Done, crm.Done, crm.Done}} {
		out, err := c.PutActivities(t.Context(), activities(3))
		if err != nil {
			t.Fatal(err)
		}
		var got []crm.Status
		for _, o := range out {
			got = append(got, o.Status)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("statuses (-want +got):\n%s", diff)
		}
	}
	if r.ids[0] != r.ids[1] {
		t.Errorf("the same events have the ids %v, want one", r.ids)
	}
}

// TestNoAnswer leaves open what was done.
func TestNoAnswer(t *testing.T) {
	t.Parallel()
	c := serve(t, &receiver{answer: func(http.ResponseWriter, int, []byte) { panic(http.ErrAbortHandler) }}, Options{})
	if _, err := c.PutActivities(t.Context(), activities(1)); fault.From(err).Reason != fault.EffectUnknown {
		t.Errorf("a connection that breaks: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.PutActivities(ctx, activities(1)); err == nil {
		t.Error("a call that was cut off has no error")
	}
}
