package hubspot

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/parley-chat/parley/internal/crm"
	"github.com/parley-chat/parley/internal/fault"
)

// The headers of the limits.
const (
	headRemaining = "X-Hubspot-Ratelimit-Remaining"
	headInterval  = "X-Hubspot-Ratelimit-Interval-Milliseconds"
	headDaily     = "X-Hubspot-Ratelimit-Daily-Remaining"
	headDailyOf   = "X-Hubspot-Ratelimit-Daily"
)

// call is one request.
type call struct {
	method, path string
	query        url.Values
	// name is for people: the path without what is in it of the account.
	name string
	// write says that it may change something.
	write   bool
	in, out any
	// told, if set, gets the problem of an answer whose status is no success.
	told *problem
}

// post sends something that may change the account.
func (c *Connector) post(ctx context.Context, path, name string, in, out any) error {
	return c.do(ctx, call{method: http.MethodPost, path: path, name: name, write: true, in: in, out: out})
}

// do sends the call once, or twice when the token had expired.
func (c *Connector) do(ctx context.Context, q call) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	var body []byte
	if q.in != nil {
		var err error
		if body, err = json.Marshal(q.in); err != nil {
			return fault.New(fault.InternalError, "encoding a request to HubSpot").Because(err)
		}
	}
	// HubSpot's own rule: a 401 is no reason for a new token, since tokens are
	// replaced by the clock. So the tokens hear of it only when it says that the
	// token has expired, or when a person made the token.
	var refused *fault.Error
	err := c.tokens.Do(ctx, func(ctx context.Context, t crm.Token) error {
		refused = nil
		p := &problem{}
		err := c.send(ctx, q, body, t, p)
		if q.told != nil {
			*q.told = *p
		}
		if isReason(err, fault.TokenRefused) && p.Category != "EXPIRED_AUTHENTICATION" && !strings.HasPrefix(t.Reveal(), "pat-") {
			refused = fault.From(err)
			return nil
		}
		return err
	})
	if err == nil && refused != nil {
		return refused
	}
	if err == nil {
		return nil
	}
	if _, classified := errors.AsType[*fault.Error](err); classified {
		return fmt.Errorf("calling HubSpot: %w", err)
	}
	return fault.New(fault.VendorUnavailable, "calling HubSpot").Because(err)
}

// send sends the request and reads the answer.
func (c *Connector) send(ctx context.Context, q call, body []byte, t crm.Token, p *problem) error {
	var sent atomic.Bool
	traced := httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteHeaders: func() { sent.Store(true) }})
	address := c.o.Base + q.path
	if len(q.query) > 0 {
		address += "?" + q.query.Encode()
	}
	r, err := http.NewRequestWithContext(traced, q.method, address, bytes.NewReader(body))
	if err != nil {
		return fault.New(fault.BadConfig, "the address of HubSpot's API is wrong")
	}
	t.Authorize(r.Header)
	r.Header.Set("Accept", "application/json")
	r.Header.Set("User-Agent", "parley")
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	response, err := c.o.Transport.RoundTrip(r)
	if err != nil {
		return q.unanswered(sent.Load(), "HubSpot did not answer "+q.name, err)
	}
	defer func() { _ = response.Body.Close() }()
	c.note(response.Header)
	text, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer+1))
	if err != nil {
		return q.unanswered(true, "HubSpot's answer to "+q.name+" broke off", err)
	}
	if len(text) > maxAnswer {
		return q.unanswered(true, fmt.Sprintf("HubSpot's answer to %s is longer than %d bytes", q.name, maxAnswer), nil)
	}
	if response.StatusCode/100 != 2 {
		_ = json.Unmarshal(text, p) // What cannot be read says nothing.
		p.conceal(t.Reveal())
		return classify(response.StatusCode, response.Header, p, q.name, q.write)
	}
	if q.out == nil {
		return nil
	}
	if json.Unmarshal(text, q.out) != nil {
		return q.unanswered(true, "HubSpot's answer to "+q.name+" cannot be read", nil)
	}
	return nil
}

// unanswered is the error of a call of which nobody knows what became.
func (q call) unanswered(sent bool, what string, cause error) error {
	reason := fault.VendorUnavailable
	if q.write && sent {
		reason = fault.EffectUnknown
	}
	e := fault.New(reason, "%s", what).WithFix("nothing to do: it is found out, and written again").WithAfter(afterFailure)
	if outer, ok := errors.AsType[*url.Error](cause); ok {
		cause = outer.Err // Without the address.
	}
	if cause != nil {
		e = e.Because(cause)
	}
	return e
}

// conceal empties what repeats the token.
func (p *problem) conceal(token string) {
	if token == "" {
		return
	}
	if strings.Contains(p.Message, token) {
		p.Message = ""
	}
	for _, at := range []*string{&p.Category, &p.Correlation, &p.Policy, &p.Type} {
		if strings.Contains(*at, token) {
			*at = ""
		}
	}
	if text, err := json.Marshal([]any{p.Context, p.Errors}); err == nil && bytes.Contains(text, []byte(token)) {
		p.Context, p.Errors = nil, nil
	}
}

// note keeps what the headers say of the budget.
func (c *Connector) note(h http.Header) {
	remaining, err := strconv.Atoi(h.Get(headRemaining))
	if err != nil {
		return // The search has none of the headers.
	}
	now := c.o.Now()
	window := afterRolling
	if ms, err := strconv.Atoi(h.Get(headInterval)); err == nil && ms > 0 {
		window = time.Duration(ms) * time.Millisecond
	}
	b := crm.Budget{Remaining: remaining, Resets: now.Add(window), Policy: "TEN_SECONDLY_ROLLING"}
	daily, err := strconv.Atoi(h.Get(headDaily))
	if err == nil && daily < remaining {
		b = crm.Budget{Remaining: daily, Resets: now.Add(afterDaily), Policy: "DAILY"}
	}
	if all, errAll := strconv.Atoi(h.Get(headDailyOf)); err == nil && errAll == nil {
		b.Daily, b.DailyOf = daily, all
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.budget = b
}
