package ours

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"github.com/parley-chat/parley/bench/message"
	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/crm"
	"github.com/parley-chat/parley/internal/crm/pgserver"
	"github.com/parley-chat/parley/internal/crm/sql"
)

// database is one that chats are brought into, as the connector opens it: a
// commit is flushed to disk.
type database struct {
	*sql.Connector
	server io.Closer // of PostgreSQL, or nil
}

// openDatabase opens a new database of the kind.
func openDatabase(ctx context.Context, kind, dir string) (*database, error) {
	if kind == sql.Postgres {
		return openPostgres(ctx)
	}
	c, err := sql.OpenSQLite(ctx, filepath.Join(dir, "crm.db"))
	if err != nil {
		return nil, fmt.Errorf("opening the database: %w", err)
	}
	return &database{Connector: c}, nil
}

func openPostgres(ctx context.Context) (*database, error) {
	server, err := pgserver.Start(ctx)
	if err != nil {
		return nil, fmt.Errorf("starting PostgreSQL: %w", err)
	}
	c, err := sql.OpenPostgres(server.Address())
	if err != nil {
		return nil, errors.Join(err, server.Close())
	}
	d := &database{c, server}
	if err := until(ctx, func() bool { _, err = c.Migrate(ctx); return err == nil }); err != nil {
		return nil, errors.Join(fmt.Errorf("waiting for PostgreSQL: %w", err), d.Close())
	}
	return d, nil
}

// holds checks that so many chats are there with their end, each with its
// contact.
func (d *database) holds(ctx context.Context, chats int) error {
	const query = "SELECT COUNT(*), COUNT(DISTINCT s.contact_key) FROM chat_sessions s JOIN contacts c ON c.contact_key = s.contact_key WHERE s.closed_at IS NOT NULL"
	var ended, people int
	if err := d.DB().QueryRowContext(ctx, query).Scan(&ended, &people); err != nil {
		return fmt.Errorf("counting the chats: %w", err)
	}
	if ended != chats || people != chats {
		return fmt.Errorf("the database has %d chats of %d people, not %d", ended, people, chats)
	}
	return nil
}

// Close closes the database and ends its server.
func (d *database) Close() error {
	err := d.Connector.Close()
	if d.server != nil {
		err = errors.Join(err, d.server.Close())
	}
	return err
}

// noted is a connector that tells of each chat which is a row with its end.
type noted struct {
	*sql.Connector
	tell func(session string, at time.Time)
}

// PutActivities writes, and tells.
func (n noted) PutActivities(ctx context.Context, list []crm.Activity) ([]crm.Outcome, error) {
	out, err := n.Connector.PutActivities(ctx, list)
	if err != nil {
		return out, fmt.Errorf("putting chats: %w", err)
	}
	now := time.Now()
	for _, a := range list {
		if !a.Record.ClosedAt.IsZero() {
			n.tell(a.Record.Session, now)
		}
	}
	return out, nil
}

// arrivals are chats on their way into the database.
type arrivals struct {
	mu   sync.Mutex // guards the fields below
	due  map[string]time.Time
	took []float64 // microseconds
	room chan struct{}
}

// expect notes when the end of the chat was due to be published.
func (a *arrivals) expect(session string, due time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.due[session] = due
}

// arrive notes that the chat is a row with its end.
func (a *arrivals) arrive(session string, at time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if due, ok := a.due[session]; ok {
		delete(a.due, session)
		a.took = append(a.took, microseconds(at.Sub(due)))
		<-a.room
	}
}

// count returns how many arrived.
func (a *arrivals) count() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.took)
}

// forget empties it for the next round.
func (a *arrivals) forget() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.took = nil
}

// intoCRM is a target that brings chats from the bus into a database.
type intoCRM struct {
	*arrivals
	db   *database
	bus  *bus.Bus
	stop func() error
	sent int // chats
}

// startIntoCRM starts the target, with the settings that databases have by
// default. At most so many chats may be on their way at once.
func startIntoCRM(ctx context.Context, kind, dir string, most int) (*intoCRM, error) {
	db, err := openDatabase(ctx, kind, dir)
	if err != nil {
		return nil, err
	}
	i := &intoCRM{arrivals: &arrivals{due: map[string]time.Time{}, room: make(chan struct{}, most)}, db: db}
	if i.bus, err = openBus(ctx, bus.Options{Dir: filepath.Join(dir, "nats")}); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	i.stop, err = serveTarget(ctx, i.bus, crm.Options{
		Name: "bench", Connector: noted{db.Connector, i.arrive}, Since: time.Hour, Window: 20 * time.Millisecond,
	})
	if err != nil {
		return nil, errors.Join(err, shut(ctx, i.bus), db.Close())
	}
	return i, nil
}

// serveTarget serves a target until it is stopped.
func serveTarget(ctx context.Context, on *bus.Bus, o crm.Options) (stop func() error, err error) {
	target, err := crm.New(slog.New(slog.DiscardHandler), on, o)
	if err != nil {
		return nil, fmt.Errorf("making the target: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- target.Run(ctx) }()
	return func() error {
		cancel()
		return <-ended
	}, nil
}

// Close ends the target, its server and the database.
func (i *intoCRM) Close() error {
	return errors.Join(i.stop(), shut(context.Background(), i.bus), i.db.Close())
}

// mail publishes letters, many at a time.
type mail struct {
	bus     *bus.Bus
	waiting []*bus.Future
}

// put publishes a letter. It waits when too many are under way.
func (m *mail) put(ctx context.Context, l message.Letter, err error) error {
	if err != nil {
		return err
	}
	m.waiting = append(m.waiting, m.bus.PublishAsync(l.Subject, l.Envelope))
	if len(m.waiting) < 4096 {
		return nil
	}
	return m.stored(ctx, 1024)
}

// stored waits until the first so many are stored.
func (m *mail) stored(ctx context.Context, n int) error {
	for _, future := range m.waiting[:n] {
		if _, err := future.Wait(ctx); err != nil {
			return fmt.Errorf("publishing what happened: %w", err)
		}
	}
	m.waiting = m.waiting[n:]
	return nil
}

// begin publishes who the visitor is, and that the chat opened.
func (m *mail) begin(ctx context.Context, c message.Chat, at time.Time) error {
	known, err := c.Known(at, map[string]any{"name": "Ada", "plan": "pro"})
	if err := m.put(ctx, known, err); err != nil {
		return err
	}
	opened, err := c.Opened(at)
	return m.put(ctx, opened, err)
}

// end publishes that the chat closed.
func (m *mail) end(ctx context.Context, c message.Chat, at time.Time) error {
	closed, err := c.Closed(at)
	return m.put(ctx, closed, err)
}
