package event

import (
	"encoding/json"
	"flag"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/binding"
	sdk "github.com/cloudevents/sdk-go/v2/event"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"
	"github.com/google/go-cmp/cmp"

	"github.com/parley-chat/parley/schemas"
)

var update = flag.Bool("update", false, "write the golden files anew")

// goldenEvents returns an event of each kind.
func goldenEvents(t *testing.T) map[string]Envelope {
	t.Helper()
	at := time.Date(2026, 11, 24, 9, 30, 0, 0, time.UTC)
	session := SessionKey("shop", Visitor{UserID: "u-42"})
	return map[string]Envelope{
		"command": goldenEvent(t, CommandType("botstar.widget.update"), Command{
			Site: "shop", Visitor: Visitor{UserID: "u-42", Email: "ada@example.test"},
			Params:    json.RawMessage(`{"first_name":"Ada € 😀 <b>","tags":["vip"],"seats":12}`),
			TimeoutMS: new(20000), AutoBoot: new(false),
		}, ExtExpiryTime, "2026-11-24T09:31:00Z", ExtCorrelationID, "trigger 1"),
		"result": goldenEvent(t, ResultType("botstar.widget.open"), Result{
			CommandID: "c-1", CommandSource: "/publisher/cli", Action: "botstar.widget.open", Site: "shop", Session: session,
			Status: Succeeded, Verified: true, Verdict: Confirmed, Output: json.RawMessage(`{"open":true,"changed":true}`),
			Evidence: []Evidence{{Kind: "callback", Seen: "onOpen", At: at}}, Worker: "w-1", Attempt: 1, StartedAt: at, DurationUS: 812,
		}, ExtCausationID, "c-1", ExtRecordedTime, "2026-11-24T09:30:00.000812Z"),
		"fact": goldenEvent(t, FactType("botstar", FactWidgetClosed), WidgetClosed{
			Occurrence: Occurrence{Site: "shop", Session: session, Provider: "botstar", At: at, Cause: CauseVisitor},
		}, ExtTraceParent, "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
		"trigger": goldenEvent(t, TriggerType("track"), Trigger{
			Site: "shop", Visitor: Visitor{AnonymousID: "a 1"}, Event: "Pricing Viewed",
			Properties: map[string]any{"plan": "pro", "price": 49.5}, OccurredAt: at,
		}),
		"dead": goldenEvent(t, DeadLetterType, DeadLetter{
			Stream: "CMD", Sequence: 7, Subject: "cq.1.w.botstar.widget.open.shop." + session, Attempts: 3,
			Problem: Problem{Code: "unavailable", Reason: "page_hung", Message: "the page did not answer", Retryable: true},
			Headers: map[string][]string{"ce-id": {"1"}}, Body: []byte("{}"), DiedAt: at,
		}),
	}
}

func goldenEvent(t *testing.T, typ string, data any, extensions ...string) Envelope {
	t.Helper()
	raw, err := json.Marshal(data)
	if err != nil {
		t.Fatal(err)
	}
	e := Envelope{
		ID: "01933ab8-0000-7000-8000-000000000001", Source: "/parley/golden", Type: typ, Subject: "shop/1",
		Time: time.Date(2026, 11, 24, 9, 30, 0, 0, time.UTC), DataSchema: SchemaURI(typ), DataContentType: "application/json",
		Extensions: map[string]string{ExtPartitionKey: "shop-1"}, Data: raw,
	}
	for i := 0; i < len(extensions); i += 2 {
		e.Extensions[extensions[i]] = extensions[i+1]
	}
	return e
}

// A wire is a message as the golden file holds it.
type wire struct {
	Header map[string][]string `json:"header"`
	Body   json.RawMessage     `json:"body"`
}

// golden compares the message with its file, or writes the file.
func golden(t *testing.T, name string, header map[string][]string, body []byte) {
	t.Helper()
	path := filepath.Join("testdata", "golden", name+".json")
	if *update {
		text, err := json.MarshalIndent(wire{header, body}, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, append(text, '\n'), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := readWire(path)
	if err != nil {
		t.Fatalf("%v: run the test with -update, and read what it wrote", err)
	}
	if diff := cmp.Diff(want.Header, header); diff != "" {
		t.Errorf("%s: other headers (-golden +got):\n%s", name, diff)
	}
	if diff := cmp.Diff(string(want.Body), compact(t, body)); diff != "" {
		t.Errorf("%s: another body (-golden +got):\n%s", name, diff)
	}
}

func readWire(path string) (wire, error) {
	var w wire
	text, err := os.ReadFile(path)
	if err != nil {
		return w, err
	}
	if err := json.Unmarshal(text, &w); err != nil {
		return w, err
	}
	w.Body, err = json.Marshal(w.Body) // without the indent of the file
	return w, err
}

func compact(t *testing.T, body []byte) string {
	t.Helper()
	text, err := json.Marshal(json.RawMessage(body))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestGoldenEvents shows that what we write stays as it is, that the CloudEvents
// SDK reads it as we do and calls it valid, and that the data fits its schema.
func TestGoldenEvents(t *testing.T) {
	t.Parallel()
	published, err := NewSchemas(schemas.FS)
	if err != nil {
		t.Fatal(err)
	}
	for name, e := range goldenEvents(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if err := e.Check(); err != nil {
				t.Error(err)
			}
			if err := published.Validate(e.Type, e.Data); err != nil {
				t.Error(err)
			}
			header, body := Encode(e)
			golden(t, name+".binary", header, body)
			agree(t, e, ofBinary(t, header, body))

			header, body = EncodeStructured(e)
			golden(t, name+".structured", header, body)
			var read sdk.Event
			if err := json.Unmarshal(body, &read); err != nil {
				t.Fatal(err)
			}
			agree(t, e, read)
		})
	}
}

// ofBinary lets the SDK read a message in binary mode. Its own NATS binding is
// not ours to import, so it reads the same headers by its HTTP binding, which
// has the content type elsewhere and takes values as they are.
func ofBinary(t *testing.T, header map[string][]string, body []byte) sdk.Event {
	t.Helper()
	over := http.Header{}
	for name, values := range header {
		if name == "ce-datacontenttype" {
			name = "Content-Type"
		}
		over.Set(name, unescape(values[0]))
	}
	message := cehttp.NewMessage(over, readCloser{strings.NewReader(string(body))})
	read, err := binding.ToEvent(t.Context(), message)
	if err != nil {
		t.Fatal(err)
	}
	return *read
}

type readCloser struct{ *strings.Reader }

func (readCloser) Close() error { return nil }

// agree demands that the SDK calls the event valid, and reads in it what we
// wrote.
func agree(t *testing.T, want Envelope, read sdk.Event) {
	t.Helper()
	if err := read.Validate(); err != nil {
		t.Errorf("the SDK calls the event invalid: %v", err)
	}
	got := Envelope{
		ID: read.ID(), Source: read.Source(), Type: read.Type(), Subject: read.Subject(), Time: read.Time(),
		DataSchema: read.DataSchema(), DataContentType: read.DataContentType(), Data: read.Data(),
		Extensions: map[string]string{},
	}
	for name, value := range read.Extensions() {
		text, ok := value.(string)
		if !ok {
			t.Errorf("the extension %s is a %T", name, value)
		}
		got.Extensions[name] = text
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the SDK reads something else (-ours +SDK's):\n%s", diff)
	}
}
