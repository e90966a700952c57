package app

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/bus/bustest"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
)

// edgeConfig is a configuration with one source, whose token is in a file of the
// directory.
func edgeConfig(t *testing.T, url string) (file string) {
	t.Helper()
	dir := t.TempDir()
	token, file := filepath.Join(dir, "token"), filepath.Join(dir, "parley.yaml")
	text := "bus:\n  url: " + url + "\ningest:\n  listen: 127.0.0.1:0\n  sources:\n    web:\n      type: plain\n      site: shop\n      token: [file:" + token + "]\n" + oneSite
	for name, content := range map[string]string{token: "a-secret-of-the-test\n", file: text} {
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return file
}

// send sends an event to the source web, and returns the status of the answer.
func sendEvent(t *testing.T, address, body string) int {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+address+"/in/web", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Authorization", "Bearer a-secret-of-the-test")
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	_, _ = io.Copy(io.Discard, response.Body)
	return response.StatusCode
}

// edgeLog is what an edge logs while it runs.
type edgeLog struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *edgeLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *edgeLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// TestEdgeAlone runs `publisher serve` and looks at what it took and what it did
// not, with `publisher rejected`.
func TestEdgeAlone(t *testing.T) {
	t.Parallel()
	server := bustest.Serve(t)
	b := bustest.Open(t, bus.Options{URL: server.URL()})
	file := edgeConfig(t, server.URL())
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	log := &edgeLog{}
	ended := make(chan int, 1)
	go func() {
		ended <- Publisher(ctx, Process{Args: []string{"serve", "--config", file, "--metrics", "127.0.0.1:0"}, Env: Env{}, Stdout: io.Discard, Stderr: log})
	}()
	address := ""
	bustest.Until(t, "the edge runs", func() bool {
		_, rest, ok := strings.Cut(log.String(), `"address":"`)
		address, _, _ = strings.Cut(rest, `"`)
		return ok
	})
	if status := sendEvent(t, address, `{"id":"m-1","event":"Pricing Viewed","user_id":"u-42","properties":{"plan":"pro"}}`); status != http.StatusAccepted {
		t.Errorf("the event is answered %d", status)
	}
	if status := sendEvent(t, address, `{"id":"m-2","event":"Pricing Viewed"}`); status != http.StatusUnprocessableEntity {
		t.Errorf("the wrong event is answered %d", status)
	}
	trigger := bustest.NextOn[event.Trigger](t, b, event.TriggerFilter())
	if trigger.Site != "shop" || trigger.Visitor.UserID != "u-42" || trigger.Properties["plan"] != "pro" {
		t.Errorf("the trigger is %+v", trigger)
	}
	publisher := func(args ...string) string {
		var out, errs bytes.Buffer
		if code := Publisher(t.Context(), Process{Args: append(args, "--config", file), Env: Env{}, Stdout: &out, Stderr: &errs}); code != 0 {
			t.Errorf("%v ends with %d: %s", args, code, errs.String())
		}
		return out.String()
	}
	list := publisher("rejected")
	if !strings.Contains(list, "schema_violation") || !strings.Contains(list, "names no visitor") || !strings.Contains(list, "web") {
		t.Errorf("the list is\n%s", list)
	}
	if show := publisher("rejected", "show", "1"); !strings.Contains(show, "m-2") || !strings.Contains(show, "fix") {
		t.Errorf("the entry is\n%s", show)
	}
	if body := publisher("rejected", "show", "1", "--body"); body != `{"id":"m-2","event":"Pricing Viewed"}` {
		t.Errorf("the body is %s", body)
	}
	if none := publisher("rejected", "list", "--source", "crm"); !strings.Contains(none, "no rejected events") {
		t.Errorf("the list of another source is\n%s", none)
	}
	if letters := publisher("replay"); !strings.Contains(letters, "no dead letters") {
		t.Errorf("a rejected event is a dead letter:\n%s", letters)
	}
	stop()
	if code := <-ended; code != 0 {
		t.Errorf("the edge ends with %d: %s", code, log.String())
	}
}

func TestMounts(t *testing.T) {
	t.Parallel()
	file := edgeConfig(t, "nats://127.0.0.1:4222")
	cfg, err := LoadConfig(file, Env{}, catalogue(t))
	if err != nil {
		t.Fatal(err)
	}
	mounts, err := cfg.mounts(Env{})
	if err != nil || len(mounts) != 1 {
		t.Fatalf("mounts = %v, %v", mounts, err)
	}
	m := mounts[0]
	if m.Path != "/in/web" || m.Site != "shop" || m.Settings.Name != "web" || string(m.Token[0]) != "a-secret-of-the-test" {
		t.Errorf("the mount is %+v", m)
	}
	token := filepath.Join(filepath.Dir(file), "token")
	for content, mode := range map[string]os.FileMode{"short": 0o600, "a-secret-of-the-test": 0o644} {
		if err := os.WriteFile(token, []byte(content), mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(token, mode); err != nil {
			t.Fatal(err)
		}
		if _, err := cfg.mounts(Env{}); fault.From(err) == nil || fault.From(err).Reason != fault.BadConfig || strings.Contains(err.Error(), content) {
			t.Errorf("the secret %q with %s: %v", content, mode, err)
		}
	}
}

func TestQuotas(t *testing.T) {
	t.Parallel()
	got := map[string]float64{}
	for _, text := range []string{"", "100/s", "6000/m", "7200/h"} {
		quota, err := perSecond(text)
		if err != nil {
			t.Errorf("perSecond(%q): %v", text, err)
		}
		got[text] = quota
	}
	if diff := cmp.Diff(map[string]float64{"": 0, "100/s": 100, "6000/m": 100, "7200/h": 2}, got); diff != "" {
		t.Errorf("the quotas differ (-want +got):\n%s", diff)
	}
	for _, text := range []string{"100", "100/d", "/s", "-1/s", "0/s", "1.5/s", "x/s"} {
		if quota, err := perSecond(text); err == nil {
			t.Errorf("perSecond(%q) = %g", text, quota)
		}
	}
}

// TestEverySource makes one source of each kind that the configuration names.
func TestEverySource(t *testing.T) {
	t.Parallel()
	for _, kind := range sourceTypes() {
		cfg := &Config{Ingest: IngestConfig{Sources: map[string]SourceConfig{"one": {Type: kind, Path: "/in/one", Open: true, Site: "shop"}}}}
		mounts, err := cfg.mounts(Env{})
		if err != nil {
			t.Logf("%s wants more: %v", kind, err)
			continue
		}
		if len(mounts[0].Source.Routes()) == 0 {
			t.Errorf("%s takes nothing", kind)
		}
	}
	cfg := &Config{Ingest: IngestConfig{Sources: map[string]SourceConfig{"one": {Type: "segmnt"}}}}
	if _, err := cfg.mounts(Env{}); fault.From(err) == nil || !strings.Contains(fault.From(err).Fix, "segment") {
		t.Errorf("an unknown kind: %v", err)
	}
}
