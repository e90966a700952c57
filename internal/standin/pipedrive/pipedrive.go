// Package pipedrive stands in for one company's account of Pipedrive: persons and
// activities of API v2, notes and person fields of v1. It is strict, has no
// upsert, allows persons of the same address twice, finds what was written only
// after a while, and counts tokens. A ledger counts what took effect.
package pipedrive

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Options shape an account.
type Options struct {
	// Valid reports whether the token is good. It is needed.
	Valid func(token string) bool
	// Lag is how long after a write a search finds it.
	Lag time.Duration
	// ListLag is the same of lists, which are usually in time.
	ListLag time.Duration
	// Burst is how many requests two seconds may have; 0 is without a limit. After
	// Patience refused ones in a window, a guard answers with a web page.
	Burst, Patience int
	// Daily is the tokens of a day; 0 is without a limit. The header of it is there
	// only then.
	Daily int
	// MaxPersons is how many persons the plan has; 0 is without a limit.
	MaxPersons int
	// Now is the account's clock. Nil is the real one.
	Now func() time.Time
}

const (
	window  = 2 * time.Second
	maxBody = 1 << 20
)

// Account is one account. It is safe for use by many goroutines.
type Account struct {
	o Options

	mu      sync.Mutex // guards the fields below
	fields  []Field
	shelves map[string]*shelf
	faults  dice
	ids     int
	began   time.Time // of the window
	used    int       // requests in the window
	refused int
	tokens  int
	ledger  ledger
}

// New returns an account without records.
func New(o Options) *Account {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Patience == 0 {
		o.Patience = 20
	}
	return &Account{
		o: o, fields: standard(), ledger: ledger{effects: map[Effect]int{}},
		shelves: map[string]*shelf{"persons": newShelf(), "activities": newShelf(), "notes": newShelf()},
	}
}

// problem is an error of the API.
type problem struct {
	status     int
	text, info string
	code       string
	page       bool // a web page of the guard in front of the API
}

func wrong(format string, args ...any) *problem {
	return &problem{status: http.StatusBadRequest, text: fmt.Sprintf(format, args...), info: "Please check developers.pipedrive.com", code: "ERR_SCHEMA_VALIDATION_FAILED"}
}

func missing(what string) *problem {
	return &problem{status: http.StatusNotFound, text: what + " not found", info: "Please check developers.pipedrive.com"}
}

// call is one request on its way.
type call struct {
	account *Account
	r       *http.Request
	body    []byte
	fault   Kind
	status  int
	answer  any
}

// ServeHTTP answers the API.
func (a *Account) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		http.Error(w, "the body is too long", http.StatusRequestEntityTooLarge)
		return
	}
	token, bearer := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if own := r.Header.Get("X-Api-Token"); own != "" {
		token, bearer = own, true
	}
	c := &call{account: a, r: r, body: body}
	a.mu.Lock()
	c.fault = a.faults.next(r.Method != http.MethodGet)
	cost, do := c.route()
	p := a.admit(c, token, bearer, cost)
	if p == nil {
		p = do()
	}
	if p != nil {
		c.fail(p)
	}
	echo := ""
	if a.faults.f.Echo {
		echo = token
	}
	a.head(w.Header())
	a.ledger.calls = append(a.ledger.calls, Call{Method: r.Method, Path: r.URL.Path, Status: c.status, Cost: cost, Fault: c.fault})
	a.mu.Unlock()
	c.finish(w, p, echo)
}

// admit counts the request and lets it in.
func (a *Account) admit(c *call, token string, bearer bool, cost int) *problem {
	now := a.o.Now()
	if now.Sub(a.began) >= window {
		a.began, a.used, a.refused = now, 0, 0
	}
	a.used++
	guard := &problem{status: http.StatusForbidden, page: true}
	many := &problem{status: http.StatusTooManyRequests, text: "request over limit"}
	switch {
	case c.fault == Guard:
		return guard
	case c.fault == Throttled:
		return many
	case c.fault == Down:
		return &problem{status: http.StatusServiceUnavailable, text: "service unavailable"}
	case c.fault == Expired, !bearer || !a.o.Valid(token):
		return &problem{status: http.StatusUnauthorized, text: "unauthorized access", info: "Please check developers.pipedrive.com"}
	case c.fault == Capped:
		return capped()
	case a.o.Burst > 0 && a.used > a.o.Burst:
		if a.refused++; a.refused > a.o.Patience {
			return guard
		}
		return many
	case a.o.Daily > 0 && a.tokens+cost > a.o.Daily:
		return &problem{status: http.StatusTooManyRequests, text: "daily limit exceeded"}
	}
	a.tokens += cost
	return nil
}

func capped() *problem {
	return &problem{status: http.StatusForbidden, text: "the limit of your plan is reached", code: "feature_capping_persons_limit"}
}

// head writes the headers of the limits.
func (a *Account) head(h http.Header) {
	if a.o.Burst > 0 {
		h.Set("X-Ratelimit-Limit", strconv.Itoa(a.o.Burst))
		h.Set("X-Ratelimit-Remaining", strconv.Itoa(max(a.o.Burst-a.used, 0)))
		h.Set("X-Ratelimit-Reset", strconv.Itoa(int(window.Seconds())))
	}
	if a.o.Daily > 0 {
		h.Set("X-Daily-Ratelimit-Token-Limit", strconv.Itoa(a.o.Daily))
		h.Set("X-Daily-Ratelimit-Token-Remaining", strconv.Itoa(a.o.Daily-a.tokens))
	}
}

// route returns what the request costs, in tokens, and does. The costs follow
// what Pipedrive publishes: v1 twice those of v2, a search the most.
func (c *call) route() (int, func() *problem) {
	parts := strings.Split(strings.Trim(c.r.URL.Path, "/"), "/")
	none := func() *problem { return &problem{status: http.StatusNotFound, text: "unknown method"} }
	if len(parts) < 3 || parts[0] != "api" {
		return 1, none
	}
	version, kind, rest := parts[1], parts[2], parts[3:]
	v2 := version == "v2" && (kind == "persons" || kind == "activities")
	v1 := version == "v1" && kind == "notes"
	method := c.r.Method
	change := http.MethodPatch
	factor := 1
	if v1 {
		change, factor = http.MethodPut, 2
	}
	switch {
	case version == "v1" && kind == "personFields" && len(rest) == 0 && method == http.MethodGet:
		return 20, c.listFields
	case version == "v1" && kind == "personFields" && len(rest) == 0 && method == http.MethodPost:
		return 10, c.addField
	case version == "v1" && kind == "persons" && len(rest) == 2 && rest[1] == "merge" && method == http.MethodPut:
		return 40, func() *problem { return c.merge(rest[0]) }
	case !v2 && !v1:
		return 1, none
	case kind == "persons" && len(rest) == 1 && rest[0] == "search" && method == http.MethodGet:
		return 20, c.search
	case len(rest) == 0 && method == http.MethodGet:
		return 10 * factor, func() *problem { return c.list(kind) }
	case len(rest) == 0 && method == http.MethodPost:
		return 5 * factor, func() *problem { return c.create(kind) }
	case len(rest) != 1:
		return 1, none
	}
	id, err := strconv.Atoi(rest[0])
	switch {
	case err != nil:
		return 1, func() *problem { return wrong("Validation failed: id: must be a number") }
	case method == http.MethodGet:
		return factor, func() *problem { return c.get(kind, id) }
	case method == change:
		return 5 * factor, func() *problem { return c.change(kind, id) }
	case method == http.MethodDelete:
		return 3 * factor, func() *problem { return c.remove(kind, id) }
	}
	return 1, none
}

func (c *call) say(status int, data any) *problem {
	c.status, c.answer = status, map[string]any{"success": true, "data": data}
	return nil
}

func (c *call) fail(p *problem) {
	c.status = p.status
	body := map[string]any{"success": false, "error": p.text, "data": nil, "additional_data": nil}
	if p.info != "" {
		body["error_info"] = p.info
	}
	if p.code != "" {
		body["code"] = p.code
	}
	c.answer = body
}

// finish writes the answer, or what the fault leaves of it.
func (c *call) finish(w http.ResponseWriter, p *problem, echo string) {
	text, err := json.Marshal(c.answer)
	if err != nil {
		http.Error(w, "the stand-in cannot write its answer", http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "application/json; charset=utf-8")
	status := c.status
	switch {
	case c.fault == Hang:
		<-c.r.Context().Done()
		return
	case c.fault == Late:
		status, text = http.StatusBadGateway, []byte("{\"success\":false,\"error\":\"bad gateway\"}")
	case p != nil && p.page:
		h.Set("Content-Type", "text/html; charset=UTF-8")
		text = []byte("<!DOCTYPE html><title>Attention Required! | Cloudflare</title>")
	}
	if echo != "" && status >= http.StatusBadRequest {
		text = []byte(strings.Replace(string(text), `"error":"`, `"error":"`+echo+` `, 1))
	}
	if c.fault == Lost {
		h.Set("Content-Length", strconv.Itoa(len(text)+1000))
		text = text[:len(text)/2]
	}
	w.WriteHeader(status)
	_, _ = w.Write(text) //nolint:gosec // It has the type that it says.
}
