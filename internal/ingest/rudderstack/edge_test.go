package rudderstack

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/ingest"
	"github.com/parley-chat/parley/internal/ingest/ingesttest"
)

// TestWebhooksArriveOnce sends events as RudderStack does, by every method, on a
// way that breaks: every one is stored once, and none shows the secret.
func TestWebhooksArriveOnce(t *testing.T) {
	t.Parallel()
	const token = "t0ken-in-the-address"
	source := newSource(t)
	edge := ingesttest.Serve(t, ingest.Mount{
		Settings: source.settings, Source: source, Path: "/in/rudder", Site: "shop", Token: [][]byte{[]byte(token)}, TokenIn: "query:key",
	})
	way := ingesttest.Break(t, edge.URL, 6, ingesttest.Lost, ingesttest.Pass, ingesttest.Refused, ingesttest.Pass, ingesttest.Cut, ingesttest.Pass, ingesttest.Slow, ingesttest.Pass)
	methods := []string{http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodGet, http.MethodDelete}
	const each = 6
	for i := range each {
		for _, method := range methods {
			id := fmt.Sprintf("%s-%d", method, i)
			w := ingesttest.Webhook{Method: method, URL: way.URL + "/in/rudder?key=" + token, Header: map[string]string{"User-Agent": "RudderLabs"}}
			if method == http.MethodGet || method == http.MethodDelete {
				w.URL += "&" + url.Values{"messageId": {id}, "event": {"E"}, "userId": {"u"}, "plan": {"pro"}}.Encode()
			} else {
				w.Header["Content-Type"] = "application/json"
				w.Body = `{"type":"track","messageId":"` + id + `","userId":"u","event":"E","properties":{"plan":"pro"},"channel":"server"}`
			}
			if status, body := ingesttest.Deliver(t, w); status/100 != 2 {
				t.Errorf("%s: the answer is %d %s", id, status, body)
			}
		}
	}
	stored := map[string]int{}
	for _, e := range edge.Events() {
		stored[e.ID]++
		if e.Trigger.Properties["plan"] != "pro" || len(e.Trigger.Properties) != 1 || e.Trigger.Origin.Authenticated != event.AuthenticPath {
			t.Errorf("%s is %+v", e.ID, e.Trigger)
		}
	}
	for id, n := range stored {
		if n != 1 {
			t.Errorf("%s is stored %d times", id, n)
		}
	}
	if len(stored) != each*len(methods) || edge.Counted("duplicate") == 0 || edge.Counted("conflict") != 0 || way.Refusals() != nil {
		t.Errorf("%d events are stored, %d came again, %d contradicted, refused: %v", len(stored), edge.Counted("duplicate"), edge.Counted("conflict"), way.Refusals())
	}
	// An event that is wrong shows what came, without the secret.
	ingesttest.Deliver(t, ingesttest.Webhook{Method: http.MethodGet, URL: edge.URL + "/in/rudder?plan=pro&key=" + token})
	if rejected := edge.Rejected(); len(rejected) != 1 || string(rejected[0].Body) != "plan=pro" || strings.Contains(string(rejected[0].Body), token) {
		t.Errorf("the rejected list has %+v", rejected)
	}
}
