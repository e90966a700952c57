// Package salesforce stands in for one org of Salesforce: contacts, leads, tasks,
// cases and platform events over the REST API. It is strict: an unknown field, a
// wrong type or a record too many is refused as Salesforce does it. A ledger
// counts what took effect, and switches spoil answers.
package salesforce

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Options shape an org.
type Options struct {
	// Valid reports whether the token is good. It is needed.
	Valid func(token string) bool
	// Limit is how many calls the org has in a day; 0 is 100,000.
	Limit int
	// DuplicateRule refuses a contact or lead whose address another one has, unless
	// the caller says that it may be.
	DuplicateRule bool
	// Fence, if set, is a number field that may not fall: a validation rule of the
	// org refuses the record.
	Fence string
	// Old answers updates with 204, as API versions before 46 do.
	Old bool
	// Now is the org's clock. Nil is the real one.
	Now func() time.Time
}

const (
	maxRecords = 200
	maxBody    = 6 << 20
	maxAddress = 16 << 10
)

// Org is one org. It is safe for use by many goroutines.
type Org struct {
	o Options

	mu      sync.Mutex // guards the fields below
	objects map[string]*object
	faults  dice
	used    int
	ids     int
	ledger  ledger
}

// New returns an org without records, with the standard fields.
func New(o Options) *Org {
	if o.Limit == 0 {
		o.Limit = 100_000
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Org{o: o, objects: standard(), ledger: ledger{effects: map[Effect]int{}}}
}

// problem is Salesforce's error: of a call, or of a record.
type problem struct {
	status  int
	code    string
	text    string
	fields  []string
	choices []string // the records of an ambiguous answer
}

func wrong(code, format string, args ...any) *problem {
	return &problem{status: http.StatusBadRequest, code: code, text: fmt.Sprintf(format, args...), fields: []string{}}
}

func (p *problem) of(fields ...string) *problem {
	p.fields = fields
	return p
}

// call is one request on its way.
type call struct {
	org    *Org
	r      *http.Request
	body   []byte
	fault  Kind
	dupes  bool // duplicates may be saved
	status int
	answer any
}

var pathForm = regexp.MustCompile(`^/services/data/v[0-9]{2}\.0(/.*)$`)

// ServeHTTP answers the REST API.
func (o *Org) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		http.Error(w, "the body is too long", http.StatusRequestEntityTooLarge)
		return
	}
	if len(r.RequestURI) > maxAddress {
		http.Error(w, "the address is too long", http.StatusRequestURITooLong)
		return
	}
	token, bearer := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	c := &call{org: o, r: r, body: body, dupes: r.Header.Get("Sforce-Duplicate-Rule-Header") == "allowSave=true"}
	o.mu.Lock()
	c.fault = o.faults.next(r.Method != http.MethodGet)
	p := o.admit(c, token, bearer)
	if p == nil {
		p = c.route()
	}
	if p != nil {
		c.fail(p)
	}
	echo := ""
	if o.faults.f.Echo {
		echo = token
	}
	w.Header().Set("Sforce-Limit-Info", fmt.Sprintf("api-usage=%d/%d", o.used, o.o.Limit))
	o.ledger.calls = append(o.ledger.calls, Call{Method: r.Method, Path: r.URL.Path, Status: c.status, Fault: c.fault})
	o.mu.Unlock()
	c.finish(w, echo)
}

// admit counts the call and lets it in.
func (o *Org) admit(c *call, token string, bearer bool) *problem {
	switch {
	case c.fault == Expired, !bearer || !o.o.Valid(token):
		return &problem{http.StatusUnauthorized, "INVALID_SESSION_ID", "Session expired or invalid", nil, nil}
	case c.fault == Down:
		return &problem{http.StatusServiceUnavailable, "SERVER_UNAVAILABLE", "The server is down", nil, nil}
	case c.fault == Quota:
		return &problem{http.StatusForbidden, "REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded.", nil, nil}
	case c.fault == Crowded:
		return &problem{http.StatusForbidden, "REQUEST_LIMIT_EXCEEDED", "ConcurrentRequests (Concurrent API Requests) Limit exceeded.", nil, nil}
	case c.fault == Locked:
		return wrong("CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY", "Trigger: execution of AfterUpdate caused by: UNABLE_TO_LOCK_ROW, unable to obtain exclusive access to this record")
	case o.used >= o.o.Limit:
		return &problem{http.StatusForbidden, "REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded.", nil, nil}
	}
	o.used++
	return nil
}

// route does what the request asks for.
func (c *call) route() *problem {
	m := pathForm.FindStringSubmatch(c.r.URL.EscapedPath())
	if m == nil {
		return &problem{http.StatusNotFound, "NOT_FOUND", "The requested resource does not exist", nil, nil}
	}
	parts := strings.Split(strings.TrimPrefix(m[1], "/"), "/")
	for i, part := range parts {
		var err error
		if parts[i], err = url.PathUnescape(part); err != nil {
			return wrong("URL_NOT_RESET", "The address cannot be read")
		}
	}
	at := func(method string, form ...string) bool {
		if c.r.Method != method || len(parts) != len(form) {
			return false
		}
		for i, want := range form {
			if want != "*" && want != parts[i] {
				return false
			}
		}
		return true
	}
	switch {
	case at(http.MethodGet, "limits"):
		return c.limits()
	case at(http.MethodGet, "query"):
		return c.query()
	case at(http.MethodGet, "sobjects", "*", "describe"):
		return c.describe(parts[1])
	case at(http.MethodPost, "sobjects", "*"):
		return c.create(parts[1])
	case at(http.MethodPatch, "sobjects", "*", "*", "*"):
		return c.upsertOne(parts[1], parts[2], parts[3])
	case at(http.MethodPatch, "sobjects", "*", "*"):
		return c.updateOne(parts[1], parts[2])
	case at(http.MethodPatch, "composite", "sobjects", "*", "*"):
		return c.upsertMany(parts[2], parts[3])
	case at(http.MethodPatch, "composite", "sobjects"):
		return c.updateMany()
	case at(http.MethodDelete, "composite", "sobjects"):
		return c.deleteMany()
	}
	return &problem{http.StatusNotFound, "NOT_FOUND", "The requested resource does not exist", nil, nil}
}

func (c *call) say(status int, answer any) *problem {
	c.status, c.answer = status, answer
	return nil
}

// fail answers with an error: an array, whatever the status.
func (c *call) fail(p *problem) {
	c.status = p.status
	if p.choices != nil {
		c.answer = p.choices
		return
	}
	one := map[string]any{"message": p.text, "errorCode": p.code}
	if p.fields != nil {
		one["fields"] = p.fields
	}
	c.answer = []any{one}
}

// finish writes the answer, or what the fault leaves of it.
func (c *call) finish(w http.ResponseWriter, echo string) {
	text, err := json.Marshal(c.answer)
	if err != nil {
		http.Error(w, "the stand-in cannot write its answer", http.StatusInternalServerError)
		return
	}
	status := c.status
	switch c.fault {
	case Hang:
		<-c.r.Context().Done()
		return
	case Late:
		status, text = http.StatusInternalServerError, []byte(`[{"message":"An unexpected error occurred.","errorCode":"UNKNOWN_EXCEPTION"}]`)
	case Expired, Down, Quota, Crowded, Locked, RowLock, Lost, None:
	}
	if echo != "" && status >= http.StatusBadRequest {
		text = []byte(strings.Replace(string(text), `"message":"`, `"message":"`+echo+` `, 1))
	}
	h := w.Header()
	h.Set("Content-Type", "application/json;charset=UTF-8")
	if c.fault == Lost {
		h.Set("Content-Length", strconv.Itoa(len(text)+1000))
		text = text[:len(text)/2]
	}
	w.WriteHeader(status)
	if status != http.StatusNoContent {
		_, _ = w.Write(text) //nolint:gosec // It is JSON, and says so.
	}
}

func (c *call) limits() *problem {
	return c.say(http.StatusOK, map[string]any{"DailyApiRequests": map[string]int{"Max": c.org.o.Limit, "Remaining": c.org.o.Limit - c.org.used}})
}

func (c *call) describe(name string) *problem {
	of := c.org.objects[name]
	if of == nil {
		return &problem{http.StatusNotFound, "NOT_FOUND", "The requested resource does not exist", nil, nil}
	}
	fields := make([]any, 0, len(of.fields))
	for _, f := range of.sorted() {
		fields = append(fields, f.describe())
	}
	return c.say(http.StatusOK, map[string]any{"name": name, "fields": fields})
}
