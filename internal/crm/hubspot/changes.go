package hubspot

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/parley-chat/parley/internal/crm"
	"github.com/parley-chat/parley/internal/fault"
)

const (
	// lateness is how long a change may take to show up in HubSpot's search.
	lateness = 30 * time.Second
	// page is how many contacts are read at once: the most with their history.
	page = 50
	// deepest is how many results a search has.
	deepest = 10_000
)

// cursor is how far changes were told.
type cursor struct {
	// At is the time of the latest one, and From when the telling began.
	At   int64 `json:"at"`
	From int64 `json:"from"`
	// Seen are those within the lateness before it, by id: the search is asked for
	// them again, since others may appear among them.
	Seen map[string]int64 `json:"seen,omitempty"`
}

// Changes implements crm.ChangeReader by polling the search, for contacts with a
// key of ours. What only our app changed is left out, where its id is known.
func (c *Connector) Changes(ctx context.Context, text string, fields []string) ([]crm.Change, string, error) {
	if text == "" {
		now := c.o.Now().UnixMilli()
		return nil, (&cursor{At: now, From: now}).String(), nil
	}
	var cur cursor
	if err := json.Unmarshal([]byte(text), &cur); err != nil {
		return nil, text, fault.New(fault.Malformed, "the cursor of HubSpot's changes cannot be read").Because(err)
	}
	fresh, err := c.changed(ctx, cur)
	if err != nil || len(fresh) == 0 {
		return nil, text, err
	}
	s, err := c.properties(ctx, contacts, 0)
	if err != nil {
		return nil, text, err
	}
	ids := make([]string, len(fresh))
	for i := range fresh {
		ids[i] = fresh[i].ID
	}
	full, err := c.readHistory(ctx, "", ids, append([]string{c.o.Key, c.o.Seq}, fields...), fields)
	if err != nil {
		return nil, text, err
	}
	var changes []crm.Change
	for i := range fresh {
		for j := range full {
			if full[j].ID != fresh[i].ID {
				continue
			}
			if change, ok := c.change(s, &full[j], time.UnixMilli(cur.since(full[j].ID)), fields); ok {
				changes = append(changes, change)
			}
		}
		cur.pass(fresh[i].ID, fresh[i].UpdatedAt.UnixMilli())
	}
	slices.SortStableFunc(changes, func(a, b crm.Change) int { return a.At.Compare(b.At) })
	return changes, cur.trimmed().String(), nil
}

// changed returns the next contacts behind the cursor, oldest first.
func (c *Connector) changed(ctx context.Context, cur cursor) ([]object, error) {
	after := ""
	for read := 0; read < deepest; {
		in := map[string]any{
			"filterGroups": []any{map[string]any{"filters": []any{
				map[string]any{"propertyName": "lastmodifieddate", "operator": "GTE", "value": strconv.FormatInt(cur.At-lateness.Milliseconds(), 10)},
				map[string]any{"propertyName": c.o.Key, "operator": "HAS_PROPERTY"},
			}}},
			"sorts":      []any{map[string]any{"propertyName": "lastmodifieddate", "direction": "ASCENDING"}},
			"properties": []string{c.o.Key, "lastmodifieddate"}, "limit": page,
		}
		if after != "" {
			in["after"] = after
		}
		var got answer
		err := c.do(ctx, call{method: http.MethodPost, path: c.objects(contacts, "/search"), name: "contacts/search", in: in, out: &got})
		if err != nil {
			return nil, err
		}
		fresh := slices.DeleteFunc(got.Results, func(o object) bool {
			at, seen := cur.Seen[o.ID]
			return seen && at >= o.UpdatedAt.UnixMilli()
		})
		after = got.Paging.Next.After
		if len(fresh) > 0 || after == "" {
			return fresh, nil
		}
		read += page
	}
	return nil, nil
}

// change returns the properties as they are, when others changed one of them since
// then.
func (c *Connector) change(s *schema, o *object, since time.Time, fields []string) (crm.Change, bool) {
	change := crm.Change{Ref: crm.Ref{Key: o.get(c.o.Key), ID: o.ID}, Seq: o.seq(c.o.Seq)}
	for _, name := range slices.Sorted(slices.Values(fields)) {
		change.Fields = append(change.Fields, crm.Field{Name: name, Value: s.value(name, o.get(name)), Rule: crm.Always})
		newest := latestOf(o.History[name])
		if c.others(newest, since) && newest.Timestamp.After(change.At) {
			change.At, change.By = newest.Timestamp, newest.SourceType+":"+newest.SourceID
		}
	}
	return change, !change.At.IsZero()
}

// others reports whether others made the version since then.
func (c *Connector) others(v version, since time.Time) bool {
	return v.Timestamp.After(since) && (c.o.App == "" || v.SourceID != c.o.App)
}

// latestOf returns the newest version, or the zero value.
func latestOf(versions []version) version {
	if len(versions) == 0 {
		return version{}
	}
	return slices.MaxFunc(versions, func(a, b version) int { return a.Timestamp.Compare(b.Timestamp) })
}

// seq returns the sequence that the record has of ours, or 0.
func (o *object) seq(name string) uint64 {
	n, err := strconv.ParseUint(o.get(name), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// since returns the time up to which the contact's changes were told.
func (cur *cursor) since(id string) int64 {
	if at, ok := cur.Seen[id]; ok {
		return at
	}
	return max(cur.At-lateness.Milliseconds(), cur.From)
}

func (cur *cursor) pass(id string, at int64) {
	if cur.Seen == nil {
		cur.Seen = map[string]int64{}
	}
	cur.Seen[id] = at
	cur.At = max(cur.At, at)
}

// trimmed forgets those that no question brings up again.
func (cur *cursor) trimmed() *cursor {
	for id, at := range cur.Seen {
		if at < cur.At-lateness.Milliseconds() {
			delete(cur.Seen, id)
		}
	}
	return cur
}

// String is how the cursor is stored.
func (cur *cursor) String() string {
	text, err := json.Marshal(cur)
	if err != nil {
		return ""
	}
	return string(text)
}
