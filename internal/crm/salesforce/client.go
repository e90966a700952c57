package salesforce

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
	"regexp"
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
	// told, if set, gets what Salesforce said against the call.
	told *problems
}

// write reports whether the call may change something.
func (q call) write() bool { return q.method != http.MethodGet }

// do sends the call once, or twice when the session had ended.
func (c *Connector) do(ctx context.Context, q call) error {
	var body []byte
	if q.in != nil {
		var err error
		if body, err = json.Marshal(q.in); err != nil {
			return fault.New(fault.InternalError, "encoding a request to Salesforce").Because(err)
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
	return fault.New(fault.VendorUnavailable, "calling Salesforce").Because(err)
}

// send sends the request and reads the answer.
func (c *Connector) send(ctx context.Context, q call, body []byte, t crm.Token) error {
	base, err := c.base(t)
	if err != nil {
		return err
	}
	address := base + "/services/data/v" + c.o.Version + q.path
	if len(q.query) > 0 {
		address += "?" + q.query.Encode()
	}
	var sent atomic.Bool
	traced := httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteHeaders: func() { sent.Store(true) }})
	r, err := http.NewRequestWithContext(traced, q.method, address, bytes.NewReader(body))
	if err != nil {
		return fault.New(fault.BadConfig, "the address of Salesforce's API is wrong")
	}
	t.Authorize(r.Header)
	r.Header.Set("Accept", "application/json")
	r.Header.Set("User-Agent", "parley")
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	if c.o.AllowDuplicates && q.write() {
		r.Header.Set("Sforce-Duplicate-Rule-Header", "allowSave=true")
	}
	response, err := c.o.Transport.RoundTrip(r)
	if err != nil {
		return q.unanswered(sent.Load(), "Salesforce did not answer "+q.name, err)
	}
	defer func() { _ = response.Body.Close() }()
	c.note(response.Header)
	return q.take(response)
}

// take reads the answer.
func (q call) take(response *http.Response) error {
	text, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer+1))
	if err != nil {
		return q.unanswered(true, "Salesforce's answer to "+q.name+" broke off", err)
	}
	if len(text) > maxAnswer {
		return q.unanswered(true, fmt.Sprintf("Salesforce's answer to %s is longer than %d bytes", q.name, maxAnswer), nil)
	}
	if response.StatusCode/100 != 2 {
		var all problems
		if json.Unmarshal(text, &all) != nil {
			all = nil // It says nothing that can be read.
		}
		if q.told != nil {
			*q.told = all
		}
		return classify(response.StatusCode, response.Header, all, q.name, q.write())
	}
	if q.out == nil || response.StatusCode == http.StatusNoContent {
		return nil
	}
	if json.Unmarshal(text, q.out) != nil {
		return q.unanswered(true, "Salesforce's answer to "+q.name+" cannot be read", nil)
	}
	return nil
}

// base returns where the account's API lies. The token goes to Salesforce's own
// hosts only, whatever a token answer said.
func (c *Connector) base(t crm.Token) (string, error) {
	if c.o.Base != "" {
		return strings.TrimSuffix(c.o.Base, "/"), nil
	}
	address := t.Account("instance_url")
	u, err := url.Parse(address)
	if err != nil || address == "" {
		return "", fault.New(fault.BadConfig, "the connection does not say where its Salesforce org is").
			WithFix("connect the account again with `publisher connect salesforce`, or set the target's `base:`")
	}
	host := strings.ToLower(u.Hostname())
	if u.Scheme != "https" || u.User != nil || !strings.HasSuffix(host, ".salesforce.com") && !strings.HasSuffix(host, ".salesforce.mil") {
		return "", fault.New(fault.EgressDenied, "the org's address is none of Salesforce").
			WithFix("connect the account again with `publisher connect salesforce`")
	}
	return "https://" + u.Host, nil
}

// unanswered is the error of a call of which nobody knows what became.
func (q call) unanswered(sent bool, what string, cause error) error {
	reason := fault.VendorUnavailable
	if q.write() && sent {
		reason = fault.EffectUnknown
	}
	e := fault.New(reason, "%s", what).WithFix("nothing to do: it is written again, by its key").WithAfter(afterFailure)
	if outer := (*url.Error)(nil); errors.As(cause, &outer) {
		cause = outer.Err // Without the address.
	}
	if cause != nil {
		e = e.Because(cause)
	}
	return e
}

var usageForm = regexp.MustCompile(`(?:^|[;, ])api-usage=([0-9]{1,9})/([0-9]{1,9})`)

// note keeps what the header says of the budget: how many calls are left of the
// day, without those that are reserved for others.
func (c *Connector) note(h http.Header) {
	m := usageForm.FindStringSubmatch(h.Get("Sforce-Limit-Info"))
	if m == nil {
		return
	}
	used, _ := strconv.Atoi(m[1]) // The pattern has digits only.
	all, _ := strconv.Atoi(m[2])
	left := int(float64(all)*(1-c.o.Reserve)) - used
	c.mu.Lock()
	defer c.mu.Unlock()
	c.budget = crm.Budget{Remaining: max(left, 0), Policy: "DailyApiRequests", Daily: max(all-used, 0), DailyOf: all}
	if left <= 0 {
		// The day rolls: calls come back one by one.
		c.budget.Resets = c.o.Now().Add(afterDaily)
	} else {
		c.budget.Resets = c.o.Now().Add(time.Minute)
	}
}
