package cloudevents_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"github.com/cloudevents/sdk-go/v2/binding"
	ceevent "github.com/cloudevents/sdk-go/v2/event"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"
	"github.com/google/go-cmp/cmp"

	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/bus/bustest"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/ingest"
	ours "github.com/parley-chat/parley/internal/ingest/cloudevents"
	"github.com/parley-chat/parley/internal/telemetry"
	"github.com/parley-chat/parley/schemas"
)

const secret = "a-secret-that-nobody-guesses"

// rig is an edge with one source of CloudEvents, on a real bus.
type rig struct {
	t   *testing.T
	bus *bus.Bus
	url string
}

func newRig(t *testing.T, s ingest.Settings) *rig {
	t.Helper()
	r := &rig{t: t, bus: bustest.Start(t)}
	s.Name, s.Type = "ce", "cloudevents"
	source, err := ours.New(s)
	if err != nil {
		t.Fatal(err)
	}
	validators, err := event.NewSchemas(schemas.FS)
	if err != nil {
		t.Fatal(err)
	}
	edge, err := ingest.New(bustest.Log(t), ingest.Options{
		Sources: []ingest.Mount{{Settings: s, Source: source, Path: "/in/ce", Site: "shop", Token: [][]byte{[]byte(secret)}}},
		Store:   ingest.OnBus(r.bus), Validate: validators.Validate, Counter: telemetry.NewMetrics(),
	})
	if err != nil {
		t.Fatal(err)
	}
	var config net.ListenConfig
	l, err := config.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r.url = "http://" + l.Addr().String() + "/in/ce"
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- edge.Serve(ctx, l, ingest.Limits{}) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("Serve = %v", err)
		}
	})
	return r
}

// do sends a request with the token.
func (r *rig) do(method, body string, headers map[string]string) (status int, header http.Header, text string) {
	r.t.Helper()
	request, err := http.NewRequestWithContext(r.t.Context(), method, r.url, strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	all := map[string]string{"Authorization": "Bearer " + secret}
	maps.Copy(all, headers)
	for name, value := range all {
		request.Header.Set(name, value)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 20 * time.Second}
	response, err := client.Do(request)
	if err != nil {
		r.t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	out, err := io.ReadAll(response.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return response.StatusCode, response.Header, string(out)
}

// triggers returns what is stored, by the message ids.
func (r *rig) triggers() map[string]event.Trigger {
	r.t.Helper()
	all := map[string]event.Trigger{}
	for d, err := range r.bus.Tail(r.t.Context(), bus.TailOptions{Subjects: []string{event.TriggerFilter()}, All: true, ToEnd: true}) {
		if err != nil {
			r.t.Fatal(err)
		}
		e, err := d.Envelope()
		if err != nil {
			r.t.Fatal(err)
		}
		var trigger event.Trigger
		if err := json.Unmarshal(e.Data, &trigger); err != nil {
			r.t.Fatal(err)
		}
		all[e.ID] = trigger
	}
	return all
}

func sample(id string) ceevent.Event {
	e := ceevent.New()
	e.SetID(id)
	e.SetSource("/shop/1")
	e.SetType("com.example.pricing.viewed")
	e.SetSubject("pricing")
	e.SetTime(time.Date(2026, 11, 25, 9, 30, 0, 0, time.UTC))
	e.SetExtension("tenant", "Zürich €")
	_ = e.SetData(ceevent.ApplicationJSON, map[string]any{"user_id": "u-42", "plan": "pro"})
	return e
}

// TestOfficialClient sends by the CloudEvents SDK, in all modes, and again: each
// event is there once, in the same form.
func TestOfficialClient(t *testing.T) {
	t.Parallel()
	r := newRig(t, ingest.Settings{})
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	client, err := cloudevents.NewClientHTTP(cloudevents.WithTarget(r.url), cehttp.WithHeader("Authorization", "Bearer "+secret),
		cehttp.WithClient(http.Client{Transport: transport}))
	if err != nil {
		t.Fatal(err)
	}
	modes := map[string]func(context.Context) context.Context{"binary": binding.WithForceBinary, "structured": binding.WithForceStructured}
	want := map[string]event.Trigger{}
	for name, mode := range modes {
		for range 2 {
			if result := client.Send(mode(t.Context()), sample(name)); !cloudevents.IsACK(result) {
				t.Errorf("%s: %v", name, result)
			}
		}
		want["/shop/1 "+name] = event.Trigger{}
	}
	request, err := cehttp.NewHTTPRequestFromEvents(t.Context(), r.url, []ceevent.Event{sample("batch-1"), sample("batch-2"), sample("binary")})
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(request.Body)
	if err != nil {
		t.Fatal(err)
	}
	if status, _, text := r.do(http.MethodPost, string(body), map[string]string{"Content-Type": request.Header.Get("Content-Type")}); status != http.StatusOK || strings.Count(text, "accepted") != 2 || strings.Count(text, "duplicate") != 1 {
		t.Errorf("the batch is answered %d %s", status, text)
	}
	want["/shop/1 batch-1"], want["/shop/1 batch-2"] = event.Trigger{}, event.Trigger{}
	got := r.triggers()
	for id := range want {
		trigger := got[id]
		want[id] = event.Trigger{
			Site: "shop", Visitor: event.Visitor{UserID: "u-42"}, Event: "com.example.pricing.viewed",
			Properties: map[string]any{"user_id": "u-42", "plan": "pro"}, OccurredAt: time.Date(2026, 11, 25, 9, 30, 0, 0, time.UTC),
			ReceivedAt: trigger.ReceivedAt,
			Origin:     &event.Origin{Provider: "cloudevents", SourceID: "ce", MessageID: id, Authenticated: event.AuthenticPath},
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the stored events differ (-want +got):\n%s", diff)
	}
}

func TestWrongRequests(t *testing.T) {
	t.Parallel()
	r := newRig(t, ingest.Settings{})
	good := `{"specversion":"1.0","id":"1","source":"/s","type":"t","data":{"user_id":"u"}}`
	structured := map[string]string{"Content-Type": "application/cloudevents+json"}
	binary := func(more map[string]string) map[string]string {
		h := map[string]string{"Content-Type": "application/json", "Ce-Specversion": "1.0", "Ce-Id": "1", "Ce-Source": "/s", "Ce-Type": "t"}
		maps.Copy(h, more)
		return h
	}
	tests := map[string]struct {
		body    string
		headers map[string]string
		status  int
		said    string
	}{
		"no type":               {good, map[string]string{}, 415, "unsupported_media_type"},
		"xml":                   {good, map[string]string{"Content-Type": "application/cloudevents+xml"}, 415, "unsupported_media_type"},
		"text":                  {good, map[string]string{"Content-Type": "text/plain"}, 415, "unsupported_media_type"},
		"json without headers":  {good, map[string]string{"Content-Type": "application/json"}, 202, "accepted"}, // As senders do that forget the type.
		"no id":                 {strings.Replace(good, `"id":"1",`, "", 1), structured, 400, "malformed_message"},
		"another version":       {strings.Replace(good, "1.0", "0.3", 1), structured, 400, "malformed_message"},
		"an attribute twice":    {strings.Replace(good, `"id":"1"`, `"id":"1","id":"2"`, 1), structured, 400, "malformed_message"},
		"a batch of one object": {good, map[string]string{"Content-Type": "application/cloudevents-batch+json"}, 400, "malformed_message"},
		"no visitor":            {strings.Replace(good, "user_id", "nobody", 1), structured, 422, "schema_violation"},
		"a bad percent code":    {`{"user_id":"u"}`, binary(map[string]string{"Ce-Subject": "%C0%A0"}), 400, "malformed_message"},
		"data that is no json":  {`{"user_id":`, binary(nil), 422, "malformed_message"},
		"data with a twin":      {`{"user_id":"u","user_id":"v"}`, binary(nil), 422, `"pointer":"/data/user_id"`},
	}
	for name, test := range tests {
		status, _, text := r.do(http.MethodPost, test.body, test.headers)
		if status != test.status || !strings.Contains(text, test.said) {
			t.Errorf("%s is answered %d %s, want %d %s", name, status, text, test.status, test.said)
		}
	}
	batch := "[" + good + `,{"specversion":"1.0"},` + strings.Replace(good, `"id":"1"`, `"id":"9"`, 1) + "]"
	status, _, text := r.do(http.MethodPost, batch, map[string]string{"Content-Type": "application/cloudevents-batch+json"})
	if status != http.StatusOK || strings.Count(text, "rejected") != 1 || !strings.Contains(text, "accepted") {
		t.Errorf("the batch is answered %d %s", status, text)
	}
}

// TestHandshake is the question of a web hook whether it may send.
func TestHandshake(t *testing.T) {
	t.Parallel()
	r := newRig(t, ingest.Settings{Quota: 2})
	tests := []struct {
		origin, rate string
		status       int
		allowed      string
	}{
		{"eventemitter.example.com", "100", 200, "100"},
		{"eventemitter.example.com", "1000", 200, "120"},
		{"eventemitter.example.com", "", 200, "120"},
		{"eventemitter.example.com", "lots", 200, "120"},
		{"", "100", 400, ""},
	}
	for _, test := range tests {
		headers := map[string]string{}
		if test.origin != "" {
			headers["WebHook-Request-Origin"] = test.origin
		}
		if test.rate != "" {
			headers["WebHook-Request-Rate"] = test.rate
		}
		status, header, text := r.do(http.MethodOptions, "", headers)
		if status != test.status || header.Get("WebHook-Allowed-Origin") != test.origin || header.Get("WebHook-Allowed-Rate") != test.allowed {
			t.Errorf("%+v is answered %d %v %s", test, status, header, text)
		}
		if status == http.StatusOK && !strings.Contains(header.Get("Allow"), "POST") {
			t.Errorf("%+v does not allow POST: %v", test, header)
		}
	}
	if status, _, _ := r.do(http.MethodOptions, "", map[string]string{"WebHook-Request-Origin": "x", "Authorization": "Bearer no"}); status != http.StatusUnauthorized {
		t.Errorf("a stranger's question is answered %d", status)
	}
	refused := 0
	for i := range 20 {
		body := fmt.Sprintf(`{"specversion":"1.0","id":"q-%d","source":"/s","type":"t","data":{"user_id":"u"}}`, i)
		status, header, _ := r.do(http.MethodPost, body, map[string]string{"Content-Type": "application/cloudevents+json"})
		if status == http.StatusTooManyRequests {
			refused++
			if header.Get("Retry-After") == "" {
				t.Error("429 has no Retry-After")
			}
		}
	}
	if refused == 0 {
		t.Error("no request of 20 is beyond the quota of 2 a second")
	}
}

// TestOwnTriggers: a trigger in our own form is taken as it is.
func TestOwnTriggers(t *testing.T) {
	t.Parallel()
	r := newRig(t, ingest.Settings{})
	headers := map[string]string{
		"Content-Type": "application/json", "Ce-Specversion": "1.0", "Ce-Id": "1", "Ce-Source": "/s", "Ce-Type": event.TriggerType(event.KindPage),
	}
	body := `{"visitor":{"anonymous_id":"a"},"event":"Home","url":"https://x.example.test/","properties":{"n":9007199254740993}}`
	if status, _, text := r.do(http.MethodPost, body, headers); status != http.StatusAccepted {
		t.Fatalf("the answer is %d %s", status, text)
	}
	if got := r.triggers()["/s 1"]; got.Event != "Home" || got.Visitor.AnonymousID != "a" || got.Site != "shop" {
		t.Errorf("the trigger is %+v", got)
	}
	headers["Ce-Id"] = "2"
	if status, _, text := r.do(http.MethodPost, strings.Replace(body, `"event"`, `"evnt"`, 1), headers); status != http.StatusUnprocessableEntity {
		t.Errorf("a wrong member is answered %d %s", status, text)
	}
}
