package app

import (
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/parley-chat/parley/internal/bus/bustest"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/vault"
)

// scraped are the figures of a target as /metrics shows them.
type scraped struct {
	text  string
	value map[string]float64
}

// scrape reads /metrics.
func scrape(t *testing.T, address, target string) scraped {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+address+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	s := scraped{string(text), map[string]float64{}}
	for line := range strings.Lines(s.text) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), fmt.Sprintf("{target=%q} ", target))
		if n, err := strconv.ParseFloat(value, 64); ok && err == nil {
			s.value[name] = n
		}
	}
	return s
}

// startCRMs starts a system that serves the targets of the configuration and
// nothing else, and returns the address of its metrics.
func startCRMs(t *testing.T, config string) (*System, string) {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, ConfigFile)
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	p := Process{Env: Env{}, Stdout: t.Output(), Stderr: t.Output()}
	c, err := p.prepare(&common{Config: file})
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := c.config()
	if err != nil {
		t.Fatal(err)
	}
	s, err := Start(t.Context(), bustest.Log(t), cfg, Parts{Catalog: c.catalog, Schemas: c.schemas, Env: Env{}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if err := s.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	return s, s.listener.Addr().String()
}

// TestTheFiguresOfCRMs brings a chat into a database, and into a webhook that is
// away at first: /metrics tells lag, success, retries and what was not written
// twice, and none of the secrets that the process holds.
func TestTheFiguresOfCRMs(t *testing.T) {
	t.Parallel()
	var away atomic.Int64
	away.Store(3)
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if away.Add(-1) >= 0 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	defer receiver.Close()
	dir := t.TempDir()
	master, err := vault.NewMaster()
	if err == nil {
		err = vault.WriteMaster(filepath.Join(dir, "vault.key"), master)
	}
	if err != nil {
		t.Fatal(err)
	}
	canary := "whsec_" + base64.StdEncoding.EncodeToString([]byte("canary of a webhook, 32 bytes ok"))
	if err := os.WriteFile(filepath.Join(dir, "hook"), []byte(canary), 0o600); err != nil {
		t.Fatal(err)
	}
	s, address := startCRMs(t, fmt.Sprintf(`
bus: {dir: data, listen: "127.0.0.1:0"}
telemetry: {listen: "127.0.0.1:0"}
vault: {key: "file:%[1]s/vault.key"}
worker: {roles: [crm]}
crm:
  targets:
    local: {type: sqlite, path: crm.db}
    hook: {type: webhook, url: %[2]q, private: true, window: 20ms, secrets: ["file:%[1]s/hook"]}
`, dir, receiver.URL)+oneSite)
	who := event.Visitor{UserID: "u-1"}
	session := event.SessionKey("shop", who)
	o := event.Occurrence{Site: "shop", Session: session, Provider: "botstar", At: time.Now().UTC(), Cause: event.CauseVisitor, Page: "https://shop.example.com/"}
	known := func(plan string) {
		send(t, s, event.TriggerSubject("test", event.KindIdentify, "shop", session), event.TriggerType(event.KindIdentify), session,
			event.Trigger{Site: "shop", Visitor: who, Event: "identify", OccurredAt: o.At, Traits: map[string]any{"name": "Ada", "plan": plan}})
	}
	known("free")
	for _, name := range []string{event.FactWidgetOpened, event.FactWidgetClosed} {
		send(t, s, event.FactSubject("botstar", name, "shop", session), event.FactType("botstar", name), session, event.WidgetOpened{Occurrence: o})
	}
	for _, target := range []string{"local", "hook"} {
		bustest.Until(t, target+" has the contact and the chat", func() bool {
			got := scrape(t, address, target).value
			return got["parley_crm_leading"] == 1 && got["parley_crm_written_total"] >= 2 && got["parley_crm_waiting"] == 0
		})
	}
	if got := scrape(t, address, "hook").value; got["parley_crm_retries_total"] < 3 || got["parley_crm_calls_failed_total"] != 3 || got["parley_crm_lag_seconds"] <= 0 {
		t.Errorf("of a webhook that was away: %v", got)
	}
	if got := scrape(t, address, "local").value; got["parley_crm_retries_total"] != 0 || got["parley_crm_lag_seconds"] <= 0 || got["parley_crm_stopped"] != 0 {
		t.Errorf("of a database that was there: %v", got)
	}
	known("pro") // The database has no column for that, so there is nothing to write.
	bustest.Until(t, "a write that was not needed is counted", func() bool {
		return scrape(t, address, "local").value["parley_crm_duplicates_avoided_total"] >= 1
	})
	text, err := master.Text()
	if err != nil {
		t.Fatal(err)
	}
	shown := scrape(t, address, "local").text
	for _, secret := range append(strings.FieldsFunc(text.Reveal(), func(r rune) bool { return r == '"' }), canary, canary[len("whsec_"):]) {
		if len(secret) > 40 && !strings.Contains(secret, "type.googleapis") && strings.Contains(shown, secret) {
			t.Errorf("a secret is in the metrics: %.10s…", secret)
		}
	}
}

// send publishes an event.
func send(t *testing.T, s *System, subject, typ, session string, data any) {
	t.Helper()
	e, err := event.New("/test", typ, session, data)
	if err == nil {
		_, err = s.bus.Publish(t.Context(), subject, e)
	}
	if err != nil {
		t.Fatal(err)
	}
}
