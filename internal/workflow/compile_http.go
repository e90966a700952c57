package workflow

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/parley-chat/parley/internal/fault"
)

// Request is the call that an HTTP step asks for.
type Request struct {
	Method, URL string
	Headers     map[string]string
	// Body is JSON, or nil.
	Body []byte
}

// Request returns the step's call.
func (h *HTTPOp) Request(v *Vars) (Request, error) {
	r := Request{Method: h.Method}
	var err error
	if r.URL, err = address(h.URL, v); err != nil {
		return r, fmt.Errorf("url: %w", err)
	}
	if u, err := url.Parse(r.URL); err != nil || u.Host == "" {
		return r, fault.New(fault.BadRule, "url: %q is no address", r.URL)
	}
	for name, value := range h.Headers {
		text, err := value.Value(v)
		if err != nil {
			return r, fmt.Errorf("headers: %s: %w", name, err)
		}
		if r.Headers == nil {
			r.Headers = map[string]string{}
		}
		if r.Headers[name] = fmt.Sprint(text); strings.ContainsAny(r.Headers[name], "\r\n\x00") {
			return r, fault.New(fault.BadRule, "headers: %s: the value has more than one line", name)
		}
	}
	if h.Body == nil {
		return r, nil
	}
	body, err := h.Body.Value(v)
	if err != nil {
		return r, fmt.Errorf("body: %w", err)
	}
	if r.Body, err = json.Marshal(body); err != nil {
		return r, fault.New(fault.BadRule, "body: %s", err)
	}
	return r, nil
}

// address returns the address. What is computed in it is escaped, so that a
// value stays one segment of the path, or one value of the query.
func address(t Template, v *Vars) (string, error) {
	parts := []Template{t}
	if whole, ok := t.(text); ok {
		parts = whole.parts
	}
	var b strings.Builder
	for _, part := range parts {
		value, err := text{[]Template{part}}.Value(v)
		if err != nil {
			return "", err
		}
		written, _ := value.(string)
		switch {
		case part.Static():
		case written == "." || written == "..":
			return "", fault.New(fault.BadRule, "the value %q would leave the path", written)
		default:
			written = strings.ReplaceAll(url.QueryEscape(written), "+", "%20")
		}
		b.WriteString(written)
	}
	return b.String(), nil
}

// emit compiles an emit.
func (b *builder) emit(e *Emit, at string, op Op) *EmitOp {
	if e.Event == "" || len(e.Event) > 256 || strings.Contains(e.Event, "${") {
		b.report(at, "add `event: …`, a fixed text of 256 bytes at most", "the step names no event")
	}
	return &EmitOp{Event: e.Event, Properties: b.template(at+".properties", anyMap(e.Properties), b.sees(op))}
}

// headerForm is the form of a header's name.
var headerForm = regexp.MustCompile("^[A-Za-z0-9!#$%&'*+.^_|~-]+$")

// http compiles a call.
func (b *builder) http(step *Step, at string, op Op) *HTTPOp {
	h := step.HTTP
	out := &HTTPOp{
		URL: b.template(at+".url", h.URL, b.sees(op)), Secret: h.Secret, Headers: map[string]Template{},
		Timeout: time.Duration(h.Timeout), Retries: defaultRetries,
	}
	out.Method = b.choice(at+".method", h.Method, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodGet)
	out.Await, out.GoOn = b.result(step, strings.TrimSuffix(at, ".http"))
	b.fixedHost(h.URL, at)
	for _, name := range slices.Sorted(maps.Keys(h.Headers)) {
		if lower := strings.ToLower(name); !headerForm.MatchString(name) || lower == "host" || lower == "content-length" || strings.HasPrefix(lower, "webhook-") {
			b.report(at+".headers."+name, "remove it", "the header %q cannot be set", name)
		}
		out.Headers[name] = b.template(at+".headers."+name, h.Headers[name], b.sees(op))
	}
	if h.Body != nil {
		out.Body = b.template(at+".body", h.Body, b.sees(op))
		if out.Method == http.MethodGet {
			b.report(at+".body", "use POST, or remove the body", "GET sends no body")
		}
	}
	if out.Timeout == 0 {
		out.Timeout = defaultCall
	}
	if out.Timeout < 100*time.Millisecond || out.Timeout > time.Minute {
		b.report(at+".timeout", "use 100ms to 1m", "%s is outside the bounds", out.Timeout)
	}
	if h.Retries != nil {
		out.Retries = *h.Retries
	}
	if out.Retries < 0 || out.Retries > 20 {
		b.report(at+".retries", "use 0 to 20", "%d is outside the bounds", out.Retries)
	}
	if kind, rest, _ := strings.Cut(h.Secret, ":"); h.Secret != "" && (kind != "env" || rest == "") && (kind != "file" || !strings.HasPrefix(rest, "/")) {
		b.report(at+".secret", "write a reference: env:NAME or file:/path", "the secret itself does not belong here")
	}
	return out
}

// fixedHost checks the part of an address that is fixed: its host must be.
func (b *builder) fixedHost(text, at string) {
	if text == "" {
		b.report(at, "add `url: https://…`", "the call has no address")
		return
	}
	fixed, _, computed := strings.Cut(text, "${")
	u, err := url.Parse(fixed)
	switch {
	case err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || computed && u.Path == "":
		b.report(at+".url", "begin it with a fixed host: https://example.test/…", "the address has no fixed scheme and host")
	case u.User != nil:
		b.report(at+".url", "use `secret`, or a header", "a password does not belong in an address")
	case u.Scheme == "http" && u.Hostname() != "localhost" && u.Hostname() != "127.0.0.1":
		b.warn(at+".url", "use https", "the call travels unencrypted")
	}
}
