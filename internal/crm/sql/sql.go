// Package sql brings chat sessions into a database: SQLite, which needs no
// server, and PostgreSQL. A row is written by its key with INSERT … ON CONFLICT,
// and only when what comes is not older than what is there.
package sql

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	_ "github.com/jackc/pgx/v5/stdlib" // The driver "pgx".
	"modernc.org/sqlite"

	"github.com/parley-chat/parley/internal/crm"
	"github.com/parley-chat/parley/internal/fault"
)

// The kinds of databases.
const (
	SQLite   = "sqlite"
	Postgres = "postgres"
)

const (
	// mostRows is how many rows a call writes.
	mostRows = 200
	// timeout bounds a call.
	timeout = 15 * time.Second
	// connections is how many connections there are to PostgreSQL.
	connections = 4
)

// Connector writes to one database. Close it.
type Connector struct {
	kind    string
	db      *sql.DB
	dialect dialect
}

// OpenSQLite opens the file, which is made when it is missing, and brings its
// tables up to date: it is ours alone.
func OpenSQLite(ctx context.Context, path string) (*Connector, error) {
	// Immediate transactions wait for one another instead of failing in the middle. A
	// commit is flushed: the bus remembers for good what the database has.
	db, err := sql.Open("sqlite", "file:"+path+"?_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_pragma=busy_timeout(10000)&_pragma=foreign_keys(OFF)&_txlock=immediate")
	if err != nil {
		return nil, fault.New(fault.BadConfig, "opening the database %s", path).Because(err)
	}
	db.SetMaxOpenConns(1) // SQLite has one writer.
	c := &Connector{SQLite, db, sqliteDialect()}
	if _, err := c.Migrate(ctx); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return c, nil
}

// OpenPostgres returns a connector to the database of the address, a URL or the
// words of libpq. It connects with the first call. Its tables are made by
// Migrate, when a person asks for it.
func OpenPostgres(address string) (*Connector, error) {
	db, err := sql.Open("pgx", address)
	if err != nil {
		return nil, fault.New(fault.BadConfig, "reading the address of the database") // The error may hold a password.
	}
	db.SetMaxOpenConns(connections)
	db.SetConnMaxIdleTime(5 * time.Minute)
	return &Connector{Postgres, db, postgresDialect()}, nil
}

// Close closes the connections.
func (c *Connector) Close() error {
	if err := c.db.Close(); err != nil {
		return fmt.Errorf("closing the database: %w", err)
	}
	return nil
}

// DB returns the database, for those who read it.
func (c *Connector) DB() *sql.DB { return c.db }

// Name is the kind of the database.
func (c *Connector) Name() string { return c.kind }

// Limits of a call.
func (c *Connector) Limits() crm.Limits {
	parallel := 1
	if c.kind == Postgres {
		parallel = 2
	}
	return crm.Limits{Contacts: mostRows, Activities: mostRows, Parallel: parallel, Timeout: timeout, Rules: true}
}

// Mapping returns the columns that are filled when the configuration says
// nothing.
func (c *Connector) Mapping() crm.Mapping {
	return crm.Mapping{
		Contact: map[string]crm.FieldMapping{
			"site": {Value: "${site}"}, "user_id": {Value: "${visitor.user_id}"}, "email": {Value: "${visitor.email}"},
			"anonymous_id": {Value: "${visitor.anonymous_id}"}, "name": {Value: "${traits.name}"}, "phone": {Value: "${traits.phone}"},
			"company": {Value: "${group}"}, "chats": {Value: "${chats}"}, "first_seen_at": {Value: "${first_seen_at}"},
			"last_chat_at": {Value: "${record.opened_at}"},
		},
		Activity: map[string]crm.FieldMapping{},
	}
}

// attempt runs the function in a transaction. After a serialisation failure or
// a deadlock it does so once more.
func (c *Connector) attempt(ctx context.Context, do func(*sql.Tx) error) error {
	err := c.once(ctx, do)
	if err != nil && again(err) {
		err = c.once(ctx, do)
	}
	if err != nil {
		return classify(err)
	}
	return nil
}

func (c *Connector) once(ctx context.Context, do func(*sql.Tx) error) error {
	tx, err := c.db.BeginTx(ctx, nil)
	if err != nil {
		return err //nolint:wrapcheck // attempt classifies it.
	}
	if err := do(tx); err != nil {
		_ = tx.Rollback() // What matters is why.
		return err
	}
	return tx.Commit() //nolint:wrapcheck // attempt classifies it.
}

// again reports whether the database itself asks for another try.
func again(err error) bool {
	e, ok := errors.AsType[*pgconn.PgError](err)
	return ok && (e.Code == "40001" || e.Code == "40P01")
}

// classify gives the error its class. A connection that was lost may have been
// lost after the commit: what is written again changes nothing, so it is only
// tried again.
func classify(err error) error {
	if f, ok := errors.AsType[*fault.Error](err); ok {
		return f
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return err
	}
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		text := e.Message // Detail and Where may hold values.
		switch class := e.Code[:min(2, len(e.Code))]; {
		case e.Code == "42P01" || e.Code == "42703":
			return fault.New(fault.BadConfig, "the database has no such table or column: %s", text).
				WithFix("`publisher crm setup` makes the tables; columns of your own are yours to make")
		case e.Code == "42501" || class == "28":
			return fault.New(fault.VendorForbids, "the database does not allow it: %s", text)
		case class == "22" || class == "23" || class == "42":
			f := fault.New(fault.VendorRejects, "the database rejects a value: %s", text)
			if e.ColumnName != "" {
				f = f.At("/" + e.ColumnName)
			}
			return f
		}
		return fault.New(fault.VendorUnavailable, "the database failed: %s", text)
	}
	if e, ok := errors.AsType[*sqlite.Error](err); ok {
		const busy, locked, readonly, full, constraint, mismatch = 5, 6, 8, 13, 19, 20
		switch e.Code() & 0xff {
		case constraint, mismatch:
			return fault.New(fault.VendorRejects, "the database rejects a value: %s", e.Error())
		case readonly:
			return fault.New(fault.VendorForbids, "the database cannot be written: %s", e.Error())
		case 1:
			if strings.Contains(e.Error(), "no such") || strings.Contains(e.Error(), "has no column") {
				return fault.New(fault.BadConfig, "the database has no such table or column: %s", e.Error())
			}
		case busy, locked, full:
		}
		return fault.New(fault.VendorUnavailable, "the database failed: %s", e.Error())
	}
	return fault.New(fault.VendorUnavailable, "the database could not be reached, or the connection was lost").Because(err)
}
