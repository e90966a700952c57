package pipedrive

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

// call is one request.
type call struct {
	method, path string
	query        url.Values
	// name is for people: the path without what is in it of the account.
	name    string
	in, out any
}

// write reports whether the call may change something.
func (q call) write() bool { return q.method != http.MethodGet }

// do sends the call once, or twice when the token had ended.
func (c *Connector) do(ctx context.Context, q call) error {
	var body []byte
	if q.in != nil {
		var err error
		if body, err = json.Marshal(q.in); err != nil {
			return fault.New(fault.InternalError, "encoding a request to Pipedrive").Because(err)
		}
	}
	err := c.tokens.Do(ctx, func(ctx context.Context, t crm.Token) error {
		ctx, cancel := context.WithTimeout(ctx, c.o.Timeout)
		defer cancel()
		return c.send(ctx, q, body, t)
	})
	if classified := (*fault.Error)(nil); err == nil || errors.As(err, &classified) {
		return err // It says all.
	}
	return fault.New(fault.VendorUnavailable, "calling Pipedrive").Because(err)
}

// send sends the request and reads the answer.
func (c *Connector) send(ctx context.Context, q call, body []byte, t crm.Token) error {
	base, err := c.base(t)
	if err != nil {
		return err
	}
	address := base + "/api" + q.path
	if len(q.query) > 0 {
		address += "?" + q.query.Encode()
	}
	var sent atomic.Bool
	traced := httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteHeaders: func() { sent.Store(true) }})
	r, err := http.NewRequestWithContext(traced, q.method, address, bytes.NewReader(body))
	if err != nil {
		return fault.New(fault.BadConfig, "the address of Pipedrive's API is wrong")
	}
	t.Authorize(r.Header)
	r.Header.Set("Accept", "application/json")
	r.Header.Set("User-Agent", "parley")
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	response, err := c.o.Transport.RoundTrip(r)
	if err != nil {
		return q.unanswered(sent.Load(), "Pipedrive did not answer "+q.name, err)
	}
	defer func() { _ = response.Body.Close() }()
	c.note(response.Header)
	return q.take(response, t, c.o.Now())
}

// take reads the answer.
func (q call) take(response *http.Response, t crm.Token, now time.Time) error {
	text, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer+1))
	if err != nil {
		return q.unanswered(true, "Pipedrive's answer to "+q.name+" broke off", err)
	}
	if len(text) > maxAnswer {
		return q.unanswered(true, fmt.Sprintf("Pipedrive's answer to %s is longer than %d bytes", q.name, maxAnswer), nil)
	}
	var p problem
	readable := json.Unmarshal(text, &p) == nil
	if response.StatusCode/100 != 2 {
		if !readable {
			p = problem{html: true}
		}
		for _, at := range []*string{&p.Error, &p.Code} {
			if token := t.Reveal(); token != "" && strings.Contains(*at, token) {
				*at = ""
			}
		}
		return classify(response.StatusCode, response.Header, p, q.name, q.write(), now)
	}
	if !readable || !p.Success || q.out != nil && json.Unmarshal(text, q.out) != nil {
		return q.unanswered(true, "Pipedrive's answer to "+q.name+" cannot be read", nil)
	}
	return nil
}

// base returns where the account's API lies. The token goes to Pipedrive's own
// hosts only, whatever a token answer said.
func (c *Connector) base(t crm.Token) (string, error) {
	if c.o.Base != "" {
		return strings.TrimSuffix(c.o.Base, "/"), nil
	}
	address := t.Account("api_domain")
	u, err := url.Parse(address)
	if err != nil || address == "" {
		return "", fault.New(fault.BadConfig, "the connection does not say where its Pipedrive account is").
			WithFix("connect the account again with `publisher connect pipedrive`, or set the target's `url:`")
	}
	if u.Scheme != "https" || u.User != nil || !strings.HasSuffix(strings.ToLower(u.Hostname()), ".pipedrive.com") {
		return "", fault.New(fault.EgressDenied, "the account's address is none of Pipedrive").
			WithFix("connect the account again with `publisher connect pipedrive`")
	}
	return "https://" + u.Host, nil
}

// unanswered is the error of a call of which nobody knows what became.
func (q call) unanswered(sent bool, what string, cause error) error {
	reason := fault.VendorUnavailable
	if q.write() && sent {
		reason = fault.EffectUnknown
	}
	e := fault.New(reason, "%s", what).WithFix("nothing to do: it is looked for, and written again when it is not there").WithAfter(afterFailure)
	if outer := (*url.Error)(nil); errors.As(cause, &outer) {
		cause = outer.Err // Without the address.
	}
	if cause != nil {
		e = e.Because(cause)
	}
	return e
}

// The headers of the limits: of two seconds, and of the day.
const (
	headRemaining = "X-Ratelimit-Remaining"
	headReset     = "X-Ratelimit-Reset"
	headDaily     = "X-Daily-Ratelimit-Token-Remaining"
	headDailyOf   = "X-Daily-Ratelimit-Token-Limit"
)

// mostTokens is the dearest request: below that, the day is over.
const mostTokens = 40

// note keeps what the headers say of the budget.
func (c *Connector) note(h http.Header) {
	remaining, err := strconv.Atoi(h.Get(headRemaining))
	daily, errDaily := strconv.Atoi(h.Get(headDaily))
	now := c.o.Now()
	var b crm.Budget
	switch {
	case errDaily == nil && daily < mostTokens:
		b = crm.Budget{Resets: now.Add(untilMidnight(now)), Policy: "daily tokens"}
	case err == nil:
		b = crm.Budget{Remaining: remaining, Resets: now.Add(resetOf(h)), Policy: "burst"}
	case errDaily == nil:
		b = crm.Budget{Remaining: daily, Policy: "daily tokens"}
	default:
		return
	}
	if errDaily == nil {
		b.Daily, b.DailyOf = daily, number(h.Get(headDailyOf))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.budget = b
}

// number returns the number, or 0 when it is none.
func number(text string) int {
	n, err := strconv.Atoi(text)
	if err != nil {
		return 0
	}
	return n
}
