package telemetry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestAttrsOfContext(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	log := NewLogger(&out, LogOptions{Format: "json"}).With(slog.String(AttrWorker, "w-1"))
	ctx := With(t.Context(), slog.String(AttrCommandID, "c-1"))
	inner := With(ctx, slog.String(AttrSession, "s-1"))
	log.LogAttrs(inner, slog.LevelInfo, "command taken", slog.String(AttrAction, "botstar.widget.open"))
	log.LogAttrs(ctx, slog.LevelInfo, "command done")
	log.LogAttrs(ctx, slog.LevelDebug, "not shown")
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 2 {
		t.Fatalf("got %d lines: %s", len(lines), out.String())
	}
	var first, second map[string]any
	if err := errors.Join(json.Unmarshal([]byte(lines[0]), &first), json.Unmarshal([]byte(lines[1]), &second)); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		AttrCommandID: "c-1", AttrSession: "s-1", AttrAction: "botstar.widget.open", AttrWorker: "w-1",
	} {
		if first[name] != want {
			t.Errorf("%s = %v, want %s", name, first[name], want)
		}
	}
	if _, leaked := second[AttrSession]; leaked {
		t.Errorf("an attribute of the inner context is on a record of the outer one: %s", lines[1])
	}
}

func TestTerminalLog(t *testing.T) {
	t.Parallel()
	tests := []struct {
		o        LogOptions
		coloured bool
		json     bool
	}{
		{LogOptions{Format: "auto", Terminal: true}, true, false},
		{LogOptions{Format: "auto"}, false, true},
		{LogOptions{Format: "text"}, false, false},
		{LogOptions{Format: "json", Terminal: true}, false, true},
	}
	for _, test := range tests {
		var out bytes.Buffer
		NewLogger(&out, test.o).LogAttrs(t.Context(), slog.LevelWarn, "something odd", slog.Int("n", 1))
		if got := strings.Contains(out.String(), "\x1b["); got != test.coloured {
			t.Errorf("%+v: coloured %t: %q", test.o, got, out.String())
		}
		if got := json.Valid(out.Bytes()); got != test.json {
			t.Errorf("%+v: JSON %t: %q", test.o, got, out.String())
		}
	}
}

func TestServe(t *testing.T) {
	t.Parallel()
	m := NewMetrics()
	m.Command("botstar.widget.open", "succeeded", 20*time.Millisecond)
	m.Trigger("matched")
	m.Fact("widget.opened")
	m.Refused("record")
	m.Ingested("web", "accepted", 20)
	m.IngestRejected("web", "quota_exhausted", 1)
	m.IngestAnswered("web", 202, 3*time.Millisecond)
	m.Snapshot("save", 3000, 2*time.Millisecond)
	held := 0
	m.Watch(
		Figure{Name: "parley_sessions", Help: "Sessions.", Labels: map[string]string{"state": "held"}, Read: func() float64 { return float64(held) }},
		Figure{Name: "parley_sessions", Help: "Sessions.", Labels: map[string]string{"state": "hibernated"}, Read: func() float64 { return 7 }},
		Figure{Name: "parley_takeovers_total", Help: "Taken over.", Counts: true, Read: func() float64 { return 2 }},
	)
	held = 3 // A figure is read when it is asked for.
	var config net.ListenConfig
	l, err := config.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ill := make(chan error, 1)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- Serve(ctx, slog.New(slog.DiscardHandler), l, m, func(context.Context) error {
			select {
			case err := <-ill:
				return err
			default:
				return nil
			}
		})
	}()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 5 * time.Second}
	get := func(path string) (int, string) {
		response, err := client.Get("http://" + l.Addr().String() + path)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = response.Body.Close() }()
		body, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		return response.StatusCode, string(body)
	}
	if code, body := get("/healthz"); code != 200 || body != "ok\n" {
		t.Errorf("healthz = %d %q", code, body)
	}
	ill <- errors.New("no connection to NATS")
	if code, body := get("/healthz"); code != 503 || !strings.Contains(body, "no connection to NATS") {
		t.Errorf("healthz of an ill process = %d %q", code, body)
	}
	_, body := get("/metrics")
	for _, want := range []string{
		`parley_commands_total{action="botstar.widget.open",status="succeeded"} 1`,
		`parley_triggers_total{outcome="matched"} 1`,
		`parley_facts_total{fact="widget.opened"} 1`,
		`parley_ingest_events_total{outcome="accepted",source="web"} 20`,
		`parley_ingest_refused_total{reason="quota_exhausted",source="web"} 1`,
		`parley_ingest_request_duration_seconds_bucket{source="web",status="202",le="0.005"} 1`,
		`parley_stale_writes_refused_total{by="record"} 1`, `parley_stale_writes_refused_total{by="page"} 0`,
		`parley_snapshot_bytes_bucket{op="save",le="4096"} 1`, `parley_snapshot_duration_seconds_bucket{op="save",le="0.0025"} 1`,
		`parley_sessions{state="held"} 3`, `parley_sessions{state="hibernated"} 7`,
		"# TYPE parley_takeovers_total counter", "parley_takeovers_total 2",
		`parley_command_duration_seconds_bucket{action="botstar.widget.open",le="0.025"} 1`,
		"parley_build_info{", "go_goroutines ", "process_resident_memory_bytes ",
	} {
		if !strings.Contains(body, want) {
			t.Errorf("the metrics lack %s", want)
		}
	}
	stop()
	if err := <-ended; err != nil {
		t.Errorf("Serve = %v", err)
	}
}
