package gtm_test

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/parley-chat/parley/internal/ingest"
	"github.com/parley-chat/parley/internal/ingest/ingesttest"
)

// Events of pages come in any order, some again, single or in lists: each is
// stored once.
func TestLedger(t *testing.T) {
	t.Parallel()
	settings := ingest.Settings{Name: "tags", Type: "gtm", Secrets: [][]byte{[]byte("s3cret")}}
	edge := ingesttest.Serve(t, ingest.Mount{Settings: settings, Source: source(t, settings), Path: "/in/tags", Site: "shop"})
	const pages, each = 40, 10
	var sends []string
	for page := range pages {
		for n := range each {
			body := fmt.Sprintf(`{"event_name":"seen","client_id":"c-%d","x-ga-page_id":%d,"x-ga-request_count":%d}`, page%7, 7000+page, n+1)
			sends = append(sends, body, "["+body+"]")
		}
	}
	rand.New(rand.NewPCG(1, 2)).Shuffle(len(sends), func(i, j int) { sends[i], sends[j] = sends[j], sends[i] })
	statuses := map[int]int{}
	for _, body := range sends {
		answer := httptest.NewRecorder()
		request := httptest.NewRequest(http.MethodPost, "/in/tags", strings.NewReader(body))
		request.Header.Set("Content-Type", "application/json")
		request.Header.Set("X-Parley-Secret", "s3cret")
		edge.Handler.ServeHTTP(answer, request)
		statuses[answer.Code]++
	}
	if statuses[http.StatusAccepted] != pages*each || statuses[http.StatusOK] != pages*each {
		t.Errorf("the answers are %v", statuses)
	}
	stored := map[string]int{}
	for _, e := range edge.Events() {
		stored[e.ID]++
	}
	if len(stored) != pages*each {
		t.Errorf("%d events are stored, want %d", len(stored), pages*each)
	}
	for id, n := range stored {
		if n != 1 {
			t.Errorf("the event %s is stored %d times", id, n)
		}
	}
}
