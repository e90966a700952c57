package ingest_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/bus/bustest"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/internal/ingest"
	"github.com/parley-chat/parley/internal/ingest/plain"
	"github.com/parley-chat/parley/schemas"
)

func TestMain(m *testing.M) {
	if text := os.Getenv(asEdge); text != "" { //nolint:forbidigo // The test binary is another process here.
		os.Exit(edgeProcess(text)) //nolint:forbidigo // As above.
	}
	goleak.VerifyTestMain(m, bustest.Leaks()...)
}

const secret = "a-secret-that-nobody-guesses"

// ledger counts what the edge says that it did.
type ledger struct {
	mu               sync.Mutex
	events, rejected map[string]int // by outcome, and by reason
	answers          map[int]int    // by status
}

func newLedger() *ledger {
	return &ledger{events: map[string]int{}, rejected: map[string]int{}, answers: map[int]int{}}
}

func (l *ledger) Ingested(_, outcome string, events int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.events[outcome] += events
}

func (l *ledger) IngestRejected(_, reason string, events int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rejected[reason] += events
}

func (l *ledger) IngestAnswered(_ string, status int, _ time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.answers[status]++
}

func (l *ledger) of(outcome string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.events[outcome]
}

func (l *ledger) refused(reason fault.Reason) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.rejected[string(reason)]
}

// rig is an edge on a real bus, reached over loopback.
type rig struct {
	t      *testing.T
	bus    *bus.Bus
	edge   *ingest.Edge
	url    string
	ledger *ledger
	client *http.Client
}

// sites are two sites; pages of the second lie below a path of the first's host.
func siteOf(page string) (string, error) {
	switch {
	case strings.HasPrefix(page, "https://shop.example.test/de"):
		return "shop-de", nil
	case strings.HasPrefix(page, "https://shop.example.test"):
		return "shop", nil
	}
	return "", fault.New(fault.UnmappedDomain, "no site has the page")
}

// mountPlain is a plain source that a bearer token proves.
func mountPlain(t testing.TB, name string) ingest.Mount {
	t.Helper()
	mount, err := plainMount(name)
	if err != nil {
		t.Fatal(err)
	}
	return mount
}

func plainMount(name string) (ingest.Mount, error) {
	settings := ingest.Settings{Name: name, Type: "plain"}
	source, err := plain.New(settings)
	return ingest.Mount{Settings: settings, Source: source, Path: "/in/" + name, Token: [][]byte{[]byte(secret)}}, err
}

func options(ctx context.Context, b *bus.Bus) (ingest.Options, error) {
	validators, err := event.NewSchemas(schemas.FS)
	if err != nil {
		return ingest.Options{}, err
	}
	identities, err := b.KV(ctx, bus.BucketIdentities)
	return ingest.Options{
		Store: ingest.OnBus(b), Identities: ingest.OnKV(identities), Site: siteOf,
		IsSite:   func(name string) bool { return name == "shop" || name == "shop-de" },
		Validate: validators.Validate, Healthy: b.Healthy,
	}, err
}

// withRoom has the edge look how much room the bus has.
func withRoom(b *bus.Bus) func(*ingest.Options) {
	return func(o *ingest.Options) {
		o.Room = func(ctx context.Context) (int64, error) { return b.Room(ctx, bus.StreamFlow) }
	}
}

// newRig starts an edge with the sources, and whatever change makes of its
// options.
func newRig(t *testing.T, b *bus.Bus, change func(*ingest.Options), mounts ...ingest.Mount) *rig {
	t.Helper()
	return newRigWith(t, b, change, ingest.Limits{}, mounts...)
}

func newRigWith(t *testing.T, b *bus.Bus, change func(*ingest.Options), limits ingest.Limits, mounts ...ingest.Mount) *rig {
	t.Helper()
	r := &rig{t: t, bus: b, ledger: newLedger()}
	o, err := options(t.Context(), b)
	if err != nil {
		t.Fatal(err)
	}
	o.Sources, o.Counter = mounts, r.ledger
	if change != nil {
		change(&o)
	}
	if r.edge, err = ingest.New(bustest.Log(t), o); err != nil {
		t.Fatal(err)
	}
	var config net.ListenConfig
	l, err := config.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r.url = "http://" + l.Addr().String()
	transport := &http.Transport{MaxIdleConnsPerHost: 64}
	r.client = &http.Client{Transport: transport, Timeout: 30 * time.Second}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- r.edge.Serve(ctx, l, limits) }()
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		stop()
		if err := <-ended; err != nil {
			t.Errorf("Serve = %v", err)
		}
	})
	return r
}

// answer is what came back.
type answer struct {
	status int
	header http.Header
	body   string
}

// do sends a request with the token and JSON, unless the headers say otherwise;
// an empty header is left out.
func (r *rig) do(method, path string, body io.Reader, headers map[string]string) answer {
	r.t.Helper()
	a, err := r.try(method, path, body, headers)
	if err != nil {
		r.t.Fatal(err)
	}
	return a
}

func (r *rig) try(method, path string, body io.Reader, headers map[string]string) (answer, error) {
	request, err := http.NewRequestWithContext(r.t.Context(), method, r.url+path, body)
	if err != nil {
		return answer{}, err
	}
	all := map[string]string{"Authorization": "Bearer " + secret, "Content-Type": "application/json"}
	maps.Copy(all, headers)
	for name, value := range all {
		if value != "" {
			request.Header.Set(name, value)
		}
	}
	response, err := r.client.Do(request)
	if err != nil {
		return answer{}, err
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	return answer{response.StatusCode, response.Header, string(text)}, err
}

// post sends JSON to a source.
func (r *rig) post(source, body string) answer {
	r.t.Helper()
	return r.do(http.MethodPost, "/in/"+source, strings.NewReader(body), nil)
}

// triggers returns what is stored, in its order, by the messages' ids.
func (r *rig) triggers() []stored {
	r.t.Helper()
	return triggersOf(r.t, r.bus)
}

type stored struct {
	subject string
	event.Envelope
	event.Trigger
}

func triggersOf(t testing.TB, b *bus.Bus) []stored {
	t.Helper()
	var all []stored
	for d, err := range b.Tail(t.Context(), bus.TailOptions{Subjects: []string{event.TriggerFilter()}, All: true, ToEnd: true}) {
		if err != nil {
			t.Fatal(err)
		}
		e, err := d.Envelope()
		if err != nil {
			t.Fatal(err)
		}
		one := stored{subject: d.Subject, Envelope: e}
		decoder := json.NewDecoder(bytes.NewReader(e.Data))
		decoder.UseNumber()
		if err := decoder.Decode(&one.Trigger); err != nil {
			t.Fatal(err)
		}
		all = append(all, one)
	}
	return all
}

// rejectedOf returns the rejected list, by subject.
func rejectedOf(t testing.TB, b *bus.Bus) map[string][]event.RejectedEvent {
	t.Helper()
	all := map[string][]event.RejectedEvent{}
	for d, err := range b.Tail(t.Context(), bus.TailOptions{Subjects: []string{"dead.>"}, All: true, ToEnd: true}) {
		if err != nil {
			t.Fatal(err)
		}
		e, err := d.Envelope()
		if err != nil || e.Type != event.RejectedType {
			t.Fatalf("%s holds %s, %v", d.Subject, e.Type, err)
		}
		var one event.RejectedEvent
		if err := json.Unmarshal(e.Data, &one); err != nil {
			t.Fatal(err)
		}
		all[d.Subject] = append(all[d.Subject], one)
	}
	return all
}
