package hubspot

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// request is one call that is being worked on.
type request struct {
	*http.Request
	body  []byte
	now   time.Time
	fault Fault
	// inputs and keys are noted for the ledger.
	inputs int
}

// decode reads the body strictly: fields that HubSpot does not know are mistakes.
func (r *request) decode(into any) *problem {
	if err := strict(r.body, into); err != nil {
		return invalid("Invalid input JSON: " + err.Error())
	}
	return nil
}

func strict(body []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return err //nolint:wrapcheck // It says all.
	}
	if _, err := d.Token(); err != io.EOF {
		return errors.New("there is more behind it")
	}
	return nil
}

// serve answers one call: token, limits, fault, work, answer.
func (s *Standin) serve(w http.ResponseWriter, r *http.Request, name string, search bool, do operation) {
	now := s.o.Now()
	entry := Call{At: now, Operation: name, Path: r.URL.Path}
	f := s.chance.next(name)
	entry.Fault = f.name()
	bad := s.admit(r)
	if bad == nil {
		bad = s.quota.take(s.o, now, search, w.Header())
	}
	if bad == nil {
		bad = f.before(r)
	}
	if bad != nil {
		entry.Status = bad.status
		s.ledger.call(entry)
		bad.write(w)
		return
	}
	if f.Silent || f.Page || f.Empty {
		entry.Status = f.hollow(w, r)
		s.ledger.call(entry)
		return
	}
	status, body, work := s.work(r, now, f, do)
	entry.Status, entry.Inputs = status, work.inputs
	s.ledger.call(entry)
	f.after(w, r, status, body)
}

// work reads the body and does what it asks for.
func (s *Standin) work(r *http.Request, now time.Time, f Fault, do operation) (int, any, *request) {
	q := &request{Request: r, now: now, fault: f}
	var err error
	if q.body, err = io.ReadAll(io.LimitReader(r.Body, 4<<20)); err != nil {
		bad := invalid("the body cannot be read")
		return bad.status, bad, q
	}
	if r.Method == http.MethodPost && !strings.HasPrefix(r.Header.Get("Content-Type"), "application/json") {
		bad := newProblem(http.StatusUnsupportedMediaType, "VALIDATION_ERROR", "HTTP 415 Unsupported Media Type")
		return bad.status, bad, q
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	status, body, bad := do(q)
	if bad != nil {
		return bad.status, bad, q
	}
	return status, body, q
}

// admit checks the version in the path and the token.
func (s *Standin) admit(r *http.Request) *problem {
	if v := versionOf(r.URL.Path); v != "2026-03" && v != "2026-09" {
		return notFound("there is no version " + v)
	}
	token, bearer := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	standing := Unknown
	if bearer && token != "" {
		standing = s.o.Auth(token)
	}
	switch standing {
	case Good:
		return nil
	case Expired:
		return newProblem(http.StatusUnauthorized, "EXPIRED_AUTHENTICATION", "The OAuth token used to make this call expired 5 second(s) ago.")
	case Unknown:
	}
	return newProblem(http.StatusUnauthorized, "INVALID_AUTHENTICATION", "Authentication credentials not found.")
}

func versionOf(path string) string {
	parts := strings.Split(path, "/")
	if len(parts) < 4 {
		return ""
	}
	return parts[3]
}

// quota is the limits of the account.
type quota struct {
	mu            sync.Mutex // guards the fields below
	calls, search []time.Time
	day           time.Time
	today         int
}

const window = 10 * time.Second

// take counts the call, and says what is left in the header.
func (q *quota) take(o Options, now time.Time, search bool, h http.Header) *problem {
	q.mu.Lock()
	defer q.mu.Unlock()
	if search { // It has its own limit, and no headers.
		q.search = since(q.search, now.Add(-time.Second))
		if o.SearchLimit > 0 && len(q.search) >= o.SearchLimit {
			return limit("SECONDLY", "You have reached your secondly limit.")
		}
		q.search = append(q.search, now)
		return nil
	}
	if day := now.UTC().Truncate(24 * time.Hour); !day.Equal(q.day) {
		q.day, q.today = day, 0
	}
	if o.Daily > 0 {
		h.Set("X-HubSpot-RateLimit-Daily", strconv.Itoa(o.Daily))
		h.Set("X-HubSpot-RateLimit-Daily-Remaining", strconv.Itoa(max(o.Daily-q.today-1, 0)))
		if q.today >= o.Daily {
			return limit("DAILY", "You have reached your daily limit.")
		}
	}
	if o.Limit > 0 {
		q.calls = since(q.calls, now.Add(-window))
		h.Set("X-HubSpot-RateLimit-Max", strconv.Itoa(o.Limit))
		h.Set("X-HubSpot-RateLimit-Interval-Milliseconds", strconv.FormatInt(window.Milliseconds(), 10))
		h.Set("X-HubSpot-RateLimit-Remaining", strconv.Itoa(max(o.Limit-len(q.calls)-1, 0)))
		if len(q.calls) >= o.Limit {
			return limit("TEN_SECONDLY_ROLLING", "You have reached your ten_secondly_rolling limit.")
		}
		q.calls = append(q.calls, now)
	}
	q.today++
	return nil
}

func since(times []time.Time, from time.Time) []time.Time {
	for len(times) > 0 && !times[0].After(from) {
		times = times[1:]
	}
	return times
}
