package oauth

import (
	"fmt"
	"net/http"
	"sync/atomic"
	"time"
)

// Faults are the switches for what can go wrong at one vendor.
type Faults struct {
	// Token, Revoke and API spoil answers of the token endpoint, of the revocation
	// endpoint, and of the API.
	Token, Revoke, API Fault
}

// Fault spoils answers. The zero value leaves them as they are.
type Fault struct {
	// Slow holds a request back before anything is done.
	Slow time.Duration
	// Status answers with it, and does nothing.
	Status int
	// After does everything, and answers with the status instead; Hang does
	// everything, and never answers.
	After int
	Hang  bool
	// Echo puts the new tokens into the text of the error of After, as servers
	// that log too much do.
	Echo bool
	// Page answers 403 with a web page, as a firewall in front of the API does.
	Page bool
	// Busy says that another request is being worked on.
	Busy bool
	// NoRefresh answers without a refresh token: the old one stays good. NoExpiry
	// leaves expires_in out, and TextExpiry writes it as a text.
	NoRefresh, NoExpiry, TextExpiry bool
	// Left is how many answers are spoiled. Nil means all.
	Left *atomic.Int64
}

// Times has the fault spoil so many answers only.
func (f Fault) Times(n int64) Fault {
	f.Left = &atomic.Int64{}
	f.Left.Store(n)
	return f
}

// take returns the fault for one answer.
func (f Fault) take() Fault {
	if f.Left != nil && f.Left.Add(-1) < 0 {
		return Fault{}
	}
	return f
}

func (s *Standin) spoil(vendor string) Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.faults[vendor].Token.take()
}

// before answers for the fault, or reports that the request may go on.
func (f Fault) before(w http.ResponseWriter) bool {
	switch {
	case f.Status != 0:
		answer(w, f.Status, map[string]any{"error": "server_error", "error_description": "something went wrong"})
		return false
	case f.Page:
		w.Header().Set("Content-Type", "text/html")
		w.WriteHeader(http.StatusForbidden)
		_, _ = w.Write([]byte("<html><title>Attention Required!</title></html>"))
		return false
	}
	return true
}

// after answers for the fault when everything is done, or reports that the
// answer may go out.
func (f Fault) after(w http.ResponseWriter, r *http.Request, body map[string]any) bool {
	switch {
	case f.Hang:
		<-r.Context().Done()
		return false
	case f.After != 0:
		text := "something went wrong"
		if f.Echo {
			text = fmt.Sprintf("something went wrong with %v", body)
		}
		answer(w, f.After, map[string]any{"error": "server_error", "error_description": text, "message": text})
		return false
	}
	return true
}

// wait reports whether the time has passed before the asker gave up.
func wait(r *http.Request, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-r.Context().Done():
		return false
	}
}
