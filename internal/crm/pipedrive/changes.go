package pipedrive

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/parley-chat/parley/internal/crm"
	"github.com/parley-chat/parley/internal/fault"
)

const (
	// settling is how old a change is when it is told: until then one may be stored
	// that is older.
	settling = 10 * time.Second
	// changesPage is how many persons are read at once.
	changesPage = 500
)

// mark is how far changes were told: all before the time, and of those at that
// time the persons of the ids. Pipedrive tells times in whole seconds.
type mark struct {
	At  time.Time `json:"at"`
	IDs []int     `json:"ids,omitempty"`
}

// Changes implements crm.ChangeReader with the list of the persons that were
// updated lately, of those with a key of ours. One that changes all the time is
// told when it rests.
func (c *Connector) Changes(ctx context.Context, text string, fields []string) ([]crm.Change, string, error) {
	until := c.o.Now().UTC().Add(-settling).Truncate(time.Second)
	m := mark{At: until}
	if text != "" {
		if err := json.Unmarshal([]byte(text), &m); err != nil {
			return nil, text, fault.New(fault.Malformed, "the cursor of Pipedrive's changes cannot be read").Because(err)
		}
	}
	s, err := c.keyed(ctx)
	if err != nil {
		return nil, text, err
	}
	var all []crm.Change
	for range maxPages {
		var more bool
		if all, more, err = c.page(ctx, s, &m, until, fields); err != nil {
			return nil, text, err
		}
		if len(all) > 0 || !more || text == "" {
			break
		}
	}
	next, err := json.Marshal(m)
	return all, string(next), err //nolint:wrapcheck // A time and numbers can be written.
}

// page reads the next persons behind the mark, and puts the mark behind them. The
// second value says that there are more.
func (c *Connector) page(ctx context.Context, s *schema, m *mark, until time.Time, fields []string) ([]crm.Change, bool, error) {
	found, full, err := c.updated(ctx, m)
	if err != nil {
		return nil, false, err
	}
	var all []crm.Change
	for i := range found {
		p := &found[i]
		if !p.UpdateTime.Before(until) {
			full = false // It does not rest yet, and neither do those behind it.
			break
		}
		if m.pass(p) && p.get(s.key) != "" {
			all = append(all, s.change(p, fields))
		}
	}
	if !full && until.After(m.At) {
		*m = mark{At: until}
	}
	return all, full, nil
}

// updated returns the next persons that were updated at the mark or later, the
// oldest first, and whether there may be more. A page that holds nobody new leads
// to the next one.
func (c *Connector) updated(ctx context.Context, m *mark) ([]person, bool, error) {
	q := url.Values{
		"updated_since": {m.At.UTC().Format(time.RFC3339)}, "sort_by": {"update_time"}, "sort_direction": {"asc"}, "limit": {strconv.Itoa(changesPage)},
	}
	for {
		var got struct {
			Data []person `json:"data"`
			More struct {
				Next string `json:"next_cursor"`
			} `json:"additional_data"`
		}
		if err := c.do(ctx, call{method: http.MethodGet, path: "/v2/persons", query: q, name: "the list of persons", out: &got}); err != nil {
			return nil, false, err
		}
		fresh := slices.ContainsFunc(got.Data, func(p person) bool { return !m.told(&p) })
		if fresh || got.More.Next == "" {
			return got.Data, got.More.Next != "", nil
		}
		q.Set("cursor", got.More.Next)
	}
}

// told reports whether the person's change was told.
func (m *mark) told(p *person) bool {
	return p.UpdateTime.Before(m.At) || p.UpdateTime.Equal(m.At) && slices.Contains(m.IDs, p.ID)
}

// pass puts the mark behind the person. It is false when the change was told.
func (m *mark) pass(p *person) bool {
	if m.told(p) {
		return false
	}
	if p.UpdateTime.After(m.At) {
		*m = mark{At: p.UpdateTime.UTC()}
	}
	m.IDs = append(m.IDs, p.ID)
	return true
}

// change returns the person in our words.
func (s *schema) change(p *person, fields []string) crm.Change {
	id := strconv.Itoa(p.ID)
	seq, _ := p.Custom[s.seq].(float64)
	out := crm.Change{Ref: crm.Ref{Key: p.get(s.key), ID: id}, At: p.UpdateTime, Seq: uint64(max(seq, 0))}
	for _, f := range s.contact(out.Key, id, p).Fields {
		if slices.Contains(fields, f.Name) {
			out.Fields = append(out.Fields, f)
		}
	}
	return out
}
