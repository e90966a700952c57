package actions

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/parley-chat/parley/internal/fault"
)

// RESTOptions are the settings of a REST client. Only Tokens is needed.
type RESTOptions struct {
	Tokens TokenSource
	// Timeout bounds one request. 0 is 30 seconds.
	Timeout time.Duration
	// Attempts is how often a call is sent at most. 0 is 4.
	Attempts int
	// Pause is the time before a second attempt; it doubles, and half of it is
	// left to chance. 0 is 250 ms.
	Pause time.Duration
	// MaxBody is the most bytes of an answer. 0 is 4 MiB.
	MaxBody int64
	// Rate bounds the calls with one token.
	Rate Rate
	// Resolve leads host names to other addresses, and Roots are the authorities
	// that are trusted then: for stand-ins. Nil means the real ones.
	Resolve map[string]string
	Roots   *x509.CertPool
}

// RESTClient sends requests to vendors' REST APIs. It follows no redirect and
// uses no proxy. It is safe for use by many goroutines. Close it once.
type RESTClient struct {
	log       *slog.Logger
	o         RESTOptions
	transport *http.Transport
	budgets   budgets
}

// NewREST returns a client.
func NewREST(log *slog.Logger, o RESTOptions) *RESTClient {
	if o.Timeout == 0 {
		o.Timeout = 30 * time.Second
	}
	if o.Attempts == 0 {
		o.Attempts = 4
	}
	if o.Pause == 0 {
		o.Pause = 250 * time.Millisecond
	}
	if o.MaxBody == 0 {
		o.MaxBody = 4 << 20
	}
	dialer := &net.Dialer{Timeout: 10 * time.Second}
	return &RESTClient{log: log, o: o, budgets: budgets{rate: o.Rate, all: map[[sha256.Size]byte]*budget{}}, transport: &http.Transport{
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			if host, _, err := net.SplitHostPort(address); err == nil && o.Resolve[host] != "" {
				address = o.Resolve[host]
			}
			return dialer.DialContext(ctx, network, address)
		},
		TLSClientConfig:       &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: o.Roots},
		TLSHandshakeTimeout:   10 * time.Second,
		ForceAttemptHTTP2:     true,
		MaxIdleConnsPerHost:   32,
		IdleConnTimeout:       90 * time.Second,
		ExpectContinueTimeout: time.Second,
	}}
}

// Close closes the connections that wait for another request.
func (c *RESTClient) Close() { c.transport.CloseIdleConnections() }

// Ready implements REST.
func (c *RESTClient) Ready(ctx context.Context, site string, kind TokenKind) bool {
	_, _, end, err := c.o.Tokens.Token(ctx, site, kind)
	if err != nil {
		return false
	}
	end()
	return true
}

// Do implements REST.
func (c *RESTClient) Do(ctx context.Context, site string, call Call) (Answer, error) {
	var body []byte
	if call.Body != nil {
		var err error
		if body, err = json.Marshal(call.Body); err != nil {
			return Answer{}, fault.New(fault.SchemaViolation, "encoding the body of a request").Because(err)
		}
	}
	using, token, end, err := c.o.Tokens.Token(ctx, site, call.Token)
	if err != nil {
		return Answer{}, fmt.Errorf("asking for the token of %s: %w", site, err)
	}
	defer end()
	renewed, doubtful := false, false
	for attempt := 1; ; attempt++ {
		budget := c.budgets.of(token)
		if err := budget.take(using, site); err != nil {
			return Answer{Attempts: attempt - 1, Doubtful: doubtful}, fmt.Errorf("waiting to send %s: %w", call, err)
		}
		try := c.try(using, call, body, token)
		c.counted(attempt, try, budget)
		doubtful = doubtful || try.doubtful
		answer := Answer{Status: try.status, Body: try.body, Attempts: attempt, Doubtful: doubtful}
		if try.err == nil {
			return answer, nil
		}
		if try.status == http.StatusUnauthorized && !renewed {
			next, err := c.o.Tokens.Refused(using, site, call.Token, token)
			if err != nil {
				return answer, fmt.Errorf("asking for another token of %s: %w", site, err)
			}
			token, renewed = next, true
			continue
		}
		pause := max(c.pause(attempt), try.after)
		if try.status == http.StatusTooManyRequests {
			budget.refused(pause)
		}
		if !try.again(call) || attempt >= c.o.Attempts || !affords(using, pause) {
			return answer, c.told(ctx, try)
		}
		c.log.LogAttrs(ctx, slog.LevelDebug, "request to a vendor is sent again", slog.String("site", site),
			slog.Int("attempt", attempt), slog.Duration("pause", pause), slog.Any("err", try.err))
		if err := rest(using, pause); err != nil {
			return answer, c.told(ctx, try)
		}
	}
}

// counted notes that a call was sent, and whether the vendor refused it for its
// number.
func (c *RESTClient) counted(attempt int, t try, b *budget) {
	c.budgets.counts.calls.Add(1)
	if attempt > 1 {
		c.budgets.counts.again.Add(1)
	}
	if t.status != http.StatusTooManyRequests {
		b.taken()
	}
}

// told is the error that the caller gets: that of the last attempt, or that the
// caller's own time was over.
func (*RESTClient) told(ctx context.Context, t try) error {
	if ctx.Err() != nil && t.status == 0 {
		return fault.From(context.Cause(ctx)).Because(t.err)
	}
	return t.err
}

// try is what became of one attempt.
type try struct {
	status   int
	body     []byte
	doubtful bool // it was sent, and nobody said whether it took effect
	unsent   bool // it surely was not sent
	after    time.Duration
	err      error
}

// again reports whether another attempt is harmless and may go better.
func (t try) again(call Call) bool {
	switch {
	case t.unsent, t.status == http.StatusTooManyRequests:
		return true
	case t.doubtful:
		return call.Repeatable
	}
	return false
}

// try sends the call once.
func (c *RESTClient) try(ctx context.Context, call Call, body []byte, token Token) try {
	ctx, cancel := context.WithTimeoutCause(ctx, share(ctx, c.o.Timeout),
		fault.New(fault.VendorUnavailable, "there was no answer in time"))
	defer cancel()
	var sent atomic.Bool
	traced := httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteHeaders: func() { sent.Store(true) }})
	request, err := request(traced, call, body, token)
	if err != nil {
		return try{unsent: true, err: err}
	}
	response, err := c.transport.RoundTrip(request)
	if err != nil {
		return try{unsent: !sent.Load(), doubtful: sent.Load(), err: unreached(ctx, call, err)}
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(response.Body, c.o.MaxBody+1))
	t := try{status: response.StatusCode, body: conceal(text, token), after: retryAfter(response.Header)}
	switch {
	case err != nil:
		t.doubtful, t.err = true, unreached(ctx, call, err)
	case int64(len(text)) > c.o.MaxBody:
		t.body, t.doubtful = nil, true
		t.err = fault.New(fault.VendorAnswerInvalid, "the answer to %s is longer than %d bytes", call, c.o.MaxBody)
	case t.status/100 != 2:
		// A server that failed may have done it before.
		t.doubtful, t.err = t.status >= 500, refused(call, t)
	}
	return t
}

// share returns how long one request may take: as long as given, and so that
// some of the caller's time is left to look what became of it.
func share(ctx context.Context, most time.Duration) time.Duration {
	end, ok := ctx.Deadline()
	if !ok {
		return most
	}
	left := time.Until(end)
	return min(most, left-min(left/3, 5*time.Second))
}

// request makes the request.
func request(ctx context.Context, call Call, body []byte, token Token) (*http.Request, error) {
	base, err := url.Parse(call.Base)
	if err != nil || base.Host == "" {
		return nil, fault.New(fault.BadConfig, "%q is not the address of a REST API", call.Base)
	}
	query := url.Values{}
	maps.Copy(query, call.Query)
	if call.TokenIn != "" {
		query.Set(call.TokenIn, token.value)
	}
	address := strings.TrimSuffix(call.Base, "/") + call.path()
	if len(query) > 0 {
		address += "?" + query.Encode()
	}
	r, err := http.NewRequestWithContext(ctx, call.Method, address, bytes.NewReader(body))
	if err != nil {
		return nil, fault.New(fault.BadConfig, "making the request %s", call)
	}
	if call.TokenIn == "" {
		r.Header.Set("Authorization", "Bearer "+token.value)
	}
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	r.Header.Set("Accept", "application/json")
	r.Header.Set("User-Agent", "parley")
	return r, nil
}

// path returns the encoded path below the base.
func (c Call) path() string {
	var path strings.Builder
	for _, segment := range c.Path {
		path.WriteString("/" + url.PathEscape(segment))
	}
	if c.Slash {
		path.WriteString("/")
	}
	return path.String()
}

// String names the call for a person: method and path, and nothing of its query.
func (c Call) String() string { return c.Method + " " + c.path() }

// unreached is the error of a call without a whole answer. The cause is taken
// out of the URL's error, which holds the query.
func unreached(ctx context.Context, call Call, err error) error {
	if outer, ok := errors.AsType[*url.Error](err); ok {
		err = outer.Err
	}
	if own, ok := errors.AsType[*fault.Error](context.Cause(ctx)); ok {
		said := *own
		said.Message = call.String() + ": " + own.Message
		return &said
	}
	return fault.New(fault.VendorUnavailable, "%s got no whole answer", call).Because(err)
}

// pause returns the time before the attempt after the given one.
func (c *RESTClient) pause(attempt int) time.Duration {
	pause := c.o.Pause << (attempt - 1)
	return pause/2 + rand.N(pause/2+1)
}

// affords reports whether the caller's time allows the pause.
func affords(ctx context.Context, pause time.Duration) bool {
	end, ok := ctx.Deadline()
	return ctx.Err() == nil && (!ok || time.Until(end) > pause)
}

// rest waits.
func rest(ctx context.Context, pause time.Duration) error {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
