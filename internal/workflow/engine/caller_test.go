package engine

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/parley-chat/parley/internal/browser"
	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/bus/bustest"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
)

// whsec is the secret of the tests.
const whsec = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

// receiver is a ledger of the calls that came.
type receiver struct {
	*httptest.Server
	mu    sync.Mutex
	calls []received
}

type received struct {
	id, signature, path, body string
	stamp                     int64
}

// receive starts a receiver that gives these answers, the last one for ever.
func receive(t *testing.T, answers ...func(http.ResponseWriter)) *receiver {
	t.Helper()
	r := &receiver{}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, err := io.ReadAll(req.Body)
		if err != nil {
			t.Error(err)
		}
		stamp, err := strconv.ParseInt(req.Header.Get("Webhook-Timestamp"), 10, 64)
		if err != nil {
			t.Error(err)
		}
		r.mu.Lock()
		n := len(r.calls)
		r.calls = append(r.calls, received{req.Header.Get("Webhook-Id"), req.Header.Get("Webhook-Signature"), req.URL.Path, string(body), stamp})
		r.mu.Unlock()
		answers[min(n, len(answers)-1)](w)
	}))
	t.Cleanup(r.Close)
	return r
}

// came returns the calls that came.
func (r *receiver) came() []received {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]received(nil), r.calls...)
}

// says returns an answer.
func says(status int, body string, headers ...string) func(http.ResponseWriter) {
	return func(w http.ResponseWriter) {
		for i := 0; i < len(headers); i += 2 {
			w.Header().Set(headers[i], headers[i+1])
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body) // The caller may be gone.
	}
}

// calling runs an engine and a caller.
func calling(t *testing.T, b *bus.Bus, allowed func(netip.Addr) bool, rule string) {
	t.Helper()
	_, stop := start(t, b, "rule.yaml", rule)
	caller := NewCaller(bustest.Log(t), b, CallerOptions{
		Secret:  func(ref string) (string, error) { return map[string]string{"env:CRM": whsec}[ref], nil },
		Allowed: allowed, Pause: 10 * time.Millisecond,
	})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- caller.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the caller's Run = %v", err)
		}
		stop()
	})
}

func everywhere(netip.Addr) bool { return true }

const callRule = `
on: {trigger: track}
steps:
  - name: crm
    http: {url: "URL/leads", body: {who: "${ visitor.user_id }"}, secret: env:CRM, retries: 3}
    await: true
    on_error: continue
  - branch:
      - if: steps.crm.status == "succeeded"
        steps: [{action: botstar.widget.update, params: {nickname: "${ steps.crm.output.body.nick }"}}]
      - else: true
        steps: [{action: botstar.widget.close}]
`

// TestCaller shows a call that is signed as Standard Webhooks says, fails twice
// in ways that pass, and has the same id at each attempt; and that the run sees
// the answer.
func TestCaller(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	r := receive(t, says(http.StatusServiceUnavailable, ""), says(http.StatusTooManyRequests, ""),
		says(http.StatusOK, `{"nick":"Countess"}`, "Content-Type", "application/json"))
	calling(t, b, everywhere, strings.ReplaceAll(callRule, "URL", r.URL))
	track(t, b, "t-1", "Any", visitor(1), nil)
	bustest.Until(t, "the run goes on", func() bool { return len(commands(t, b)) == 1 })
	if got := commands(t, b)[0]; got != "botstar.widget.update of t-1" {
		t.Errorf("the command is %s", got)
	}
	calls := r.came()
	if len(calls) != 3 {
		t.Fatalf("%d calls came, want 3", len(calls))
	}
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(whsec, "whsec_"))
	if err != nil {
		t.Fatal(err)
	}
	want := event.DerivedID("rule", event.Key("/ingest/cli", "t-1"), "crm")
	for i, call := range calls {
		if call.id != want || call.path != "/leads" || call.body != `{"who":"u-1"}` {
			t.Errorf("the call %d is %+v, want the id %s", i, call, want)
		}
		mac := hmac.New(sha256.New, key)
		_, _ = io.WriteString(mac, call.id+"."+strconv.FormatInt(call.stamp, 10)+"."+call.body)
		if signature := "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil)); call.signature != signature {
			t.Errorf("the signature of the call %d is %s, want %s", i, call.signature, signature)
		}
		if age := time.Since(time.Unix(call.stamp, 0)); age < 0 || age > time.Minute {
			t.Errorf("the time of the call %d is %s ago", i, age)
		}
	}
}

// TestCallerRefusals shows calls that fail for good, and that nothing follows a
// redirect or reaches where it must not.
func TestCallerRefusals(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		answer  func(http.ResponseWriter)
		allowed func(netip.Addr) bool
		calls   int
		reason  fault.Reason
	}{
		{"wrong", says(http.StatusUnprocessableEntity, ""), everywhere, 1, fault.CallRefused},
		{"a redirect", says(http.StatusTemporaryRedirect, "", "Location", "/elsewhere"), everywhere, 1, fault.CallRefused},
		{"never well", says(http.StatusBadGateway, ""), everywhere, 4, fault.CallFailed},
		{"not allowed", says(http.StatusOK, ""), browser.Public, 0, fault.EgressDenied},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			b := bustest.Start(t)
			r := receive(t, test.answer)
			calling(t, b, test.allowed, strings.ReplaceAll(callRule, "URL", r.URL))
			track(t, b, "t-1", "Any", visitor(1), nil)
			result := bustest.NextOn[event.Result](t, b, "res.workflow.http.call.shop.*")
			if result.Status != event.Failed || result.Problem == nil || result.Problem.Reason != string(test.reason) {
				problem, _ := json.Marshal(result.Problem)
				t.Errorf("the result is %s: %s", result.Status, problem)
			}
			bustest.Until(t, "the run goes on", func() bool { return len(commands(t, b)) == 1 })
			if got := commands(t, b)[0]; got != "botstar.widget.close of t-1" {
				t.Errorf("the command is %s", got)
			}
			if n := len(r.came()); n != test.calls {
				t.Errorf("%d calls came, want %d", n, test.calls)
			}
		})
	}
}
