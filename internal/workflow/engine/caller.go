package engine

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/internal/workflow/machine"
)

const (
	// callDurable is the name of the consumer of HTTP calls, which all workers
	// share.
	callDurable = "calls"
	// callTimeout bounds an attempt when the step does not.
	callTimeout = 10 * time.Second
	// maxAnswer is how much of an answer is read, in bytes.
	maxAnswer = 64 << 10
	// callPause is the pause before the second attempt; it doubles up to
	// callPauseMost.
	callPause, callPauseMost = 500 * time.Millisecond, 30 * time.Second
)

// CallerOptions say how HTTP calls are made. Secret and Allowed are needed.
type CallerOptions struct {
	// Secret returns the secret of a reference, such as env:NAME.
	Secret func(ref string) (string, error)
	// Allowed reports whether a call may connect to the address. It is asked for
	// every connection, with the address that is dialled.
	Allowed func(netip.Addr) bool
	// Grace is how long calls may go on after the stop. 0 is the bus's own.
	Grace time.Duration
	// Pause is the pause before the second attempt. 0 is half a second.
	Pause time.Duration
}

// Caller makes the HTTP calls of workflows. A call is repeated with the same
// webhook-id after a crash and after a failure that may pass, so the receiver
// can tell a repetition.
type Caller struct {
	log    *slog.Logger
	bus    *bus.Bus
	o      CallerOptions
	client *http.Client
}

// NewCaller returns a caller. Run starts it.
func NewCaller(log *slog.Logger, b *bus.Bus, o CallerOptions) *Caller {
	if o.Pause == 0 {
		o.Pause = callPause
	}
	dialer := &net.Dialer{Timeout: callTimeout, Control: func(_, address string, _ syscall.RawConn) error {
		at, err := netip.ParseAddrPort(address)
		if err != nil || !o.Allowed(at.Addr()) {
			return fault.New(fault.EgressDenied, "a workflow may not reach %s", address)
		}
		return nil
	}}
	return &Caller{log: log, bus: b, o: o, client: &http.Client{
		Transport: &http.Transport{
			DialContext: dialer.DialContext, Proxy: nil, TLSHandshakeTimeout: callTimeout, MaxIdleConnsPerHost: 8,
			IdleConnTimeout: 30 * time.Second, MaxResponseHeaderBytes: maxAnswer, ForceAttemptHTTP2: true,
		},
		// A redirect could lead elsewhere with the signed body.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// Run makes calls until ctx ends.
func (c *Caller) Run(ctx context.Context) error {
	defer c.client.CloseIdleConnections()
	err := c.bus.Consume(ctx, bus.ConsumeOptions{
		Stream: bus.StreamFlow, Durable: callDurable, Filters: []string{event.CallFilter()}, Grace: c.o.Grace,
	}, c.handle)
	if err != nil {
		return fmt.Errorf("making the workflows' calls: %w", err)
	}
	return nil
}

// handle makes one call, and publishes its outcome as a result.
func (c *Caller) handle(ctx context.Context, d *bus.Delivery) error {
	var call machine.Call
	if err := json.Unmarshal(d.Body, &call); err != nil {
		return fault.New(fault.Malformed, "reading the call: %s", err)
	}
	begun := time.Now()
	result := event.Result{
		CommandID: call.Key, CommandSource: "/workflows/" + call.Workflow, Action: machine.CallAction,
		Site: call.Site, Session: call.Session, Status: event.Succeeded, Verdict: event.Unverifiable,
		Executor: "rest", StartedAt: begun.UTC(),
	}
	output, attempts, err := c.attempts(ctx, call)
	result.Output, result.Attempt = output, attempts
	if ctx.Err() != nil && err != nil {
		return fault.New(fault.ShuttingDown, "the call to %s is left for the next worker", hostOf(call.URL)).Because(err)
	}
	if err != nil {
		problem := fault.From(err)
		result.Status = event.Failed
		if problem.Code == fault.Expired {
			result.Status = event.Expired
		}
		result.Problem = &event.Problem{
			Code: string(problem.Code), Reason: string(problem.Reason), Message: problem.Error(), Fix: problem.Fix,
			Retryable: fault.Retryable(problem),
		}
		c.log.LogAttrs(ctx, slog.LevelWarn, "workflow call failed", slog.String("rule", call.Workflow),
			slog.String("step", call.Step), slog.String("reason", string(problem.Reason)), slog.Int("attempts", attempts))
	}
	result.DurationUS = time.Since(begun).Microseconds()
	return c.publish(d, call, result)
}

func (c *Caller) publish(d *bus.Delivery, call machine.Call, result event.Result) error {
	e, err := event.New("/workflows/http", event.ResultType(machine.CallAction), call.Session, result)
	if err != nil {
		return fmt.Errorf("writing the result of a call: %w", err)
	}
	e.ID = event.DerivedID("result", call.Key)
	e.Extensions[event.ExtPartitionKey] = call.Session
	e.Extensions[event.ExtCausationID] = call.Key
	e.Extensions[event.ExtCorrelationID] = call.Correlation
	d.After(c.bus.PublishAsync(event.ResultSubject(machine.CallAction, call.Site, call.Session), e))
	return nil
}

// attempts makes the call until it succeeds, fails for good, or is not worth it.
func (c *Caller) attempts(ctx context.Context, call machine.Call) (output json.RawMessage, attempts int, err error) {
	secret := ""
	if call.Secret != "" {
		if secret, err = c.o.Secret(call.Secret); err != nil {
			return nil, 0, fmt.Errorf("reading the secret %s: %w", call.Secret, err)
		}
	}
	pause := c.o.Pause
	for {
		if !call.ExpiresAt.IsZero() && time.Now().After(call.ExpiresAt) {
			late := fault.New(fault.CommandExpired, "the call was not made in time").WithFix("raise the step's `expires`, or look at the receiver")
			if err != nil {
				late = late.Because(err)
			}
			return output, attempts, late
		}
		attempts++
		output, err = c.once(ctx, call, secret)
		if err == nil || !fault.Retryable(err) || attempts > call.Retries {
			return output, attempts, err
		}
		timer := time.NewTimer(min(max(pause, fault.From(err).After), callPauseMost))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return output, attempts, fmt.Errorf("waiting for the next attempt: %w", context.Cause(ctx))
		}
		pause *= 2
	}
}

// once makes one attempt. The error says what its answer means.
func (c *Caller) once(ctx context.Context, call machine.Call, secret string) (json.RawMessage, error) {
	timeout := callTimeout
	if call.TimeoutMS > 0 {
		timeout = time.Duration(call.TimeoutMS) * time.Millisecond
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, call.Method, call.URL, bytes.NewReader(call.Body))
	if err != nil {
		return nil, fault.New(fault.BadRule, "the address of the call is wrong").Because(err)
	}
	for name, value := range call.Headers {
		request.Header.Set(name, value)
	}
	if len(call.Body) > 0 && request.Header.Get("Content-Type") == "" {
		request.Header.Set("Content-Type", "application/json")
	}
	request.Header.Set("User-Agent", "parley")
	sign(request.Header, call.Key, secret, time.Now(), call.Body)
	answer, err := c.client.Do(request)
	if err != nil {
		if denied, ok := errors.AsType[*fault.Error](err); ok {
			return nil, fmt.Errorf("calling %s: %w", hostOf(call.URL), denied)
		}
		return nil, fault.New(fault.CallFailed, "calling %s", hostOf(call.URL)).Because(err)
	}
	defer func() { _ = answer.Body.Close() }() // Nothing is written to it.
	body, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	if err != nil {
		return nil, fault.New(fault.CallFailed, "reading the answer of %s", hostOf(call.URL)).Because(err)
	}
	return outputOf(answer, body), meaning(answer, call.URL)
}

// meaning returns what the status of the answer means.
func meaning(answer *http.Response, address string) error {
	status := answer.StatusCode
	switch {
	case status >= 200 && status < 300:
		return nil
	case status == http.StatusRequestTimeout, status == http.StatusTooEarly, status == http.StatusTooManyRequests, status >= 500:
		err := fault.New(fault.CallFailed, "%s answered %s", hostOf(address), answer.Status)
		if seconds, parseErr := strconv.Atoi(answer.Header.Get("Retry-After")); parseErr == nil && seconds > 0 {
			err = err.WithAfter(time.Duration(seconds) * time.Second)
		}
		return err
	case status >= 300 && status < 400:
		return fault.New(fault.CallRefused, "%s answered with a redirect, which is not followed", hostOf(address)).
			WithFix("name the final address in the step's `url`")
	default:
		return fault.New(fault.CallRefused, "%s answered %s", hostOf(address), answer.Status)
	}
}

// outputOf returns what later steps see of the answer: its status, and its body
// as JSON or as text.
func outputOf(answer *http.Response, body []byte) json.RawMessage {
	output := struct {
		Code int `json:"code"`
		Body any `json:"body,omitempty"`
	}{Code: answer.StatusCode}
	kind, _, err := mime.ParseMediaType(answer.Header.Get("Content-Type"))
	switch {
	case len(body) == 0:
	case err == nil && (kind == "application/json" || strings.HasSuffix(kind, "+json")) && json.Valid(body):
		output.Body = json.RawMessage(body)
	default:
		output.Body = strings.ToValidUTF8(string(body[:min(len(body), 4<<10)]), "\uFFFD")
	}
	raw, err := json.Marshal(output)
	if err != nil {
		return nil
	}
	return raw
}

// hostOf returns the host of the address: the rest may hold secrets.
func hostOf(address string) string {
	_, rest, found := strings.Cut(address, "://")
	if !found {
		return "an address without a scheme"
	}
	host, _, _ := strings.Cut(rest, "/")
	host, _, _ = strings.Cut(host, "?")
	return host[strings.LastIndexByte(host, '@')+1:]
}
