package actions_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/parley-chat/parley/internal/actions"
	"github.com/parley-chat/parley/internal/fault"
)

const secret = "canary-51c0ffee/with space"

// keys is a source of one token, and of another one when it is refused.
type keys struct {
	mu     sync.Mutex // guards the fields below
	now    string
	next   string
	cancel context.CancelCauseFunc
	ended  int
}

func (k *keys) Token(ctx context.Context, _ string, _ actions.TokenKind) (context.Context, actions.Token, func(), error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.now == "" {
		return nil, actions.Token{}, nil, fault.New(fault.TokenMissing, "there is no token")
	}
	ctx, k.cancel = context.WithCancelCause(ctx)
	cancel := k.cancel
	return ctx, actions.NewToken(k.now), func() {
		cancel(nil)
		k.mu.Lock()
		defer k.mu.Unlock()
		k.ended++
	}, nil
}

func (k *keys) Refused(_ context.Context, _ string, _ actions.TokenKind, _ actions.Token) (actions.Token, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.next == "" {
		return actions.Token{}, fault.New(fault.TokenRefused, "there is no other token")
	}
	return actions.NewToken(k.next), nil
}

// served returns a client and the address of a server with the handler.
func served(t *testing.T, k *keys, o actions.RESTOptions, handler http.HandlerFunc) (*actions.RESTClient, string) {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return client(t, k, o), server.URL
}

func client(t *testing.T, k *keys, o actions.RESTOptions) *actions.RESTClient {
	t.Helper()
	o.Tokens = k
	if o.Pause == 0 {
		o.Pause = time.Millisecond
	}
	c := actions.NewREST(slog.New(slog.DiscardHandler), o)
	t.Cleanup(c.Close)
	return c
}

func TestTokenIsHidden(t *testing.T) {
	t.Parallel()
	token, verb := actions.NewToken(secret), "%"+string('d')
	var logged bytes.Buffer
	slog.New(slog.NewJSONHandler(&logged, nil)).LogAttrs(t.Context(), slog.LevelInfo, "a token", slog.Any("token", token))
	encoded, err := json.Marshal(map[string]any{"token": token})
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{
		fmt.Sprint(token), fmt.Sprintf("%v %+v %#v %s %q %x", token, token, token, token, token, token), fmt.Sprintf(verb, token),
		fmt.Sprintf("%v %+v", struct{ T actions.Token }{token}, []actions.Token{token}), logged.String(), string(encoded),
	} {
		if strings.Contains(text, "51c0ffee") || strings.Contains(text, fmt.Sprintf("%x", secret)) {
			t.Errorf("the token shows: %s", text)
		}
	}
	if token.Reveal() != secret {
		t.Errorf("Reveal = %q", token.Reveal())
	}
}

func TestRetryAfter(t *testing.T) {
	t.Parallel()
	var times []time.Time
	var mu sync.Mutex
	c, base := served(t, &keys{now: secret}, actions.RESTOptions{}, func(w http.ResponseWriter, _ *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		times = append(times, time.Now())
		if len(times) == 1 {
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusTooManyRequests)
			return
		}
		_, _ = io.WriteString(w, `{}`)
	})
	answer, err := c.Do(t.Context(), "shop", actions.Call{Method: http.MethodPost, Base: base})
	if err != nil || answer.Attempts != 2 || answer.Doubtful {
		t.Fatalf("Do = %+v, %v", answer, err)
	}
	if waited := times[1].Sub(times[0]); waited < time.Second {
		t.Errorf("it waited %s, and was asked to wait 1s", waited)
	}
}

// TestRetryAfterTooLong gives up at once when the vendor asks for more time than
// there is, and says how long to wait.
func TestRetryAfterTooLong(t *testing.T) {
	t.Parallel()
	for header, want := range map[string]time.Duration{"3600": time.Hour, "99999999": 24 * time.Hour, time.Now().Add(time.Hour).UTC().Format(http.TimeFormat): time.Hour} {
		var calls atomic.Int64
		c, base := served(t, &keys{now: secret}, actions.RESTOptions{}, func(w http.ResponseWriter, _ *http.Request) {
			calls.Add(1)
			w.Header().Set("Retry-After", header)
			w.WriteHeader(http.StatusTooManyRequests)
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		began := time.Now()
		_, err := c.Do(ctx, "shop", actions.Call{Method: http.MethodGet, Base: base, Repeatable: true})
		cancel()
		f := fault.From(err)
		if f.Reason != fault.RateLimited || (f.After-want).Abs() > 5*time.Second || calls.Load() != 1 || time.Since(began) > 10*time.Second {
			t.Errorf("Retry-After %s: %v after %s, with %d calls", header, err, f.After, calls.Load())
		}
	}
}

// TestDoubt sends a call again only when that can do no harm.
func TestDoubt(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name       string
		status     int
		repeatable bool
		calls      int64
		doubtful   bool
	}{
		{"a failure of a call that repeats", 500, true, 4, true},
		{"a failure of a call that must not repeat", 500, false, 1, true},
		{"too many calls of one that must not repeat", 429, false, 4, false},
		{"a wrong call that repeats", 400, true, 1, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var calls atomic.Int64
			c, base := served(t, &keys{now: secret}, actions.RESTOptions{}, func(w http.ResponseWriter, _ *http.Request) {
				calls.Add(1)
				w.WriteHeader(tt.status)
			})
			answer, err := c.Do(t.Context(), "shop", actions.Call{Method: http.MethodPost, Base: base, Repeatable: tt.repeatable})
			if err == nil || calls.Load() != tt.calls || answer.Doubtful != tt.doubtful || answer.Status != tt.status {
				t.Errorf("%d calls, %+v, %v", calls.Load(), answer, err)
			}
		})
	}
}

// TestNobodyListens: what surely was not sent is sent again, and tells no
// token, although the address of the call holds it.
func TestNobodyListens(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	base := "http://" + listener.Addr().String()
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	c := client(t, &keys{now: secret}, actions.RESTOptions{})
	answer, err := c.Do(t.Context(), "shop", actions.Call{Method: http.MethodPost, Base: base, Path: []string{"broadcast"}, TokenIn: "token"})
	if fault.From(err).Reason != fault.VendorUnavailable || answer.Doubtful || answer.Attempts != 4 {
		t.Errorf("Do = %+v, %v", answer, err)
	}
	if strings.Contains(fmt.Sprintf("%v %+v", err, fault.From(err)), "51c0ffee") {
		t.Errorf("the token shows: %v", err)
	}
	_, err = c.Do(t.Context(), "shop", actions.Call{Method: http.MethodPost, Base: "://", TokenIn: "token"})
	if fault.From(err).Reason != fault.BadConfig || strings.Contains(err.Error(), "51c0ffee") {
		t.Errorf("a base that is no address: %v", err)
	}
}

func TestAnswersAreBounded(t *testing.T) {
	t.Parallel()
	c, base := served(t, &keys{now: secret}, actions.RESTOptions{MaxBody: 1000}, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, strings.Repeat("x", len(r.URL.Path)*100))
	})
	if answer, err := c.Do(t.Context(), "shop", actions.Call{Method: http.MethodPost, Base: base, Path: []string{"123456789"}}); err != nil || len(answer.Body) != 1000 {
		t.Errorf("1000 bytes: %d, %v", len(answer.Body), err)
	}
	answer, err := c.Do(t.Context(), "shop", actions.Call{Method: http.MethodPost, Base: base, Path: []string{"1234567890"}})
	if fault.From(err).Reason != fault.VendorAnswerInvalid || !answer.Doubtful || answer.Body != nil {
		t.Errorf("1100 bytes: %+v, %v", answer, err)
	}
}

// TestRedirects are not followed: a token goes nowhere else.
func TestRedirects(t *testing.T) {
	t.Parallel()
	var elsewhere atomic.Int64
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { elsewhere.Add(1) }))
	t.Cleanup(other.Close)
	for _, status := range []int{301, 302, 303, 307, 308} {
		c, base := served(t, &keys{now: secret}, actions.RESTOptions{}, func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, other.URL, status)
		})
		if _, err := c.Do(t.Context(), "shop", actions.Call{Method: http.MethodGet, Base: base, Repeatable: true}); fault.From(err).Reason != fault.VendorAnswerInvalid {
			t.Errorf("%d: %v", status, err)
		}
	}
	if n := elsewhere.Load(); n != 0 {
		t.Errorf("%d redirects were followed", n)
	}
}

// TestRotation: a token that is refused is replaced once.
func TestRotation(t *testing.T) {
	t.Parallel()
	var seen []string
	var mu sync.Mutex
	handler := func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		seen = append(seen, r.Header.Get("Authorization"))
		if seen[len(seen)-1] != "Bearer new" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		_, _ = io.WriteString(w, `{}`)
	}
	k := &keys{now: secret, next: "new"}
	c, base := served(t, k, actions.RESTOptions{}, handler)
	if _, err := c.Do(t.Context(), "shop", actions.Call{Method: http.MethodPost, Base: base}); err != nil {
		t.Errorf("with a newer token: %v", err)
	}
	k.next = "newer"
	if _, err := c.Do(t.Context(), "shop", actions.Call{Method: http.MethodPost, Base: base}); fault.From(err).Reason != fault.TokenRefused {
		t.Errorf("with a newer token that is refused: %v", err)
	}
	k.next = ""
	if _, err := c.Do(t.Context(), "shop", actions.Call{Method: http.MethodPost, Base: base}); fault.From(err).Reason != fault.TokenRefused {
		t.Errorf("without a newer token: %v", err)
	}
	if len(seen) != 5 || k.ended != 3 {
		t.Errorf("%d calls, and %d uses were ended: %v", len(seen), k.ended, seen)
	}
}

// TestRevocation ends what is under way.
func TestRevocation(t *testing.T) {
	t.Parallel()
	k := &keys{now: secret}
	arrived := make(chan struct{}, 1)
	c, base := served(t, k, actions.RESTOptions{}, func(_ http.ResponseWriter, r *http.Request) {
		arrived <- struct{}{}
		<-r.Context().Done()
	})
	ended := make(chan error, 1)
	go func() {
		_, err := c.Do(t.Context(), "shop", actions.Call{Method: http.MethodGet, Base: base, Repeatable: true})
		ended <- err
	}()
	<-arrived
	k.mu.Lock()
	k.cancel(fault.New(fault.ConnectionRevoked, "the connection was revoked"))
	k.mu.Unlock()
	if err := <-ended; fault.From(err).Reason != fault.ConnectionRevoked {
		t.Errorf("Do = %v", err)
	}
}

// TestDeadlines: the client's own, and the caller's, with time left to look.
func TestDeadlines(t *testing.T) {
	t.Parallel()
	c, base := served(t, &keys{now: secret}, actions.RESTOptions{Timeout: 50 * time.Millisecond, Attempts: 2}, func(_ http.ResponseWriter, r *http.Request) {
		<-r.Context().Done()
	})
	answer, err := c.Do(t.Context(), "shop", actions.Call{Method: http.MethodGet, Base: base, Repeatable: true})
	if fault.From(err).Reason != fault.VendorUnavailable || answer.Attempts != 2 || !answer.Doubtful {
		t.Errorf("the client's own deadline: %+v, %v", answer, err)
	}
	slow, base := served(t, &keys{now: secret}, actions.RESTOptions{}, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	ctx, cancel := context.WithTimeout(t.Context(), 600*time.Millisecond)
	defer cancel()
	if answer, err = slow.Do(ctx, "shop", actions.Call{Method: http.MethodPost, Base: base}); ctx.Err() != nil || !answer.Doubtful {
		t.Errorf("no time was left to look: %+v, %v, %v", answer, err, ctx.Err())
	}
	gone, stop := context.WithCancelCause(t.Context())
	stop(fault.New(fault.DeadlineExceeded, "the command's time is over"))
	if answer, err = slow.Do(gone, "shop", actions.Call{Method: http.MethodPost, Base: base}); fault.From(err).Reason != fault.DeadlineExceeded || answer.Doubtful {
		t.Errorf("the caller's time was over: %+v, %v", answer, err)
	}
}

// TestWords quotes the vendor, safely.
func TestWords(t *testing.T) {
	t.Parallel()
	tests := []struct{ body, want string }{
		{`{"error":"code","message":"the text"}`, "the text"},
		{`{"error":"code"}`, "code"},
		{`{"message":{"deep":1},"error":["x"]}`, ""},
		{"plain\n\x1b[31mtext", "plain [31mtext"},
		{"<html>page</html>", ""},
		{`{"broken`, ""},
		{strings.Repeat("long ", 100), strings.Repeat("long ", 40) + "…"},
		{`{"message":"your token is ` + secret + `"}`, "your token is ***"},
	}
	for _, tt := range tests {
		c, base := served(t, &keys{now: secret}, actions.RESTOptions{}, func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusBadRequest)
			_, _ = io.WriteString(w, tt.body)
		})
		_, err := c.Do(t.Context(), "shop", actions.Call{Method: http.MethodGet, Base: base, Path: []string{"x"}})
		want := "the answer to GET /x is 400"
		if tt.want != "" {
			want += ": " + tt.want
		}
		var f *fault.Error
		if !errors.As(err, &f) || f.Message != want {
			t.Errorf("%.60q: %q, want %q", tt.body, f.Message, want)
		}
	}
}

func TestReady(t *testing.T) {
	t.Parallel()
	k := &keys{now: secret}
	c := client(t, k, actions.RESTOptions{})
	if !c.Ready(t.Context(), "shop", actions.AccountToken) || k.ended != 1 {
		t.Errorf("with a token it is not ready, or the use was not ended: %d", k.ended)
	}
	k.now = ""
	if c.Ready(t.Context(), "shop", actions.AccountToken) {
		t.Error("without a token it is ready")
	}
	if _, err := c.Do(t.Context(), "shop", actions.Call{}); fault.From(err).Reason != fault.TokenMissing {
		t.Errorf("Do without a token = %v", err)
	}
}

// TestSharedPause: one refusal holds back every call with the token, of whatever
// site; then one call goes first, and all of them arrive.
func TestSharedPause(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var times []time.Time
	first, probe := make(chan struct{}), make(chan struct{})
	c, base := served(t, &keys{now: secret}, actions.RESTOptions{}, func(w http.ResponseWriter, _ *http.Request) {
		mu.Lock()
		times = append(times, time.Now())
		n := len(times)
		mu.Unlock()
		if n == 1 {
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusTooManyRequests)
			return
		}
		if n == 2 {
			close(first)
			<-probe
		}
		_, _ = io.WriteString(w, `{}`)
	})
	const calls = 30
	ended := make(chan error, calls+1)
	do := func(site string) {
		go func() {
			_, err := c.Do(t.Context(), site, actions.Call{Method: http.MethodGet, Base: base, Repeatable: true})
			ended <- err
		}()
	}
	wait := func(fact func(actions.RESTStats) bool) {
		t.Helper()
		for tick := time.NewTicker(time.Millisecond); !fact(c.Stats()); <-tick.C {
			if t.Context().Err() != nil {
				t.Fatalf("it does not come to it: %+v", c.Stats())
			}
		}
	}
	do("shop")
	wait(func(s actions.RESTStats) bool { return s.Limited == 1 })
	for i := range calls {
		do([]string{"shop", "docs", "blog"}[i%3])
	}
	<-first
	wait(func(s actions.RESTStats) bool { return s.Waiting >= calls-1 })
	mu.Lock()
	if len(times) != 2 || times[1].Sub(times[0]) < time.Second {
		t.Errorf("after the refusal %d calls went, the first one after %s", len(times)-1, times[1].Sub(times[0]))
	}
	mu.Unlock()
	close(probe)
	for range calls + 1 {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
	if s := c.Stats(); s.Calls != calls+2 || s.Again != 1 || s.Limited != 1 || s.Waiting != 0 || s.Refused != 0 || s.HeldFor == 0 {
		t.Errorf("the figures are %+v", s)
	}
}
