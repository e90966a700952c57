package ingest

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/internal/telemetry"
)

// Options say what an edge takes and where it puts it.
type Options struct {
	Sources []Mount
	Store   Store
	// Identities is where the edge remembers who is who. Nil is nowhere: an event
	// then is its best id's.
	Identities Bucket
	// IdentityLife is how long it remembers an id that is not seen again. 0 is 395
	// days.
	IdentityLife time.Duration
	// Site returns the site that a page belongs to. IsSite knows the names.
	Site   func(page string) (string, error)
	IsSite func(name string) bool
	// Validate checks a trigger against the schema of its type.
	Validate func(typ string, data []byte) error
	// Room, if set, tells how many more bytes the store takes before it would drop
	// what it holds. Without room, events are answered 503.
	Room func(ctx context.Context) (int64, error)
	// Counter is told what happens.
	Counter Counter
	// MaxBody is the most bytes that a body may have, before and after unpacking;
	// 0 is 1 MiB.
	MaxBody int64
	// Memory bounds the bodies that are held at one time; 0 is 128 MiB.
	Memory int64
	// Requests bounds the requests that are worked on at one time; 0 is 1024.
	Requests int
	// Maintenance answers every event with 503.
	Maintenance bool
	// Healthy says what is wrong with the process, or nil: the answer of
	// /healthz.
	Healthy func(ctx context.Context) error
}

// Edge takes requests of the sources that it was made with, and answers them
// when what they hold is stored. It is an http.Handler.
type Edge struct {
	log         *slog.Logger
	o           Options
	table       *table
	resolver    *resolver // nil without identities
	memory      *share
	slots       *share
	room        *room
	maintenance atomic.Bool
}

// New returns an edge. Sources that share an address are refused.
func New(log *slog.Logger, o Options) (*Edge, error) {
	if o.MaxBody <= 0 {
		o.MaxBody = 1 << 20
	}
	if o.Memory <= 0 {
		o.Memory = 128 << 20
	}
	if o.Requests <= 0 {
		o.Requests = 1024
	}
	if o.IdentityLife <= 0 {
		o.IdentityLife = 395 * 24 * time.Hour
	}
	table, err := newTable(o.Sources)
	if err != nil {
		return nil, err
	}
	e := &Edge{
		log: log, o: o, table: table,
		memory: newShare(o.Memory, len(o.Sources)), slots: newShare(int64(o.Requests), len(o.Sources)),
		room: newRoom(o.Room),
	}
	if o.Identities != nil {
		e.resolver = newResolver(o.Identities, o.IdentityLife, 100_000)
	}
	e.maintenance.Store(o.Maintenance)
	return e, nil
}

// SetMaintenance says whether events are taken: see Options.Maintenance.
func (e *Edge) SetMaintenance(on bool) { e.maintenance.Store(on) }

// ServeHTTP takes one request.
func (e *Edge) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/healthz" && r.Method == http.MethodGet {
		e.health(w, r)
		return
	}
	begun := time.Now()
	m, route, at, err := e.table.find(r)
	if m == nil {
		e.refuse(r.Context(), w, "-", Refusal(err), err)
		return
	}
	if m.allowOrigin(w.Header(), r) {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	var status int
	if err != nil {
		status = e.refuse(r.Context(), w, m.Settings.Name, e.refusal(m, r, route, at, err), err)
	} else {
		status = e.serve(w, r, m, route, at)
	}
	e.o.Counter.IngestAnswered(m.Settings.Name, status, time.Since(begun))
}

// serve takes a request that belongs to the source's route, and returns the
// status of the answer.
func (e *Edge) serve(w http.ResponseWriter, r *http.Request, m *mount, route Route, at place) int {
	name := m.Settings.Name
	request, give, err := e.receive(r, m, route, at)
	defer give()
	if err != nil {
		return e.refuse(r.Context(), w, name, e.refusal(m, r, route, at, err), err)
	}
	if !e.slots.take(name, 1) {
		err := Later(fault.Overloaded, time.Second, "too many requests are under way")
		return e.refuse(r.Context(), w, name, m.Source.Answer(request, Outcome{Err: err}), err)
	}
	defer e.slots.give(name, 1)
	received, err := e.parse(r.Context(), m, request)
	if err != nil {
		e.rejectRequest(r.Context(), m, request, err)
		return e.refuse(r.Context(), w, name, m.Source.Answer(request, Outcome{Err: err}), err)
	}
	if received.Reply != nil {
		return write(w, *received.Reply)
	}
	results, err := e.take(r.Context(), m, request, received.Items)
	if err != nil {
		return e.refuse(r.Context(), w, name, m.Source.Answer(request, Outcome{Err: err}), err)
	}
	return write(w, m.Source.Answer(request, Outcome{Results: results}))
}

// receive checks everything that can be checked without parsing, the cheapest
// first, and reads the body. The returned function gives back what the body
// holds; it is never nil.
func (e *Edge) receive(r *http.Request, m *mount, route Route, at place) (*Request, func(), *fault.Error) {
	name, held := m.Settings.Name, int64(0)
	give := func() { e.memory.give(name, held) }
	if e.maintenance.Load() {
		return nil, give, Later(fault.Maintenance, time.Minute, "no events are taken during maintenance")
	}
	if m.limiter != nil && m.limiter.Tokens() < 1 {
		return nil, give, m.overQuota(1)
	}
	if !m.tokenFits(r, at) {
		return nil, give, Forbidden("the source's token is missing or wrong")
	}
	media, err := mediaOf(route, r.Header)
	if err != nil {
		return nil, give, err
	}
	request := m.request(r, route, at)
	request.Type = media
	if len(route.Types) == 0 {
		return request, give, nil
	}
	request.Body, err = readBody(r, e.o.MaxBody, func(n int64) bool {
		ok := e.memory.take(name, n)
		if ok {
			held += n
		}
		return ok
	})
	if err != nil && err.Reason == fault.Overloaded {
		err = err.WithAfter(time.Second)
	}
	return request, give, err
}

// parse lets the source read the request. A source that breaks down over it
// refuses it: the sender's next try would end the same way.
func (e *Edge) parse(ctx context.Context, m *mount, r *Request) (got Received, failed *fault.Error) {
	if err := m.turns.wait(ctx); err != nil {
		return got, err
	}
	defer m.turns.end()
	defer func() {
		if broken := recover(); broken != nil {
			e.log.LogAttrs(ctx, slog.LevelError, "source broke down over a request",
				slog.String(attrSource, m.Settings.Name), slog.Any("panic", broken))
			failed = fault.New(fault.InternalError, "the source %s broke down over the request", m.Settings.Name)
		}
	}()
	got, err := m.Source.Receive(ctx, r)
	return got, fault.From(err)
}

// refusal words the answer for a request that the source has not seen.
func (e *Edge) refusal(m *mount, r *http.Request, route Route, at place, err *fault.Error) Reply {
	reply := m.Source.Answer(m.request(r, route, at), Outcome{Err: err})
	if err.Reason == fault.NoRoute {
		return Refusal(err)
	}
	return reply
}

// refuse answers and counts a refused request.
func (e *Edge) refuse(ctx context.Context, w http.ResponseWriter, source string, reply Reply, err *fault.Error) int {
	e.o.Counter.IngestRejected(source, string(err.Reason), 1)
	if err.Code == fault.Internal {
		e.log.LogAttrs(ctx, slog.LevelError, "request could not be taken", slog.String(attrSource, source), slog.Any(telemetry.AttrErr, err))
	}
	if err.Reason == fault.TooLarge || err.Reason == fault.Overloaded || err.Reason == fault.MediaType {
		w.Header().Set("Connection", "close") // The rest of the body is never read.
	}
	return write(w, reply)
}

// write sends the answer, and returns its status.
func write(w http.ResponseWriter, reply Reply) int {
	h := w.Header()
	if reply.Body != nil {
		h.Set("Content-Type", MediaJSON)
	}
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	for name, values := range reply.Header {
		h[http.CanonicalHeaderKey(name)] = values
	}
	w.WriteHeader(reply.Status)
	_, _ = w.Write(reply.Body) // The sender may be gone. Then it asks again.
	return reply.Status
}

func (e *Edge) health(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeoutCause(r.Context(), 2*time.Second, errors.New("the health check takes too long"))
	defer cancel()
	var err error
	switch {
	case e.maintenance.Load():
		err = errors.New("maintenance")
	case e.o.Healthy != nil:
		err = e.o.Healthy(ctx)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	_, _ = w.Write([]byte("ok\n"))
}

// attrSource is the log attribute with the source's name.
const attrSource = "source"

// newLimiter returns the limiter of a quota, or nil for none. Its burst is what
// comes in a second, or the largest batch of a sender.
func newLimiter(perSecond float64) *rate.Limiter {
	if perSecond <= 0 {
		return nil
	}
	return rate.NewLimiter(rate.Limit(perSecond), max(int(perSecond), 1))
}
