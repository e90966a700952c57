package sql_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/parley-chat/parley/internal/crm/pgserver"
	"github.com/parley-chat/parley/internal/crm/sql"
)

// postgres is a server of PostgreSQL in a process of its own.
type postgres struct {
	t testing.TB
	*pgserver.Server
	once sync.Once
	view *sql.Connector
}

// startPostgres starts a server; the test is skipped where none is installed.
func startPostgres(t testing.TB) *postgres {
	t.Helper()
	s, err := pgserver.Start(t.Context())
	if errors.Is(err, pgserver.ErrMissing) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() }) // It may still write its last words.
	return &postgres{t: t, Server: s}
}

// open returns a connector to the server, with its tables.
func (p *postgres) open() *sql.Connector { return p.openAt(p.Address()) }

// openAt does so with an address of its own.
func (p *postgres) openAt(address string) *sql.Connector {
	p.t.Helper()
	c, err := sql.OpenPostgres(address)
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() {
		if err := c.Close(); err != nil {
			p.t.Error(err)
		}
	})
	ctx, cancel := context.WithTimeout(p.t.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if _, err = c.Migrate(ctx); err == nil {
			return c
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			p.t.Fatal(err)
		}
	}
}
