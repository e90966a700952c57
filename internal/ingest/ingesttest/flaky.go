package ingesttest

import (
	"bytes"
	"context"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"
)

// Fate is what becomes of a request on its way.
type Fate string

// The fates.
const (
	Pass    Fate = "pass"
	Lost    Fate = "lost"    // The edge takes it, and the sender is told 500.
	Refused Fate = "refused" // The edge never sees it, and the sender is told 500.
	Slow    Fate = "slow"    // The edge never sees it: 429, Retry-After: 1.
	Cut     Fate = "cut"     // The edge takes it, and the connection breaks.
	Silent  Fate = "silent"  // The edge takes it, and no answer comes until the sender gives up.
)

// Flaky is a proxy that breaks the way to an edge.
type Flaky struct {
	// URL is its address, without a slash at the end.
	URL string

	target string
	client *http.Client
	fates  []Fate

	mu    sync.Mutex
	told  func() // OnRefusal's
	count map[Fate]int
	next  int
	bad   []string
}

// Break returns a proxy in front of the address. Requests meet the fates in turn,
// as often as rounds says; later ones pass.
func Break(t testing.TB, target string, rounds int, fates ...Fate) *Flaky {
	t.Helper()
	f := &Flaky{target: target, client: &http.Client{Timeout: 30 * time.Second}, fates: slices.Repeat(fates, rounds), count: map[Fate]int{}}
	server := httptest.NewServer(f)
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
		f.client.CloseIdleConnections()
	})
	f.URL = server.URL
	return f
}

// Met returns how many requests met the fate.
func (f *Flaky) Met(fate Fate) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.count[fate]
}

// Refusals returns what the edge itself answered with another status than 2xx.
func (f *Flaky) Refusals() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.bad
}

func (f *Flaky) fate() Fate {
	f.mu.Lock()
	defer f.mu.Unlock()
	fate := Pass
	if f.next < len(f.fates) {
		fate = f.fates[f.next]
	}
	f.next++
	f.count[fate]++
	return fate
}

// ServeHTTP takes one request.
func (f *Flaky) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // The sender has given up.
	}
	fate := f.fate()
	var answer *http.Response
	if fate != Refused && fate != Slow {
		if answer, err = f.forward(r, body); err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			f.note("forwarding: " + err.Error())
			return
		}
		defer func() { _ = answer.Body.Close() }()
	}
	switch fate {
	case Pass:
		maps.Copy(w.Header(), answer.Header)
		w.WriteHeader(answer.StatusCode)
		_, _ = io.Copy(w, answer.Body)
	case Lost, Refused:
		http.Error(w, "broken", http.StatusInternalServerError)
	case Slow:
		w.Header().Set("Retry-After", "1")
		http.Error(w, "slow down", http.StatusTooManyRequests)
	case Cut:
		if conn, _, err := http.NewResponseController(w).Hijack(); err == nil {
			_ = conn.Close()
		}
	case Silent:
		<-r.Context().Done()
	}
}

// forward sends the request on, whether the sender still waits or not, and notes
// an answer that is a refusal.
func (f *Flaky) forward(r *http.Request, body []byte) (*http.Response, error) {
	//nolint:gosec // The target is an edge of the test.
	on, err := http.NewRequestWithContext(context.WithoutCancel(r.Context()), r.Method, f.target+r.URL.RequestURI(), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	on.Header = r.Header.Clone()
	answer, err := f.client.Do(on) //nolint:gosec // as said.
	if err == nil && answer.StatusCode/100 != 2 {
		f.note(r.Method + " " + r.URL.Path + ": " + answer.Status)
	}
	return answer, err
}

// OnRefusal has a function called whenever the edge itself refuses a request,
// before the sender is told.
func (f *Flaky) OnRefusal(do func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.told = do
}

func (f *Flaky) note(refusal string) {
	f.mu.Lock()
	f.bad = append(f.bad, refusal)
	told := f.told
	f.mu.Unlock()
	if told != nil {
		told()
	}
}
