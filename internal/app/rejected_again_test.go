package app

import (
	"bytes"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/bus/bustest"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/ingest"
	"github.com/parley-chat/parley/internal/telemetry"
)

// againRig is an edge that rejects, and the command line that takes again.
type againRig struct {
	t    *testing.T
	bus  *bus.Bus
	file string
	edge *ingest.Edge
}

func newAgainRig(t *testing.T) *againRig {
	t.Helper()
	server, dir := bustest.Serve(t), t.TempDir()
	r := &againRig{t: t, bus: bustest.Open(t, bus.Options{URL: server.URL()}), file: filepath.Join(dir, ConfigFile)}
	secret := filepath.Join(dir, "secret")
	var text strings.Builder
	text.WriteString("bus:\n  url: " + server.URL() + "\ningest:\n  listen: 127.0.0.1:0\n  sources:\n")
	for _, kind := range sourceTypes() {
		text.WriteString("    " + kind + "x: {type: " + kind + ", site: shop, open: true}\n")
	}
	text.WriteString("    gone: {type: plain, site: shop, open: true}\n    signed: {type: plain, site: shop, token: [file:" + secret + "], secrets: [file:" + secret + "]}\n" + oneSite)
	for name, content := range map[string]string{secret: "a-secret-of-the-test\n", r.file: text.String()} {
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cfg, err := LoadConfig(r.file, Env{}, catalogue(t))
	if err != nil {
		t.Fatal(err)
	}
	mounts, err := cfg.mounts(Env{})
	if err != nil {
		t.Fatal(err)
	}
	r.edge, err = ingest.New(bustest.Log(t), ingest.Options{Sources: mounts, Store: ingest.OnBus(r.bus), Counter: telemetry.NewMetrics()})
	if err != nil {
		t.Fatal(err)
	}
	r.write(strings.ReplaceAll(text.String(), "    gone: {type: plain", "    other: {type: plain"))
	return r
}

func (r *againRig) write(text string) {
	r.t.Helper()
	if err := os.WriteFile(r.file, []byte(text), 0o600); err != nil {
		r.t.Fatal(err)
	}
}

// publisher runs the command line with the configuration.
func (r *againRig) publisher(stdin string, args ...string) (code int, out, problems string) {
	r.t.Helper()
	var stdout, stderr bytes.Buffer
	code = Publisher(r.t.Context(), Process{
		Args: append(args, "--config", r.file), Env: Env{}, Stdin: strings.NewReader(stdin), Stdout: &stdout, Stderr: &stderr,
	})
	return code, stdout.String(), stderr.String()
}

// reject makes an entry of the list, as the edge would.
func (r *againRig) reject(source, kind, path, body string) {
	r.t.Helper()
	e, err := event.New("/ingest/"+kind+"/"+source, event.RejectedType, "", event.RejectedEvent{
		Source: source, Provider: kind, Path: path, Body: []byte(body), Bytes: len(body),
		Problem: event.Problem{Reason: "schema_violation", Message: "wrong"},
	})
	if err != nil {
		r.t.Fatal(err)
	}
	if _, err := r.bus.Publish(r.t.Context(), event.DeadSubject("schema_violation", "shop", ""), e); err != nil {
		r.t.Fatal(err)
	}
}

// stored returns the names of the events that workflows see.
func (r *againRig) stored() []string {
	r.t.Helper()
	var names []string
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
		names = append(names, trigger.Event)
	}
	return names
}

// TestRejectedAgain corrects what an edge rejected, and takes it again: once.
func TestRejectedAgain(t *testing.T) {
	t.Parallel()
	r := newAgainRig(t)
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://edge/in/plainx", strings.NewReader(`{"event":"Lead","user_id":"u","time":"soon"}`))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	r.edge.ServeHTTP(discard{http.Header{}}, request)

	if code, out, problems := r.publisher("", "rejected", "replay", "1"); code != 1 || !strings.Contains(problems, "taking 1 again: /time: is no time") {
		t.Errorf("the event as it was: %d %s%s", code, out, problems)
	}
	_, body, _ := r.publisher("", "rejected", "show", "1", "--body")
	corrected := filepath.Join(t.TempDir(), "event.json")
	if err := os.WriteFile(corrected, []byte(strings.ReplaceAll(body, "soon", "2026-11-25T09:00:00Z")), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"1: taken as ", "is stored already"} {
		if code, out, problems := r.publisher("", "rejected", "replay", "1", "--body", corrected); code != 0 || !strings.Contains(out, want) {
			t.Errorf("the corrected event: %d %s%s, want %q", code, out, problems, want)
		}
	}
	code, out, problems := r.publisher(`{"event":"Other","user_id":"u"}`, "rejected", "replay", "1", "--body", "-")
	if code != 1 || !strings.Contains(problems, "another event is stored under the id") {
		t.Errorf("another event in its place: %d %s%s", code, out, problems)
	}
	if got := r.stored(); !slices.Equal(got, []string{"Lead"}) {
		t.Errorf("stored are %v, want Lead once", got)
	}
	_, list, _ := r.publisher("", "rejected")
	if strings.Count(list, "plainx") != 1 {
		t.Errorf("taking again has filled the list:\n%s", list)
	}
}

// TestRejectedAgainByType: what each type of source needs, or why it cannot be.
func TestRejectedAgainByType(t *testing.T) {
	t.Parallel()
	r := newAgainRig(t)
	tests := []struct{ source, kind, path, body, stored, problem string }{
		{"plainx", "plain", "", `{"event":"E1","user_id":"u"}`, "E1", ""},
		{"plainx", "plain", "", `event=E2&user_id=u`, "E2", ""},
		{"signed", "plain", "", `{"event":"E3","user_id":"u"}`, "E3", ""},
		{"segmentx", "segment", "", `{"type":"track","event":"E4","userId":"u","messageId":"m-4"}`, "E4", ""},
		{"rudderstackx", "rudderstack", "", `{"type":"track","event":"E5","userId":"u","messageId":"m-5"}`, "E5", ""},
		{"trackingx", "tracking", "/v1/track", `{"event":"E6","userId":"u","messageId":"m-6"}`, "E6", ""},
		{"trackingx", "tracking", "/v1/batch", `{"type":"track","event":"E7","userId":"u","messageId":"m-7"}`, "E7", ""},
		{"posthogx", "posthog", "/batch", `{"event":"E8","distinct_id":"u","uuid":"m-8"}`, "E8", ""},
		{"posthogx", "posthog", "", `{"event":{"event":"E9","distinct_id":"u","uuid":"m-9"}}`, "E9", ""},
		{"ga4x", "ga4", "/mp/collect", `{"client_id":"c","events":[{"name":"e10","params":{}}]}`, "e10", ""},
		{"ga4x", "ga4", "/mp/collect", `{"app_instance_id":"0123456789abcdef0123456789abcdef","events":[{"name":"e11","params":{}}]}`, "e11", ""},
		{"ga4x", "ga4", "/mp/collect", `{"name":"e12","params":{}}`, "", "the event was kept without its request"},
		{"gtmx", "gtm", "", `{"event_name":"e13","client_id":"c"}`, "e13", ""},
		{"botstarx", "botstar", "/tag_added", `{"user":{"id":"u"},"tag":"vip"}`, "tag_added", ""},
		{"cloudeventsx", "cloudevents", "", `{"specversion":"1.0","type":"E15","source":"/s","id":"15","data":{"user_id":"u"}}`, "E15", ""},
		{"cloudeventsx", "cloudevents", "", `[{"specversion":"1.0","type":"E16","source":"/s","id":"16","data":{"user_id":"u"}}]`, "E16", ""},
		{"cloudeventsx", "cloudevents", "", `{"user_id":"u"}`, "", "attributes of the event were headers"},
		{"gone", "plain", "", `{"event":"E18","user_id":"u"}`, "", `no source "gone"`},
		{"plainx", "segment", "", `{"event":"E19","user_id":"u"}`, "", `of the type segment any more`},
		{"plainx", "plain", "", ``, "", "/event: is missing"},
		{"plainx", "plain", "", `%zz`, "", "neither JSON nor a query"},
	}
	for i, test := range tests {
		r.reject(test.source, test.kind, test.path, test.body)
		before := r.stored()
		code, out, problems := r.publisher("", "rejected", "replay", strconv.Itoa(i+1))
		after := r.stored()
		switch {
		case test.problem != "" && (code == 0 || !strings.Contains(problems, test.problem) || !strings.Contains(problems, "fix: ") || len(after) != len(before)):
			t.Errorf("%s %s: %d %s%s, want %q", test.source, test.body, code, out, problems, test.problem)
		case test.problem == "" && (code != 0 || len(after) != len(before)+1 || after[len(after)-1] != test.stored):
			t.Errorf("%s %s: %d %s%s, stored %v, want %s", test.source, test.body, code, out, problems, after[len(before):], test.stored)
		}
	}
}

// TestRejectedAgainInOrder: the first that fails is the last that is tried.
func TestRejectedAgainInOrder(t *testing.T) {
	t.Parallel()
	r := newAgainRig(t)
	for _, body := range []string{`{"event":"A","user_id":"u"}`, `{"event":"B","user_id":"u"}`, `{"event":"C"}`, `{"event":"D","user_id":"u"}`} {
		r.reject("plainx", "plain", "", body)
	}
	if code, out, problems := r.publisher("", "rejected", "replay", "2", "1", "3", "4"); code != 1 || !strings.Contains(problems, "taking 3 again") || !strings.Contains(out, "1: taken as") {
		t.Errorf("%d %s%s", code, out, problems)
	}
	if got := r.stored(); !slices.Equal(got, []string{"B", "A"}) {
		t.Errorf("stored are %v, want B and A", got)
	}
	for _, test := range []struct {
		args    []string
		problem string
	}{
		{[]string{"1", "2", "--body", "x"}, "--body corrects one event, and 2 are named"},
		{[]string{"1", "--body", "/nowhere/event.json"}, "reading the corrected event"},
		{[]string{"99"}, "there is no rejected event 99"},
	} {
		if code, out, problems := r.publisher("", append([]string{"rejected", "replay"}, test.args...)...); code == 0 || !strings.Contains(problems, test.problem) {
			t.Errorf("%v: %d %s%s, want %q", test.args, code, out, problems, test.problem)
		}
	}
}

// TestACutBodyIsNotTaken: what was too long for the list is asked for.
func TestACutBodyIsNotTaken(t *testing.T) {
	t.Parallel()
	whole := `{"event":"Long","user_id":"u"}`
	one := rejected{RejectedEvent: event.RejectedEvent{Body: []byte(whole[:9]), Bytes: len(whole)}}
	if err := (&rejectedReplayCmd{}).correct(&cli{}, &one); err == nil || !strings.Contains(err.Error(), "only the first 9 were kept") {
		t.Errorf("a cut body: %v", err)
	}
	c := &cli{Process: Process{Stdin: strings.NewReader(whole)}}
	if err := (&rejectedReplayCmd{Body: "-"}).correct(c, &one); err != nil || string(one.Body) != whole {
		t.Errorf("the whole body: %s, %v", one.Body, err)
	}
}

// discard is an answer that nobody reads.
type discard struct{ header http.Header }

func (d discard) Header() http.Header       { return d.header }
func (discard) Write(p []byte) (int, error) { return len(p), nil }
func (discard) WriteHeader(int)             {}
