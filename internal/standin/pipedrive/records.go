package pipedrive

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Record is a person, an activity or a note.
type Record map[string]any

// ID returns the record's number.
func (r Record) ID() int {
	id, _ := r["id"].(int)
	return id
}

// Custom returns a custom field.
func (r Record) Custom(key string) any {
	custom, _ := r["custom_fields"].(map[string]any)
	return custom[key]
}

// Emails returns the addresses of a person.
func (r Record) Emails() []string {
	var all []string
	list, _ := r["emails"].([]any)
	for _, item := range list {
		one, _ := item.(map[string]any)
		value, _ := one["value"].(string)
		all = append(all, value)
	}
	return all
}

// shelf holds the records of one kind.
type shelf struct {
	records map[int]Record
	order   []int
	at      map[int]time.Time // of the last change
	made    map[int]time.Time
}

func newShelf() *shelf {
	return &shelf{records: map[int]Record{}, at: map[int]time.Time{}, made: map[int]time.Time{}}
}

// Add puts a record into the account, as somebody else does, and returns its
// number.
func (a *Account) Add(kind string, r Record) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.insert(kind, maps.Clone(r)).ID()
}

// Put changes a record, as somebody else does.
func (a *Account) Put(kind string, id int, change Record) {
	a.mu.Lock()
	defer a.mu.Unlock()
	next := maps.Clone(a.shelves[kind].records[id])
	maps.Copy(next, change)
	a.store(kind, next)
}

// Remove deletes a record, as somebody else does.
func (a *Account) Remove(kind string, id int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.shelves[kind].records, id)
}

// Records returns the records of a kind, oldest first.
func (a *Account) Records(kind string) []Record {
	a.mu.Lock()
	defer a.mu.Unlock()
	s := a.shelves[kind]
	all := make([]Record, 0, len(s.records))
	for _, id := range s.order {
		if r, ok := s.records[id]; ok {
			all = append(all, r)
		}
	}
	return all
}

func (a *Account) insert(kind string, r Record) Record {
	a.ids++
	r["id"], r["add_time"] = a.ids, a.o.Now().UTC().Format(time.RFC3339)
	s := a.shelves[kind]
	s.order = append(s.order, a.ids)
	s.made[a.ids] = a.o.Now()
	return a.store(kind, r)
}

func (a *Account) store(kind string, r Record) Record {
	s := a.shelves[kind]
	r["update_time"] = a.o.Now().UTC().Format(time.RFC3339)
	s.records[r.ID()], s.at[r.ID()] = r, a.o.Now()
	return r
}

// read reads the body strictly.
func (c *call) read(into any) *problem {
	if !strings.HasPrefix(c.r.Header.Get("Content-Type"), "application/json") {
		return &problem{status: http.StatusUnsupportedMediaType, text: "the body must be JSON"}
	}
	d := json.NewDecoder(bytes.NewReader(c.body))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return wrong("Validation failed: %s", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return wrong("Validation failed: more than one value")
	}
	return nil
}

func known(kind string) []string {
	switch kind {
	case "persons":
		return []string{"name", "owner_id", "org_id", "emails", "phones", "visible_to", "label_ids", "marketing_status", "custom_fields"}
	case "activities":
		return []string{"subject", "type", "owner_id", "participants", "deal_id", "org_id", "due_date", "due_time", "duration", "done", "note", "public_description"}
	}
	return []string{"content", "person_id", "deal_id", "lead_id", "org_id", "project_id", "add_time", "pinned_to_person_flag"}
}

// check holds a body against the rules of its kind.
func (c *call) check(kind string, in Record, fresh bool) *problem {
	for name, value := range in {
		if !slices.Contains(known(kind), name) {
			return wrong("Validation failed: %s: unknown parameter", name)
		}
		switch name {
		case "custom_fields":
			if p := c.account.custom(value); p != nil {
				return p
			}
		case "emails", "phones":
			if p := points(name, value); p != nil {
				return p
			}
		case "participants":
			if p := c.participants(value); p != nil {
				return p
			}
		case "due_date", "due_time", "duration":
			layout := map[string]string{"due_date": time.DateOnly, "due_time": "15:04", "duration": "15:04"}[name]
			if text, ok := value.(string); !ok || !fits(layout, text) {
				return wrong("Validation failed: %s: wrong format", name)
			}
		case "name", "subject", "type", "note", "content", "add_time":
			if text, ok := value.(string); !ok || text == "" && name != "note" {
				return wrong("Validation failed: %s: must be a text", name)
			}
		case "person_id":
			id, _ := value.(float64)
			if _, ok := c.account.shelves["persons"].records[int(id)]; !ok {
				return wrong("Validation failed: person_id: no such person")
			}
		}
	}
	needed := map[string][]string{"persons": {"name"}, "activities": {"subject"}, "notes": {"content", "person_id"}}[kind]
	for _, name := range needed {
		if _, told := in[name]; fresh && !told {
			return wrong("Validation failed: %s: is required", name)
		}
	}
	return nil
}

func fits(layout, text string) bool {
	_, err := time.Parse(layout, text)
	return err == nil
}

// points checks addresses and numbers.
func points(name string, value any) *problem {
	list, ok := value.([]any)
	if !ok {
		return wrong("Validation failed: %s: must be a list", name)
	}
	primary := 0
	for _, item := range list {
		one, _ := item.(map[string]any)
		text, _ := one["value"].(string)
		if first, _ := one["primary"].(bool); first {
			primary++
		}
		if text == "" || name == "emails" && !strings.Contains(text, "@") {
			return wrong("Validation failed: %s: value is not valid", name)
		}
	}
	if primary > 1 {
		return wrong("Validation failed: %s: more than one is primary", name)
	}
	return nil
}

func (c *call) participants(value any) *problem {
	list, _ := value.([]any)
	if len(list) == 0 {
		return wrong("Validation failed: participants: must be a list")
	}
	for _, item := range list {
		one, _ := item.(map[string]any)
		id, _ := one["person_id"].(float64)
		if _, ok := c.account.shelves["persons"].records[int(id)]; !ok {
			return wrong("Validation failed: participants: no such person")
		}
	}
	return nil
}

func (c *call) create(kind string) *problem {
	var in Record
	if p := c.read(&in); p != nil {
		return p
	}
	if p := c.check(kind, in, true); p != nil {
		return p
	}
	a := c.account
	if kind == "persons" && a.o.MaxPersons > 0 && len(a.shelves[kind].records) >= a.o.MaxPersons {
		return capped()
	}
	r := a.insert(kind, in)
	a.ledger.effects[Effect{kind, Created}]++
	return c.say(http.StatusCreated, r)
}

func (c *call) change(kind string, id int) *problem {
	a := c.account
	now, ok := a.shelves[kind].records[id]
	if !ok {
		return missing(kind)
	}
	var in Record
	if p := c.read(&in); p != nil {
		return p
	}
	if p := c.check(kind, in, false); p != nil {
		return p
	}
	next := maps.Clone(now)
	for name, value := range in {
		if name != "custom_fields" {
			next[name] = value
			continue
		}
		before, _ := now[name].(map[string]any)
		after, _ := value.(map[string]any)
		joined := map[string]any{}
		maps.Copy(joined, before)
		maps.Copy(joined, after)
		next[name] = joined
	}
	a.ledger.effects[Effect{kind, Changed}]++
	return c.say(http.StatusOK, a.store(kind, next))
}

func (c *call) get(kind string, id int) *problem {
	r, ok := c.account.shelves[kind].records[id]
	if !ok {
		return missing(kind)
	}
	return c.say(http.StatusOK, r)
}

func (c *call) remove(kind string, id int) *problem {
	if _, ok := c.account.shelves[kind].records[id]; !ok {
		return missing(kind)
	}
	delete(c.account.shelves[kind].records, id)
	c.account.ledger.effects[Effect{kind, Deleted}]++
	return c.say(http.StatusOK, map[string]any{"id": id})
}

// list is a page of records, the oldest first or the newest change first.
func (c *call) list(kind string) *problem {
	q, a := c.r.URL.Query(), c.account
	for name := range q {
		if !slices.Contains([]string{"ids", "updated_since", "person_id", "sort_by", "sort_direction", "limit", "cursor", "start"}, name) {
			return wrong("Validation failed: %s: unknown parameter", name)
		}
	}
	limit, start := 100, 0
	for name, at := range map[string]*int{"limit": &limit, "cursor": &start, "start": &start} {
		if text := q.Get(name); text != "" {
			n, err := strconv.Atoi(text)
			if err != nil || n < 0 || name == "limit" && (n == 0 || n > 500) {
				return wrong("Validation failed: %s: out of range", name)
			}
			*at = n
		}
	}
	var since time.Time
	if text := q.Get("updated_since"); text != "" {
		var err error
		if since, err = time.Parse(time.RFC3339, text); err != nil {
			return wrong("Validation failed: updated_since: must be RFC 3339")
		}
	}
	s := a.shelves[kind]
	var found []Record
	for _, id := range s.order {
		r, ok := s.records[id]
		if !ok || s.at[id].Before(since) || a.o.Now().Sub(s.made[id]) < a.o.ListLag || !of(r, kind, q.Get("person_id")) {
			continue
		}
		if ids := q.Get("ids"); ids != "" && !slices.Contains(strings.Split(ids, ","), strconv.Itoa(id)) {
			continue
		}
		found = append(found, r)
	}
	if p := s.sort(found, q.Get("sort_by"), q.Get("sort_direction")); p != nil {
		return p
	}
	page := found[min(start, len(found)):min(start+limit, len(found))]
	more := start+limit < len(found)
	var next any
	if more {
		next = strconv.Itoa(start + limit)
	}
	c.status, c.answer = http.StatusOK, map[string]any{
		"success": true, "data": append([]Record{}, page...), "additional_data": map[string]any{
			"next_cursor": next, "pagination": map[string]any{"start": start, "limit": limit, "more_items_in_collection": more},
		},
	}
	return nil
}

// sort brings records into the order that is asked for: by a time in whole seconds,
// or by id.
func (s *shelf) sort(found []Record, by, direction string) *problem {
	if !slices.Contains([]string{"", "id", "add_time", "update_time"}, by) || !slices.Contains([]string{"", "asc", "desc"}, direction) {
		return wrong("Validation failed: sort_by: must be one of id, add_time, update_time")
	}
	times := map[string]map[int]time.Time{"add_time": s.made, "update_time": s.at}[by]
	slices.SortStableFunc(found, func(x, y Record) int {
		order := x.ID() - y.ID()
		if times != nil {
			if c := times[x.ID()].Truncate(time.Second).Compare(times[y.ID()].Truncate(time.Second)); c != 0 {
				order = c
			}
		}
		if direction == "desc" {
			return -order
		}
		return order
	})
	return nil
}

// of reports whether the record belongs to the person; "" is anybody.
func of(r Record, kind, person string) bool {
	if person == "" {
		return true
	}
	if kind == "notes" {
		id, _ := r["person_id"].(float64)
		return strconv.Itoa(int(id)) == person
	}
	list, _ := r["participants"].([]any)
	return slices.ContainsFunc(list, func(item any) bool {
		one, _ := item.(map[string]any)
		id, _ := one["person_id"].(float64)
		return strconv.Itoa(int(id)) == person
	})
}

// search finds persons by exact text, as far as the index is.
func (c *call) search() *problem {
	q, a := c.r.URL.Query(), c.account
	term, fields := q.Get("term"), strings.Split(q.Get("fields"), ",")
	if len(term) < 2 || q.Get("exact_match") != "true" {
		return wrong("Validation failed: term: the stand-in searches for exact texts")
	}
	items := []any{}
	s := a.shelves["persons"]
	for _, id := range s.order {
		r, ok := s.records[id]
		if !ok || a.o.Now().Sub(s.made[id]) < a.o.Lag {
			continue
		}
		same := func(value any) bool {
			text, _ := value.(string)
			return strings.EqualFold(text, term)
		}
		hit := slices.Contains(fields, "email") && slices.ContainsFunc(r.Emails(), func(e string) bool { return same(e) })
		custom, _ := r["custom_fields"].(map[string]any)
		var values []any
		for _, value := range custom {
			values = append(values, value)
			hit = hit || slices.Contains(fields, "custom_fields") && same(value)
		}
		if hit {
			items = append(items, map[string]any{"result_score": 1, "item": map[string]any{
				"id": id, "type": "person", "name": r["name"], "emails": r.Emails(), "custom_fields": values, "update_time": r["update_time"],
			}})
		}
	}
	return c.say(http.StatusOK, map[string]any{"items": items})
}
