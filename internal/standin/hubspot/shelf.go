package hubspot

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// record is one object.
type record struct {
	id               string
	properties       map[string]string
	history          map[string][]Version
	created, updated time.Time
}

// Version is one value that a property had.
type Version struct {
	Value      string    `json:"value"`
	Timestamp  time.Time `json:"timestamp"`
	SourceType string    `json:"sourceType"`
	SourceID   string    `json:"sourceId"`
}

// shelf holds the objects of one type.
type shelf struct {
	records map[string]*record
	// merged leads from the id of a record that was merged to what is left of it.
	merged map[string]string
	// unique finds records by their unique properties, and by e-mail addresses.
	unique map[string]map[string]string
	// erased are the addresses that may not come back.
	erased map[string]bool
}

func newShelf() *shelf {
	return &shelf{records: map[string]*record{}, merged: map[string]string{}, unique: map[string]map[string]string{}, erased: map[string]bool{}}
}

// get finds a record by its id, that of a merged one too.
func (h *shelf) get(id string) *record {
	for h.merged[id] != "" {
		id = h.merged[id]
	}
	return h.records[id]
}

// find finds a record by a unique property.
func (h *shelf) find(property, value string) *record {
	return h.records[h.unique[property][strings.ToLower(value)]]
}

// index enters or takes out the unique values of a record.
func (h *shelf) index(s *Standin, kind string, r *record, in bool) {
	for name, value := range r.properties {
		values := []string{value}
		at := name
		switch {
		case name == "hs_additional_emails":
			at, values = "email", strings.Split(value, ";")
		case name != "email" && !s.properties[kind][name].Unique:
			continue
		}
		for _, one := range values {
			one = strings.ToLower(strings.TrimSpace(one))
			if one == "" {
				continue
			}
			if h.unique[at] == nil {
				h.unique[at] = map[string]string{}
			}
			if in {
				h.unique[at][one] = r.id
			} else if h.unique[at][one] == r.id {
				delete(h.unique[at], one)
			}
		}
	}
}

// source says who changes a record.
type source struct{ kind, id string }

// put changes a record, or makes it when it is nil.
func (s *Standin) put(kind string, r *record, properties map[string]string, by source, now time.Time) (*record, bool) {
	h := s.kinds[kind]
	created := r == nil
	if created {
		s.lastID++
		r = &record{id: strconv.Itoa(s.lastID), properties: map[string]string{}, history: map[string][]Version{}, created: now}
		h.records[r.id] = r
	} else {
		h.index(s, kind, r, false)
	}
	for name, value := range properties {
		if name == "lifecyclestage" && value != "" && slices.Index(stages(), value) < slices.Index(stages(), r.properties[name]) {
			continue // Backwards: nothing happens, and nobody is told.
		}
		if r.properties[name] == value {
			continue
		}
		r.history[name] = append(r.history[name], Version{value, now, by.kind, by.id})
		if value == "" {
			delete(r.properties, name)
			continue
		}
		r.properties[name] = value
	}
	r.updated = now
	h.index(s, kind, r, true)
	return r, created
}

// Record is one object, for tests to look at.
type Record struct {
	ID         string
	Properties map[string]string
	// Ties are the ids of the contacts that it belongs to.
	Ties []string
}

// Records returns the objects of the type, in the order in which they were made.
func (s *Standin) Records(kind string) []Record {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []Record
	for _, id := range slices.Sorted(maps.Keys(s.kinds[kind].records)) {
		r := Record{ID: id, Properties: maps.Clone(s.kinds[kind].records[id].properties)}
		for t := range s.ties {
			if t.from == kind && t.fromID == id {
				r.Ties = append(r.Ties, t.toID)
			}
		}
		all = append(all, r)
	}
	return all
}

// Edit changes a record, or makes one when the id is "", as a person in HubSpot
// does. It returns the id.
func (s *Standin) Edit(kind, id string, properties map[string]string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, _ := s.put(kind, s.kinds[kind].get(id), properties, source{"CRM_UI", "userId:42"}, s.o.Now())
	return r.id
}

// Delete deletes a record, as a person in HubSpot does.
func (s *Standin) Delete(kind, id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.kinds[kind]
	if r := h.get(id); r != nil {
		h.index(s, kind, r, false)
		delete(h.records, r.id)
	}
}

// Merge merges the second contact into the first one, as a person in HubSpot
// does.
func (s *Standin) Merge(into, from string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.join(s.kinds["contacts"].get(into), s.kinds["contacts"].get(from), s.o.Now())
}

// join merges: what the first one lacks comes from the second one.
func (s *Standin) join(into, from *record, now time.Time) {
	h := s.kinds["contacts"]
	h.index(s, "contacts", from, false)
	delete(h.records, from.id)
	h.merged[from.id] = into.id
	h.index(s, "contacts", into, false)
	for name, value := range from.properties {
		switch {
		case name == "email" && into.properties["email"] != "":
			into.properties["hs_additional_emails"] = strings.Trim(into.properties["hs_additional_emails"]+";"+value, ";")
		case into.properties[name] == "":
			into.properties[name] = value
		}
	}
	into.updated = now
	h.index(s, "contacts", into, true)
	for t := range s.ties {
		if t.to == "contacts" && t.toID == from.id {
			delete(s.ties, t)
			t.toID = into.id
			s.ties[t] = true
		}
	}
}

// Events returns the events of the app, by their types and ids.
func (s *Standin) Events() map[string]map[string]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := map[string]map[string]string{}
	for name, event := range s.events {
		all[name] = maps.Clone(event)
	}
	return all
}
