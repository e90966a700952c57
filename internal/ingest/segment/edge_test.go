package segment

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/ingest"
	"github.com/parley-chat/parley/internal/ingest/ingesttest"
)

const token = "a-token-that-nobody-guesses"

// serve starts an edge with two sources. The first has a token as well.
func serve(t *testing.T) *ingesttest.Edge {
	t.Helper()
	var mounts []ingest.Mount
	for _, name := range []string{"web", "app"} {
		source := newSource(t, "new-"+name, "old-"+name)
		source.settings.Name = name
		m := ingest.Mount{Settings: source.settings, Source: source, Path: "/in/" + name, Site: "shop"}
		if name == "web" {
			m.Token = [][]byte{[]byte(token)}
		}
		mounts = append(mounts, m)
	}
	return ingesttest.Serve(t, mounts...)
}

// TestWebhooksArriveOnce sends events as Segment does, one by one and in batches,
// in any order, on a way that breaks: every one is stored once.
func TestWebhooksArriveOnce(t *testing.T) {
	t.Parallel()
	edge := serve(t)
	way := ingesttest.Break(t, edge.URL, 6, ingesttest.Lost, ingesttest.Pass, ingesttest.Refused, ingesttest.Pass, ingesttest.Cut, ingesttest.Pass, ingesttest.Slow, ingesttest.Pass)
	const batches, each = 12, 8
	var webhooks []ingesttest.Webhook
	post := func(path, key, body, signed string) {
		webhooks = append(webhooks, ingesttest.Webhook{
			Method: http.MethodPost, URL: way.URL + path, Body: body,
			Header: map[string]string{"Content-Type": "application/json", "User-Agent": "Segment.io/1.0", "X-Signature": sign(key, signed)},
		})
	}
	text := func(id string) string {
		return fmt.Sprintf(`{"messageId":%q,"type":"track","userId":"u","event":"<E>","timestamp":"2026-11-25T09:00:00.000Z"}`, id)
	}
	for b := range batches {
		var events []string
		for i := range each {
			events = append(events, text(fmt.Sprintf("batch-%d-%d", b, i)))
		}
		post("/in/web/"+token, "new-web", "["+strings.Join(events, ",")+"]", events[0])
		one := text(fmt.Sprintf("one-%d", b))
		post("/in/app", "old-app", one, one)
		post("/in/app", "new-app", one, one) // Another mapping of the same destination.
	}
	rand.New(rand.NewPCG(1, 2)).Shuffle(len(webhooks), func(i, j int) { webhooks[i], webhooks[j] = webhooks[j], webhooks[i] })
	var senders sync.WaitGroup
	for part := range 3 {
		senders.Go(func() {
			for i := part; i < len(webhooks); i += 3 {
				if status, body := ingesttest.Deliver(t, webhooks[i]); status != http.StatusOK {
					t.Errorf("the answer is %d %s", status, body)
				}
			}
		})
	}
	senders.Wait()
	stored, proved := map[string]int{}, map[event.Authenticity]int{}
	for _, e := range edge.Events() {
		stored[e.ID]++
		proved[e.Trigger.Origin.Authenticated]++
	}
	for id, n := range stored {
		if n != 1 {
			t.Errorf("%s is stored %d times", id, n)
		}
	}
	if want := batches*each + batches; len(stored) != want {
		t.Errorf("%d events are stored, want %d", len(stored), want)
	}
	if proved[event.AuthenticFull] != 2*batches || proved[event.AuthenticFirst] != batches*(each-1) {
		t.Errorf("they are proved as %v", proved)
	}
	if way.Met(ingesttest.Lost) == 0 || edge.Counted("duplicate") < batches || edge.Counted("conflict") != 0 || len(edge.Rejected()) != 0 || way.Refusals() != nil {
		t.Errorf("%d answers got lost, %d came again, %d contradicted, %d rejected, refused: %v", way.Met(ingesttest.Lost),
			edge.Counted("duplicate"), edge.Counted("conflict"), len(edge.Rejected()), way.Refusals())
	}
}

// TestForgedRequestsAtTheEdge sends forged requests to the edge itself, with
// signatures of the other source among them: 401 or 400, and nothing is stored.
func TestForgedRequestsAtTheEdge(t *testing.T) {
	t.Parallel()
	edge := serve(t)
	r := rand.New(rand.NewPCG(12, 12))
	answers := map[int]int{}
	for range mutations / 10 {
		f := forge(r)
		for i, s := range f.signatures {
			if s == sign(secret, one) { // The other source's, rightly signed.
				f.signatures[i] = sign("new-web", one)
			}
		}
		request := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/in/app", strings.NewReader(f.body))
		request.Header["Content-Type"] = []string{"application/json"}
		if f.signatures != nil {
			request.Header["X-Signature"] = f.signatures
		}
		w := httptest.NewRecorder()
		edge.Handler.ServeHTTP(w, request)
		answers[w.Code]++
	}
	if n := len(edge.Events()); n != 0 || answers[200]+answers[202] != 0 {
		t.Errorf("%d forged events are stored; answers: %v", n, answers)
	}
	if answers[401] < mutations/20 {
		t.Errorf("answers: %v", answers)
	}
	if n := len(edge.Rejected()); n != 0 {
		t.Errorf("anybody can fill the rejected list: %d events", n)
	}
}

// TestRejectedEventsAreKept: what is properly signed and wrong is on the list,
// with a pointer, and the rest of its batch is stored.
func TestRejectedEventsAreKept(t *testing.T) {
	t.Parallel()
	edge := serve(t)
	bad := `{"messageId":"m-3","type":"track","userId":"u"}`
	body := "[" + one + "," + two + "," + bad + "]"
	status, answer := ingesttest.Deliver(t, ingesttest.Webhook{
		Method: http.MethodPut, URL: edge.URL + "/in/web/" + token, Body: body,
		Header: map[string]string{"Content-Type": "application/json; charset=utf-8", "X-Signature": sign("new-web", one)},
	})
	if status != http.StatusOK || !strings.Contains(answer, `{"status":400,"errormessage":"/2/event: `) {
		t.Errorf("the answer is %d %s", status, answer)
	}
	rejected := edge.Rejected()
	if len(edge.Events()) != 2 || len(rejected) != 1 {
		t.Fatalf("%d events are stored, %d rejected", len(edge.Events()), len(rejected))
	}
	if r := rejected[0]; r.Problem.Field != "/2/event" || string(r.Body) != bad || r.MessageID != "m-3" || r.Source != "web" {
		t.Errorf("the rejected event is %+v", r)
	}
}
