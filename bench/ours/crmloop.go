package ours

import (
	"context"
	stdsql "database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/parley-chat/parley/bench/contend"
	"github.com/parley-chat/parley/bench/message"
	"github.com/parley-chat/parley/internal/crm"
	"github.com/parley-chat/parley/internal/crm/sql"
	"github.com/parley-chat/parley/internal/event"
)

// crmLoop writes the rows of chats as anybody would, without Parley: prepared
// statements, and a transaction with contact and chat when the chat opens, and
// another one when it closes.
type crmLoop struct {
	db            *database
	lines         int // at once: as many as the connector may have
	contact, chat *stdsql.Stmt
	sent          atomic.Int64
}

func startCRMLoop(ctx context.Context, s contend.Setup, kind string) (*crmLoop, error) {
	db, err := openDatabase(ctx, kind, s.Dir)
	if err != nil {
		return nil, err
	}
	l := &crmLoop{db: db, lines: 1}
	if kind == sql.Postgres {
		l.lines = db.DB().Stats().MaxOpenConnections
	}
	l.contact, err = l.prepare(ctx, "contacts", "contact_key", contactNames())
	if err == nil {
		l.chat, err = l.prepare(ctx, "chat_sessions", "session_key", chatNames())
	}
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return l, nil
}

// contactNames are the columns that the connector fills by default and that are
// known here; those of chats are all.
func contactNames() []string {
	return []string{"contact_key", "seq", "updated_at", "chats", "email", "first_seen_at", "last_chat_at", "name", "site", "user_id"}
}

func chatNames() []string {
	return []string{
		"session_key", "contact_key", "site", "subject", "opened_at", "closed_at", "opened_by", "closed_by", "seconds", "opens", "pages",
		"attributes", "workflows", "handoff", "record", "seq", "updated_at",
	}
}

// prepare prepares the upsert of a row, which leaves a newer one alone.
func (l *crmLoop) prepare(ctx context.Context, table, key string, names []string) (*stdsql.Stmt, error) {
	marks, sets := make([]string, len(names)), make([]string, 0, len(names))
	for i, name := range names {
		marks[i] = "?"
		if l.db.Name() == sql.Postgres {
			marks[i] = fmt.Sprintf("$%d", i+1)
		}
		if name != key {
			sets = append(sets, name+" = excluded."+name)
		}
	}
	text := "INSERT INTO " + table + " AS t (" + strings.Join(names, ", ") + ") VALUES (" + strings.Join(marks, ", ") + ") ON CONFLICT (" + key +
		") DO UPDATE SET " + strings.Join(sets, ", ") + " WHERE excluded.seq >= t.seq"
	s, err := l.db.DB().PrepareContext(ctx, text)
	if err != nil {
		return nil, fmt.Errorf("preparing an upsert: %w", err)
	}
	return s, nil
}

// Round writes one chat after another, in as many lines as there may be
// connections, until the time is over.
func (l *crmLoop) Round(o contend.Order) (contend.Report, error) {
	ctx := context.Background() // The database answers in its time.
	group, within := errgroup.WithContext(ctx)
	begun, before := time.Now(), l.sent.Load()
	for range l.lines {
		group.Go(func() error { return l.line(within, begun.Add(span(o))) })
	}
	err := group.Wait()
	rep := perSecond(o, int(l.sent.Load()-before), time.Since(begun))
	if err != nil {
		return rep, fmt.Errorf("writing chats: %w", err)
	}
	return rep, l.db.holds(ctx, int(l.sent.Load()))
}

// line writes chats until the time is over.
func (l *crmLoop) line(ctx context.Context, ends time.Time) error {
	for time.Now().Before(ends) {
		r := recordOf(message.ChatOf(int(l.sent.Add(1))), time.Now())
		if err := l.write(ctx, r, 1); err != nil {
			return err
		}
		r.ClosedAt, r.ClosedBy, r.Seconds, r.Open = r.OpenedAt.Add(time.Millisecond), event.CauseVisitor, 0.001, false
		r.LastAt, r.Seq = r.ClosedAt, 2
		if err := l.write(ctx, r, 2); err != nil {
			return err
		}
	}
	return nil
}

// recordOf is the record of the chat when it opened.
func recordOf(c message.Chat, at time.Time) crm.Record {
	at = at.UTC()
	return crm.Record{
		Key: event.DerivedID("chat", c.Session), Site: message.Site, Session: c.Session, Number: 1, Provider: message.Provider, OpenedAt: at,
		OpenedBy: event.CauseVisitor, StartedAt: at, LastAt: at, Open: true, Opens: 1, Pages: []string{message.Page}, Seq: 1,
	}
}

// write writes a state of a chat with its contact.
func (l *crmLoop) write(ctx context.Context, r crm.Record, seq int64) error {
	tx, err := l.db.DB().BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("beginning a transaction: %w", err)
	}
	defer func() { _ = tx.Rollback() }() // It was committed.
	row, err := l.chatRow(r, seq)
	if err != nil {
		return err
	}
	if err := within(ctx, tx, l.contact, l.contactRow(r, seq)); err != nil {
		return fmt.Errorf("writing a contact: %w", err)
	}
	if err := within(ctx, tx, l.chat, row); err != nil {
		return fmt.Errorf("writing a chat: %w", err)
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("committing a chat: %w", err)
	}
	return nil
}

// within writes a row in the transaction, by a statement that was prepared
// before.
func within(ctx context.Context, tx *stdsql.Tx, prepared *stdsql.Stmt, row []any) error {
	s := tx.StmtContext(ctx, prepared)
	defer func() { _ = s.Close() }() // The transaction would close it, too.
	if _, err := s.ExecContext(ctx, row...); err != nil {
		return fmt.Errorf("executing an upsert: %w", err)
	}
	return nil
}

// time is a time as the database keeps it; nil when there is none.
func (l *crmLoop) time(at time.Time) any {
	switch {
	case at.IsZero():
		return nil
	case l.db.Name() == sql.Postgres:
		return at
	}
	return at.Format("2006-01-02T15:04:05.000Z")
}

func (l *crmLoop) contactRow(r crm.Record, seq int64) []any {
	return []any{r.Session, seq, l.time(r.LastAt), 1.0, r.Session + "@example.test", l.time(r.StartedAt), l.time(r.OpenedAt), "Ada", r.Site, r.Session}
}

func (l *crmLoop) chatRow(r crm.Record, seq int64) ([]any, error) {
	text, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("writing a record: %w", err)
	}
	return []any{
		r.Key, r.Session, r.Site, "Chat on " + r.Site, l.time(r.OpenedAt), l.time(r.ClosedAt), string(r.OpenedBy), string(r.ClosedBy), r.Seconds,
		int64(r.Opens), strings.Join(r.Pages, "\n"), "", "", l.bool(false), string(text), seq, l.time(r.LastAt),
	}, nil
}

// bool is a truth as the database keeps it.
func (l *crmLoop) bool(is bool) any {
	if l.db.Name() == sql.Postgres {
		return is
	}
	return 0
}

// Close closes the database.
func (l *crmLoop) Close() error { return l.db.Close() }
