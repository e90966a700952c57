package pipedrive

import (
	"context"
	"html"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/parley-chat/parley/internal/crm"
	"github.com/parley-chat/parley/internal/fault"
)

const (
	// maxText is the longest text of an activity or a note, in bytes.
	maxText = 60_000
	// maxSubject is the longest subject, in characters.
	maxSubject = 255
	// markStart begins the mark by which an activity is found again: it has no field
	// for our key.
	markStart = "Parley "
)

// PutActivities implements crm.Connector.
func (c *Connector) PutActivities(ctx context.Context, list []crm.Activity) ([]crm.Outcome, error) {
	return each(ctx, list, func(a crm.Activity) string { return a.Key }, c.putActivity)
}

// entryOf is the name of an activity's entry in the store.
func entryOf(key string) string { return "a-" + key }

// putActivity brings one session to Pipedrive.
func (c *Connector) putActivity(ctx context.Context, a crm.Activity) (crm.Outcome, error) {
	if c.o.Activities == None {
		return crm.Outcome{Status: crm.Done, ID: a.ID}, nil
	}
	who, err := c.ids.Get(ctx, a.Contact.Key)
	if err != nil {
		return crm.Outcome{}, err //nolint:wrapcheck // It says all.
	}
	if a.Contact.ID != "" {
		who.ID = a.Contact.ID
	}
	number, err := strconv.Atoi(who.ID)
	if err != nil {
		return crm.Outcome{}, wait("the contact of the activity is not in Pipedrive yet", time.Second)
	}
	e, err := c.ids.Get(ctx, entryOf(a.Key))
	if err != nil {
		return crm.Outcome{}, err //nolint:wrapcheck // It says all.
	}
	if a.ID != "" {
		e.ID = a.ID
	}
	m := c.creationOf(a, number)
	if e.ID == "" {
		var made bool
		if e, made, err = c.make(ctx, m, e, a.Unsure); err != nil {
			return crm.Outcome{}, err
		}
		if made {
			return crm.Outcome{Status: crm.Done, ID: e.ID, Created: true}, nil
		}
	}
	if e.Suspect {
		if e, err = c.suspect(ctx, m, e); err != nil {
			return crm.Outcome{}, err
		}
	}
	method, path := http.MethodPatch, "/v2/activities/"
	if c.o.Activities == Note {
		method, path = http.MethodPut, "/v1/notes/"
	}
	err = c.do(ctx, call{method: method, path: path + url.PathEscape(e.ID), name: "one of the " + c.o.Activities.list(), in: c.told(a, number, false)})
	if err != nil {
		return crm.Outcome{}, c.gone(ctx, entryOf(a.Key), e, err)
	}
	return crm.Outcome{Status: crm.Done, ID: e.ID}, nil
}

// list is what records of the kind are called in paths.
func (k Kind) list() string {
	if k == Note {
		return "notes"
	}
	return "activities"
}

// path is where they are.
func (k Kind) path() string {
	if k == Note {
		return "/v1/notes"
	}
	return "/v2/activities"
}

// told returns what is written of the session.
func (c *Connector) told(a crm.Activity, who int, fresh bool) body {
	if c.o.Activities == Note {
		in := body{"content": rich(a.Subject, a.Text, a.Key)}
		if fresh {
			in["person_id"] = who
		}
		return add(in, a.Fields)
	}
	in := body{
		"subject": cut(a.Subject), "note": rich("", a.Text, a.Key), "done": a.Record.Ended || !a.End.IsZero(),
		"due_date": a.At.UTC().Format(time.DateOnly), "due_time": a.At.UTC().Format("15:04"),
	}
	if length := a.End.Sub(a.At); !a.End.IsZero() && length > 0 && length < 24*time.Hour {
		in["duration"] = time.Time{}.Add(length).Format("15:04")
	}
	if fresh {
		in["type"] = c.o.Type
		in["participants"] = []body{{"person_id": who, "primary": true}}
	}
	return add(in, a.Fields)
}

// add adds the fields of the mapping.
func add(in body, list []crm.Field) body {
	for _, f := range list {
		if f.Value != nil {
			in[f.Name] = f.Value
		}
	}
	return in
}

func cut(subject string) string {
	if subject == "" {
		return "Chat"
	}
	if utf8.RuneCountInString(subject) <= maxSubject {
		return subject
	}
	return string([]rune(subject)[:maxSubject-1]) + "…"
}

// rich returns the account as rich text with the mark at its end: what visitors
// wrote stays text.
func rich(subject, text, key string) string {
	var b strings.Builder
	if subject != "" {
		b.WriteString("<b>" + html.EscapeString(subject) + "</b>")
	}
	for line := range strings.Lines(text) {
		part := html.EscapeString(strings.TrimRight(line, "\n"))
		if b.Len() > 0 {
			part = "<br>" + part
		}
		if b.Len()+len(part) > maxText {
			b.WriteString("…")
			break
		}
		b.WriteString(part)
	}
	return b.String() + "<br><small>" + markStart + key + "</small>"
}

// creationOf is how the record of the session is made, and found: among those of
// its person, by the mark in the text.
func (c *Connector) creationOf(a crm.Activity, who int) making {
	found := func(ctx context.Context) ([]string, error) { return c.marked(ctx, strconv.Itoa(who), a.Key) }
	return making{
		key:    entryOf(a.Key),
		lately: func(ctx context.Context, _ time.Time) ([]string, error) { return found(ctx) },
		ever:   found,
		create: func(ctx context.Context) (string, error) {
			var got struct {
				Data struct {
					ID int `json:"id"`
				} `json:"data"`
			}
			err := c.do(ctx, call{method: http.MethodPost, path: c.o.Activities.path(), name: c.o.Activities.list(), in: c.told(a, who, true), out: &got})
			if err == nil && got.Data.ID == 0 {
				err = fault.New(fault.EffectUnknown, "Pipedrive does not tell the id of the record").WithAfter(afterFailure)
			}
			return strconv.Itoa(got.Data.ID), err
		},
	}
}

// marked returns the ids of the person's records that have the mark of the key,
// the oldest first; of any key when it is "".
func (c *Connector) marked(ctx context.Context, who, key string) ([]string, error) {
	var ids []int
	next := ""
	for range maxPages {
		var got struct {
			Data []struct {
				ID      int    `json:"id"`
				Note    string `json:"note"`
				Content string `json:"content"`
			} `json:"data"`
			More struct {
				Next       string `json:"next_cursor"`
				Pagination struct {
					More bool `json:"more_items_in_collection"`
					Next int  `json:"next_start"`
				} `json:"pagination"`
			} `json:"additional_data"`
		}
		q := url.Values{"person_id": {who}, "limit": {strconv.Itoa(pageSize)}}
		if next != "" {
			q.Set(map[Kind]string{Activity: "cursor", Note: "start"}[c.o.Activities], next)
		}
		list := c.o.Activities.list()
		if err := c.do(ctx, call{method: http.MethodGet, path: c.o.Activities.path(), query: q, name: "the list of " + list, out: &got}); err != nil {
			return nil, err
		}
		for _, r := range got.Data {
			if strings.Contains(r.Note+r.Content, markStart+key) {
				ids = append(ids, r.ID)
			}
		}
		if next = got.More.Next; c.o.Activities == Note {
			if next = ""; got.More.Pagination.More && got.More.Pagination.Next > 0 {
				next = strconv.Itoa(got.More.Pagination.Next)
			}
		}
		if next == "" {
			break
		}
	}
	return inOrder(ids), nil
}
