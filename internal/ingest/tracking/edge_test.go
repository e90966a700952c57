package tracking_test

import (
	"bytes"
	"compress/gzip"
	"maps"
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/ingest/ingesttest"
)

// post sends the body with the write key, as Basic, and returns the answer.
func post(t *testing.T, edge *ingesttest.Edge, path, body string, header map[string]string) (status int, answer string) {
	t.Helper()
	h := map[string]string{"Content-Type": "application/json", "Authorization": "Basic d2stNzo="} // wk-7:
	maps.Copy(h, header)
	return ingesttest.Deliver(t, ingesttest.Webhook{Method: http.MethodPost, URL: edge.URL + path, Header: h, Body: body})
}

// TestOneVisitor follows a visitor through the calls of the spec: whoever was
// unknown is the known one from the identify, and the former one from the alias.
func TestOneVisitor(t *testing.T) {
	t.Parallel()
	const unknown = "507f191e-810c-4972-9de8-60ea00000000"
	edge := serve(t)
	for i, call := range []struct{ path, body string }{
		{"/v1/track", `{"messageId":"m-0","anonymousId":"` + unknown + `","event":"E"}`},
		{"/v1/identify", `{"messageId":"m-1","anonymousId":"` + unknown + `","userId":"u-1"}`},
		{"/v1/page", `{"messageId":"m-2","anonymousId":"` + unknown + `"}`},
		{"/v1/alias", `{"messageId":"m-3","userId":"u-2","previousId":"u-1"}`},
		{"/v1/track", `{"messageId":"m-4","userId":"u-1","event":"E"}`},
		{"/v1/track", `{"messageId":"m-4","userId":"u-1","event":"E","sentAt":"2026-11-25T09:00:00Z"}`}, // Again.
	} {
		if status, answer := post(t, edge, call.path, call.body, nil); status != http.StatusOK {
			t.Errorf("%d: the answer is %d %s", i, status, answer)
		}
	}
	var users []string
	for _, e := range edge.Events() {
		users = append(users, e.ID+" "+e.Trigger.Visitor.UserID)
		if e.ID == "m-1" && (e.Trigger.Previous == nil || *e.Trigger.Previous != (event.Visitor{AnonymousID: unknown})) {
			t.Errorf("the identify says that the visitor was %+v", e.Trigger.Previous)
		}
		if e.ID == "m-3" && (e.Trigger.Previous == nil || e.Trigger.Previous.UserID != "u-1") {
			t.Errorf("the alias says that the visitor was %+v", e.Trigger.Previous)
		}
	}
	if diff := cmp.Diff([]string{"m-0 ", "m-1 u-1", "m-2 u-1", "m-3 u-2", "m-4 u-2"}, users); diff != "" {
		t.Errorf("users (-want +got):\n%s", diff)
	}
}

// TestWire sends calls as clients write them on the wire.
func TestWire(t *testing.T) {
	t.Parallel()
	edge := serve(t)
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	if _, err := w.Write([]byte(`{"batch":[{"type":"track","messageId":"packed","userId":"u","event":"E"}]}`)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	const call = `{"messageId":"m","userId":"u","event":"E"}`
	tests := []struct {
		name, path, body string
		header           map[string]string
		status           int
	}{
		{"packed, and called a form", "/v1/batch", packed.String(), map[string]string{"Content-Type": "application/x-www-form-urlencoded", "Content-Encoding": "gzip"}, 200},
		{"packed, with another path", "/v1/import/", packed.String(), map[string]string{"Content-Encoding": "gzip"}, 200},
		{"a script's text", "/v1/t", call, map[string]string{"Content-Type": "text/plain"}, 200},
		{"a charset", "/v1/track", call, map[string]string{"Content-Type": "application/json; charset=utf-8"}, 200},
		{"parts", "/v1/track", call, map[string]string{"Content-Type": "multipart/form-data; boundary=x"}, 400},
		{"a form in the path of one call", "/v1/track", call, map[string]string{"Content-Type": "application/x-www-form-urlencoded"}, 400},
		{"a packing that nobody knows", "/v1/track", call, map[string]string{"Content-Encoding": "br"}, 400},
		{"a wrong key", "/v1/track", call, map[string]string{"Authorization": "Basic eDo="}, 401},
		{"a path that is none", "/v1/delete", call, nil, 404},
		{"no JSON", "/v1/track", "{", nil, 400},
		{"nobody", "/v1/track", `{"messageId":"n","event":"E"}`, nil, 200},
	}
	for _, test := range tests {
		if status, answer := post(t, edge, test.path, test.body, test.header); status != test.status {
			t.Errorf("%s: the answer is %d %s, want %d", test.name, status, answer, test.status)
		}
	}
	var ids []string
	for _, e := range edge.Events() {
		ids = append(ids, e.ID)
	}
	if diff := cmp.Diff([]string{"packed", "m"}, ids); diff != "" {
		t.Errorf("stored (-want +got):\n%s", diff)
	}
	var rejected []string
	for _, r := range edge.Rejected() {
		rejected = append(rejected, r.Problem.Reason+" "+r.Problem.Field+" "+r.Path)
	}
	if diff := cmp.Diff([]string{"malformed_message  /v1/track", "schema_violation /userId /v1/track"}, rejected); diff != "" {
		t.Errorf("rejected (-want +got):\n%s", diff)
	}
}
