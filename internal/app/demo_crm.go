package app

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	crmsql "github.com/parley-chat/parley/internal/crm/sql"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
)

// demoTarget is the CRM of the demo.
const demoTarget = "local"

// freshCRM gives the demo a CRM of its own, which is empty.
func (s *show) freshCRM(cfg *Config) error {
	target := cfg.CRM.Targets[demoTarget]
	target.Path = filepath.Join(s.dir, "crm.db")
	cfg.CRM.Targets[demoTarget] = target
	for _, suffix := range []string{"", "-wal", "-shm"} {
		if err := os.Remove(target.Path + suffix); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fault.New(fault.BadConfig, "emptying the demo's CRM").Because(err)
		}
	}
	return nil
}

// row waits until the chat session is a row of the CRM, with its end, and prints
// it as a person would see it there.
func (s *show) row(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, demoPatience,
		fault.New(fault.NotConfirmed, "the chat session did not become a row of the CRM within %s", demoPatience).WithFix("-v shows the log"))
	defer cancel()
	path := s.dev.cfg.Path(s.dev.cfg.CRM.Targets[demoTarget].Path)
	db, err := crmsql.OpenSQLite(ctx, path)
	if err != nil {
		return fmt.Errorf("opening the demo's CRM: %w", err)
	}
	defer func() { _ = db.Close() }() // It was only read.
	const query = `SELECT c.email, c.user_id, s.site, s.opened_at, s.opened_by, s.closed_at, s.closed_by, s.seconds, s.pages, s.attributes, s.workflows
FROM chat_sessions s JOIN contacts c USING (contact_key) WHERE s.contact_key = ? AND s.closed_at IS NOT NULL`
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		rows, err := db.DB().QueryContext(ctx, query, event.SessionKey(demoSite, event.Visitor{UserID: demoUser}))
		if err == nil {
			var lines []string
			if lines, err = columns(rows); err == nil && len(lines) > 0 {
				s.say("\n%s  %s  %s\n", s.view.stamp(time.Now()), s.view.paint(green, pad("✓ the chat session is a row of the CRM", 33)), s.view.paint(dim, path))
				s.say("%s\n", strings.Join(lines, "\n"))
				return nil
			}
		}
		if err != nil && ctx.Err() == nil {
			return fmt.Errorf("reading the demo's CRM: %w", err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx) //nolint:wrapcheck // It says all.
		}
	}
}

// columns returns the first row, a line for each column.
func columns(rows *sql.Rows) ([]string, error) {
	defer func() { _ = rows.Close() }() // Its errors are those of Err.
	names, err := rows.Columns()
	if err != nil || !rows.Next() {
		return nil, errors.Join(err, rows.Err())
	}
	values, into := make([]any, len(names)), make([]any, len(names))
	for i := range values {
		into[i] = &values[i]
	}
	if err := rows.Scan(into...); err != nil {
		return nil, err //nolint:wrapcheck // The caller says what it read.
	}
	lines := make([]string, len(names))
	for i, name := range names {
		value := ""
		if values[i] != nil {
			value = strings.ReplaceAll(fmt.Sprint(values[i]), "\n", ", ")
		}
		lines[i] = fmt.Sprintf("    %-12s %s", name, printable(value))
	}
	return lines, rows.Err() //nolint:wrapcheck // As above.
}
