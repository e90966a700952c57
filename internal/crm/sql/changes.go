package sql

import (
	"context"
	"database/sql"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/parley-chat/parley/internal/crm"
	"github.com/parley-chat/parley/internal/fault"
)

const (
	// changeColumn numbers the changes that others make: a trigger of the table sets
	// it. In PostgreSQL the number is that of the transaction.
	changeColumn = "parley_change"
	// mostChanges is how many changed contacts a call reads.
	mostChanges = 200
)

// cursor is how far changes were read: behind the contact with the key among
// those of the number.
type cursor struct {
	number int64
	key    string
}

// String is how the cursor is stored.
func (c cursor) String() string { return strconv.FormatInt(c.number, 10) + "/" + c.key }

// parseCursor reads a cursor.
func parseCursor(text string) (cursor, error) {
	number, key, found := strings.Cut(text, "/")
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || !found {
		return cursor{}, fault.New(fault.Malformed, "the cursor of the database's changes cannot be read")
	}
	return cursor{n, key}, nil
}

// Changes implements crm.ChangeReader with the column that a trigger sets. In
// PostgreSQL it reads what no transaction under way can come before, so that none
// is overlooked however long it takes.
func (c *Connector) Changes(ctx context.Context, text string, fields []string) ([]crm.Change, string, error) {
	end, err := c.end(ctx)
	if err != nil || text == "" {
		return nil, end.String(), err
	}
	from, err := parseCursor(text)
	if err != nil {
		return nil, text, err
	}
	if from.number > end.number {
		from = cursor{} // Another database is in its place. What is told twice changes nothing.
	}
	changes, last, err := c.changed(ctx, from, end, fields)
	if err != nil {
		return nil, text, classify(err)
	}
	return changes, last.String(), nil
}

// end returns the cursor before which all changes are there: none can come that is
// before it.
func (c *Connector) end(ctx context.Context) (cursor, error) {
	query := "SELECT n + 1 FROM parley_crm_changes"
	if c.dialect.postgres {
		query = "SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint"
	}
	var end cursor
	if err := c.db.QueryRowContext(ctx, query).Scan(&end.number); err != nil {
		return end, classify(err)
	}
	return end, nil
}

// changed reads the contacts that changed behind the cursor, and before the end.
func (c *Connector) changed(ctx context.Context, from, end cursor, fields []string) ([]crm.Change, cursor, error) {
	names := append([]string{"contact_key", "seq", changeColumn}, fields...)
	rows, err := c.db.QueryContext(ctx, c.changesQuery(names), from.number, from.key, end.number)
	if err != nil {
		return nil, from, err //nolint:wrapcheck // Changes classifies it.
	}
	defer func() { _ = rows.Close() }() // Its errors are those of Err.
	var all []crm.Change
	for rows.Next() {
		change, number, err := changeOf(rows, names)
		if err != nil {
			return nil, from, err
		}
		all, from = append(all, change), cursor{number, change.Key}
	}
	return all, from, rows.Err() //nolint:wrapcheck // As above.
}

// changesQuery returns the query of changed contacts.
func (c *Connector) changesQuery(names []string) string {
	quoted := make([]string, len(names))
	for i, name := range names {
		quoted[i] = "contacts." + quote(name) // Alone, SQLite takes what is no column for a text.
	}
	const where = " FROM contacts WHERE parley_change IS NOT NULL AND (parley_change, contact_key) > (%s, %s) AND parley_change < %s"
	const order = " ORDER BY parley_change, contact_key LIMIT %d"
	d := c.dialect
	return fmt.Sprintf("SELECT %s"+where+order, strings.Join(quoted, ", "), d.mark(1), d.mark(2), d.mark(3), mostChanges)
}

// changeOf reads one row.
func changeOf(rows *sql.Rows, names []string) (crm.Change, int64, error) {
	values, into := make([]any, len(names)), make([]any, len(names))
	for i := range values {
		into[i] = &values[i]
	}
	if err := rows.Scan(into...); err != nil {
		return crm.Change{}, 0, err //nolint:wrapcheck // Changes classifies it.
	}
	number, _ := values[2].(int64)
	of := contactOf(names, values)
	return crm.Change{Ref: crm.Ref{Key: of.Key, ID: of.Key}, At: time.Now().UTC(), Seq: of.Seq, Fields: of.Fields}, number, nil
}
