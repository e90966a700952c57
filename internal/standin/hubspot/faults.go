package hubspot

import (
	"encoding/json"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Fault spoils one call. The zero value leaves it as it is.
type Fault struct {
	// Delay holds the call back, before anything is done.
	Delay time.Duration
	// Status answers with this status and does nothing. Policy is the name of the
	// limit of a 429.
	Status int
	Policy string
	// RetryAfter is the header of that name, beside Status or Late.
	RetryAfter string
	// Echo repeats the token in the message, beside Status.
	Echo bool
	// Page does nothing, and answers 403 with a web page.
	Page bool
	// Empty does nothing, and answers 200 with neither results nor errors.
	Empty bool
	// Silent does nothing, and never answers.
	Silent bool
	// Lost does what was asked, and never answers: a timeout after the commit.
	Lost bool
	// Late does what was asked, and answers with this status.
	Late int
	// Cut does what was asked, and breaks the answer off in the middle.
	Cut bool
	// Garbage does what was asked, and answers 200 with this.
	Garbage string
	// Partial is the share of the inputs of a batch that fail, from 0 to 1.
	Partial float64
	// Mute leaves the traces out of the answer.
	Mute bool
	// Whole has one bad input fail the whole batch, whatever the traces.
	Whole bool
}

func (f Fault) name() string {
	switch {
	case f.Silent:
		return "silent"
	case f.Lost:
		return "lost"
	case f.Late != 0:
		return "late " + strconv.Itoa(f.Late)
	case f.Status != 0:
		return "status " + strconv.Itoa(f.Status)
	case f.Cut:
		return "cut"
	case f.Empty:
		return "empty"
	case f.Page:
		return "page"
	case f.Garbage != "":
		return "garbage"
	case f.Partial > 0:
		return "partial"
	case f.Whole:
		return "whole"
	case f.Mute:
		return "mute"
	case f.Delay > 0:
		return "delay"
	}
	return ""
}

// before refuses the call, or holds it back.
func (f Fault) before(r *http.Request) *problem {
	if f.Delay > 0 {
		timer := time.NewTimer(f.Delay)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-r.Context().Done():
		}
	}
	if f.Status == 0 {
		return nil
	}
	p := newProblem(f.Status, "INTERNAL_ERROR", "internal error")
	switch f.Status {
	case http.StatusTooManyRequests:
		p = limit(f.Policy, "You have reached your "+strings.ToLower(f.Policy)+" limit.")
	case http.StatusForbidden:
		p = newProblem(f.Status, "MISSING_SCOPES", "This app hasn't been granted all required scopes to make this call.")
	case http.StatusUnauthorized:
		p = newProblem(f.Status, "INVALID_AUTHENTICATION", "Authentication credentials not found.")
	}
	if f.RetryAfter != "" {
		p.header = http.Header{"Retry-After": {f.RetryAfter}}
	}
	if f.Echo {
		p.Message += " The header was " + r.Header.Get("Authorization")
		p.Errors = []cause{{Message: p.Message, In: strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")}}
		p.Context = map[string][]string{"propertyName": {p.Errors[0].In}}
	}
	return p
}

// hollow answers without doing anything.
func (f Fault) hollow(w http.ResponseWriter, r *http.Request) int {
	switch {
	case f.Page:
		w.Header().Set("Content-Type", "text/html")
		w.WriteHeader(http.StatusForbidden)
		_, _ = w.Write([]byte("<html><body>Access denied</body></html>"))
		return http.StatusForbidden
	case f.Empty:
		send(w, http.StatusOK, map[string]any{"status": "COMPLETE", "results": []any{}, "errors": []any{}})
		return http.StatusOK
	}
	_, _ = io.Copy(io.Discard, r.Body) // Until then nobody notices that the caller has left.
	<-r.Context().Done()
	return 0
}

// after writes the answer to what was done, or what the fault leaves of it.
func (f Fault) after(w http.ResponseWriter, r *http.Request, status int, body any) {
	switch {
	case f.Lost:
		<-r.Context().Done()
	case f.Late != 0:
		p := newProblem(f.Late, "INTERNAL_ERROR", "internal error")
		if f.RetryAfter != "" {
			p.header = http.Header{"Retry-After": {f.RetryAfter}}
		}
		p.write(w)
	case f.Garbage != "":
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusOK)
		_, _ = w.Write([]byte(f.Garbage))
	case f.Cut:
		text, err := json.Marshal(body)
		if err != nil {
			return
		}
		w.Header().Set("Content-Length", strconv.Itoa(len(text)))
		w.WriteHeader(status)
		_, _ = w.Write(text[:len(text)/2])
	case status == http.StatusNoContent:
		w.WriteHeader(status)
	default:
		if p, ok := body.(*problem); ok {
			p.write(w)
			return
		}
		send(w, status, body)
	}
}

// Faults are the faults of the calls to come.
type Faults struct {
	// Plan spoils the next calls of an operation, one fault for each, in order. The
	// operations are those of Call.
	Plan map[string][]Fault
	// Shares spoil calls of every operation by chance.
	Shares []Share
	// Seed makes the chance repeatable.
	Seed uint64
}

// Share spoils a share of the calls, from 0 to 1, of the operation or of all.
type Share struct {
	Share     float64
	Operation string
	Fault     Fault
}

// Set replaces the faults of the calls to come.
func (s *Standin) Set(f Faults) {
	s.chance.mu.Lock()
	defer s.chance.mu.Unlock()
	s.chance.plan = map[string][]Fault{}
	for name, faults := range f.Plan {
		s.chance.plan[name] = append([]Fault(nil), faults...)
	}
	s.chance.shares, s.chance.dice = f.Shares, rand.New(rand.NewPCG(f.Seed, 1))
}

// chance picks the fault of each call.
type chance struct {
	mu     sync.Mutex // guards the fields below
	plan   map[string][]Fault
	shares []Share
	dice   *rand.Rand
}

func (c *chance) next(name string) Fault {
	c.mu.Lock()
	defer c.mu.Unlock()
	if planned := c.plan[name]; len(planned) > 0 {
		c.plan[name] = planned[1:]
		return planned[0]
	}
	if c.dice == nil {
		return Fault{}
	}
	at := c.dice.Float64()
	for _, share := range c.shares {
		if share.Operation != "" && share.Operation != name {
			continue
		}
		if at < share.Share {
			return share.Fault
		}
		at -= share.Share
	}
	return Fault{}
}

// fails throws for one input of a batch.
func (c *chance) fails(f Fault) bool {
	if f.Partial == 0 {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.dice != nil && c.dice.Float64() < f.Partial
}
