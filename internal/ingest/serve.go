package ingest

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/parley-chat/parley/internal/fault"
)

// Limits bound what connections may take. The zero value is what production
// uses.
type Limits struct {
	// Connections is the most that are open; 0 is 8192. At the bound, one that
	// waits gives way to a new one.
	Connections int
	// Header, Body, Answer and Idle are how long a sender may take for each; 0 is
	// 5, 20, 30 and 60 seconds.
	Header, Body, Answer, Idle time.Duration
	// Grace is how long requests may go on after the edge was told to stop; 0 is
	// 20 seconds.
	Grace time.Duration
}

func (l Limits) complete() Limits {
	for _, one := range []struct {
		value     *time.Duration
		otherwise time.Duration
	}{
		{&l.Header, 5 * time.Second},
		{&l.Body, 20 * time.Second},
		{&l.Answer, 30 * time.Second},
		{&l.Idle, 60 * time.Second},
		{&l.Grace, 20 * time.Second},
	} {
		if *one.value <= 0 {
			*one.value = one.otherwise
		}
	}
	if l.Connections <= 0 {
		l.Connections = 8192
	}
	return l
}

// Serve takes requests on the listener until ctx ends. Then it takes no new
// ones, and returns when those under way are answered. It closes the listener.
func (e *Edge) Serve(ctx context.Context, l net.Listener, limits Limits) error {
	limits = limits.complete()
	guard := newGuard(limits.Connections)
	server := &http.Server{
		Handler: e, ConnState: guard.changed, MaxHeaderBytes: 32 << 10,
		ReadHeaderTimeout: limits.Header, ReadTimeout: limits.Header + limits.Body,
		WriteTimeout: limits.Header + limits.Body + limits.Answer, IdleTimeout: limits.Idle,
		ErrorLog: slog.NewLogLogger(e.log.Handler(), slog.LevelDebug), // What senders do wrong is no news.
	}
	ctx, stop := context.WithCancel(ctx)
	var closing sync.WaitGroup
	if e.o.Room != nil {
		e.room.look(ctx, e.log)
		closing.Go(func() { e.room.watch(ctx, e.log) })
	}
	closing.Go(func() {
		<-ctx.Done()
		last, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), limits.Grace,
			fault.New(fault.ShuttingDown, "requests were not answered within %s", limits.Grace))
		defer cancel()
		if server.Shutdown(last) != nil {
			_ = server.Close() // Who has no answer by now asks again.
		}
	})
	err := server.Serve(l)
	stop()
	closing.Wait()
	if !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serving the edge: %w", err)
	}
	return nil
}

// guard bounds the connections of a server. The one that has waited longest for
// a request, or with the beginning of one, gives way to a new one; those with
// work under way do not.
type guard struct {
	mu    sync.Mutex
	most  int
	open  map[net.Conn]*list.Element // nil while it has a request
	waits *list.List                 // of net.Conn, the longest first
}

func newGuard(most int) *guard {
	return &guard{most: most, open: map[net.Conn]*list.Element{}, waits: list.New()}
}

// changed is told of every change of a connection, by the server.
func (g *guard) changed(c net.Conn, state http.ConnState) {
	if victim := g.note(c, state); victim != nil {
		_ = victim.Close() // The server notices, and says so here.
	}
}

func (g *guard) note(c net.Conn, state http.ConnState) (victim net.Conn) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if at := g.open[c]; at != nil {
		g.waits.Remove(at)
		g.open[c] = nil
	}
	switch state {
	case http.StateNew, http.StateIdle:
		g.open[c] = g.waits.PushBack(c)
	case http.StateActive:
		g.open[c] = nil
	case http.StateClosed, http.StateHijacked:
		delete(g.open, c)
	}
	if state != http.StateNew || len(g.open) <= g.most {
		return nil
	}
	oldest := g.waits.Front() // There is one: the new connection.
	victim, _ = g.waits.Remove(oldest).(net.Conn)
	g.open[victim] = nil
	return victim
}
