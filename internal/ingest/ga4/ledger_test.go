package ga4_test

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/parley-chat/parley/internal/ingest"
	"github.com/parley-chat/parley/internal/ingest/ingesttest"
)

// Whatever comes how often and in whatever order: each good event is stored once,
// each bad one is on the rejected list, and each answer is a 204.
func TestLedger(t *testing.T) {
	t.Parallel()
	settings := ingest.Settings{Name: "ga", Type: "ga4", Secrets: [][]byte{[]byte("s3cret")}}
	edge := ingesttest.Serve(t, ingest.Mount{Settings: settings, Source: source(t, settings), Path: "/", Site: "shop"})
	const requests, each, times = 100, 3, 4
	at := time.Now().Add(-71 * time.Hour).UnixMicro()
	var sends []string
	for i := range requests {
		body := fmt.Sprintf(`{"client_id":"c-%d","timestamp_micros":%d,"events":[{"name":"seen","params":{"n":%d}},{"name":"_bad","params":{"n":%d}},{"name":"seen","params":{"n":%d,"again":1}}]}`,
			i%10, at+int64(i), i, i, i)
		for range times {
			sends = append(sends, body)
		}
	}
	rand.New(rand.NewPCG(1, 2)).Shuffle(len(sends), func(i, j int) { sends[i], sends[j] = sends[j], sends[i] })
	var group sync.WaitGroup
	work := make(chan string)
	for range 8 {
		group.Go(func() {
			for body := range work {
				answer := httptest.NewRecorder()
				request := httptest.NewRequest(http.MethodPost, "/mp/collect?measurement_id=G-1&api_secret=s3cret", strings.NewReader(body))
				request.Header.Set("Content-Type", "application/json")
				edge.Handler.ServeHTTP(answer, request)
				if answer.Code != http.StatusNoContent || answer.Body.Len() != 0 {
					t.Errorf("the answer is %d %s", answer.Code, answer.Body)
				}
			}
		})
	}
	for _, body := range sends {
		work <- body
	}
	close(work)
	group.Wait()
	stored := map[string]int{}
	for _, e := range edge.Events() {
		stored[e.ID]++
		if e.Trigger.Event != "seen" || e.Trigger.Site != "shop" {
			t.Errorf("stored is %+v", e.Trigger)
		}
	}
	twice := 0
	for _, n := range stored {
		twice += n - 1
	}
	if len(stored) != requests*(each-1) || twice != 0 {
		t.Errorf("%d events are stored, %d of them twice, want %d", len(stored), twice, requests*(each-1))
	}
	rejected := map[string]bool{}
	for _, r := range edge.Rejected() {
		rejected[string(r.Body)] = true
		if r.Problem.Field != "/events/1/name" {
			t.Errorf("the rejected event says %+v", r.Problem)
		}
	}
	if len(rejected) != requests {
		t.Errorf("%d events are on the rejected list, want %d", len(rejected), requests)
	}
}

// A sender that is not proved is told nothing, and stores nothing.
func TestNothingOfAForgerIsKept(t *testing.T) {
	t.Parallel()
	settings := ingest.Settings{Name: "ga", Type: "ga4", Secrets: [][]byte{[]byte("s3cret")}}
	edge := ingesttest.Serve(t, ingest.Mount{Settings: settings, Source: source(t, settings), Path: "/in/ga", Site: "shop"})
	for i := range 1000 {
		answer := httptest.NewRecorder()
		edge.Handler.ServeHTTP(answer, httptest.NewRequest(http.MethodPost, fmt.Sprintf("/in/ga/mp/collect?measurement_id=G-1&api_secret=s3cre%c%d", 'a'+i%26, i),
			strings.NewReader(`{"client_id":"c","events":[{"name":"seen"},{"name":"_bad"}]}`)))
		if answer.Code != http.StatusNoContent {
			t.Fatalf("the answer is %d %s", answer.Code, answer.Body)
		}
	}
	if events, rejected := edge.Events(), edge.Rejected(); len(events) != 0 || len(rejected) != 0 {
		t.Errorf("1000 tried, %d accepted, %d kept", len(events), len(rejected))
	}
}
