package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"
)

// put is what a simulated action writes: the effect of one command.
type put struct {
	ID      string `json:"id"`
	Site    string `json:"site"`
	Session string `json:"session"`
	Seq     int    `json:"seq"`
	Worker  string `json:"worker"`
	Fence   uint64 `json:"fence"`
}

// ledger is the outside world of the simulated actions. It plays the part of a
// page: it can be asked whether an effect is there, and it refuses a fence that
// is lower than the highest that it has seen of the session. It does not refuse
// a second effect of one command: that is for the verdict to find.
type ledger struct {
	http     *http.Server
	url      string
	finished chan error

	mu      sync.Mutex // guards the fields below
	effects []effect
	there   map[string]bool
	fences  map[string]uint64 // by site and session
	refused int
}

// startLedger starts a ledger on a loopback port. Close it once.
func startLedger(ctx context.Context) (*ledger, error) {
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listening for effects: %w", err)
	}
	l := &ledger{
		url: "http://" + listener.Addr().String(), finished: make(chan error, 1),
		there: map[string]bool{}, fences: map[string]uint64{},
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /effects/{id}", l.look)
	mux.HandleFunc("POST /effects", l.accept)
	l.http = &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	go func() { l.finished <- l.http.Serve(listener) }()
	return l, nil
}

// close ends the ledger. What it holds stays.
func (l *ledger) close() error {
	err := l.http.Close()
	if served := <-l.finished; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return err
}

// all returns the effects in their order, and how many were refused.
func (l *ledger) all() ([]effect, int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clip(l.effects), l.refused
}

// look answers whether the effect is there: 204 or 404.
func (l *ledger) look(w http.ResponseWriter, r *http.Request) {
	l.mu.Lock()
	there := l.there[r.PathValue("id")]
	l.mu.Unlock()
	if !there {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// accept takes an effect: 204, or 409 for a stale fence.
func (l *ledger) accept(w http.ResponseWriter, r *http.Request) {
	var p put
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<16)).Decode(&p); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if !l.write(p, time.Now()) {
		w.WriteHeader(http.StatusConflict)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// write stores the effect, and reports whether it was accepted.
func (l *ledger) write(p put, at time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	key := p.Site + "/" + p.Session
	if p.Fence < l.fences[key] {
		l.refused++
		return false
	}
	l.fences[key] = p.Fence
	l.there[p.ID] = true
	l.effects = append(l.effects, effect{
		ID: p.ID, Site: p.Site, Session: p.Session, Seq: p.Seq, Worker: p.Worker, Fence: p.Fence, At: at,
	})
	return true
}
