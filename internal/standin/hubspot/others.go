package hubspot

import (
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The limits of the search.
const maxPage, maxResults, maxFilters = 200, 10_000, 6

// filter is one condition of a search.
type filter struct {
	Property string `json:"propertyName"`
	Operator string `json:"operator"`
	Value    string `json:"value"`
}

// search finds contacts. It does not know of the newest changes yet.
func (s *Standin) search(r *request) (int, any, *problem) {
	kind := r.PathValue("kind")
	var in struct {
		Groups []struct {
			Filters []filter `json:"filters"`
		} `json:"filterGroups"`
		Sorts []struct {
			Property  string `json:"propertyName"`
			Direction string `json:"direction"`
		} `json:"sorts"`
		Properties []string `json:"properties"`
		Limit      int      `json:"limit"`
		After      string   `json:"after"`
	}
	if bad := r.decode(&in); bad != nil {
		return 0, nil, bad
	}
	from, err := strconv.Atoi("0" + in.After)
	switch {
	case s.kinds[kind] == nil:
		return 0, nil, notFound("Unable to infer object type")
	case in.Limit < 1 || in.Limit > maxPage || err != nil || from+in.Limit > maxResults || len(in.Groups) > 5 || len(in.Sorts) > 1:
		return 0, nil, invalid("the search has a wrong limit, more than 10000 results, or too many groups or sorts")
	}
	var found []*record
	for _, o := range s.kinds[kind].records {
		if r.now.Sub(o.updated) < s.o.Lag {
			continue
		}
		matches := len(in.Groups) == 0
		for _, g := range in.Groups {
			if len(g.Filters) > maxFilters {
				return 0, nil, invalid("a group has more than 6 filters")
			}
			matches = matches || !slices.ContainsFunc(g.Filters, func(f filter) bool { return !f.matches(o) })
		}
		if matches {
			found = append(found, o)
		}
	}
	slices.SortFunc(found, func(a, b *record) int {
		if c := a.updated.Compare(b.updated); c != 0 {
			return c
		}
		return strings.Compare(a.id, b.id)
	})
	total := len(found)
	body := map[string]any{"total": total}
	found = found[min(from, total):min(from+in.Limit, total)]
	if from+in.Limit < total {
		body["paging"] = map[string]any{"next": map[string]any{"after": strconv.Itoa(from + in.Limit)}}
	}
	results := []map[string]any{}
	for _, o := range found {
		results = append(results, s.show(kind, o, in.Properties, nil))
	}
	body["results"] = results
	return http.StatusOK, body, nil
}

func (f filter) matches(o *record) bool {
	value := o.properties[f.Property]
	switch f.Operator {
	case "HAS_PROPERTY":
		return value != ""
	case "EQ":
		return value == f.Value
	case "GTE":
		ms, err := strconv.ParseInt(f.Value, 10, 64)
		return err == nil && f.Property == "lastmodifieddate" && !o.updated.Before(time.UnixMilli(ms))
	}
	return false
}

// merge merges two contacts for ever.
func (s *Standin) merge(r *request) (int, any, *problem) {
	var in struct {
		Into string `json:"primaryObjectId"`
		From string `json:"objectIdToMerge"`
	}
	if bad := r.decode(&in); bad != nil {
		return 0, nil, bad
	}
	into, from := s.kinds["contacts"].get(in.Into), s.kinds["contacts"].get(in.From)
	if into == nil || from == nil {
		return 0, nil, notFound("resource not found")
	}
	if into == from {
		return 0, nil, invalid("cannot merge an object into itself")
	}
	s.join(into, from, r.now)
	return http.StatusOK, s.show("contacts", into, nil, nil), nil
}

// erase deletes a contact for ever, and blocks its address.
func (s *Standin) erase(r *request) (int, any, *problem) {
	var in struct {
		ID         string `json:"objectId"`
		IDProperty string `json:"idProperty"`
	}
	if bad := r.decode(&in); bad != nil {
		return 0, nil, bad
	}
	h := s.kinds["contacts"]
	o := h.get(in.ID)
	if in.IDProperty != "" {
		o = h.find(in.IDProperty, in.ID)
	}
	if o == nil {
		return 0, nil, notFound("resource not found")
	}
	h.index(s, "contacts", o, false)
	delete(h.records, o.id)
	if email := strings.ToLower(o.properties["email"]); email != "" {
		h.erased[email] = true
	}
	return http.StatusNoContent, nil, nil
}

// associate ties objects to contacts. Doing it again changes nothing.
func (s *Standin) associate(r *request) (int, any, *problem) {
	from, to := r.PathValue("from"), r.PathValue("to")
	type end struct {
		ID string `json:"id"`
	}
	var in struct {
		Inputs []struct {
			From end `json:"from"`
			To   end `json:"to"`
		} `json:"inputs"`
	}
	if bad := r.decode(&in); bad != nil {
		return 0, nil, bad
	}
	r.inputs = len(in.Inputs)
	switch {
	case s.kinds[from] == nil || s.kinds[to] == nil:
		return 0, nil, notFound("Unable to infer object type")
	case len(in.Inputs) == 0 || len(in.Inputs) > maxInputs:
		return 0, nil, invalid("the batch has no inputs, or more than 100")
	}
	results, errors := []map[string]any{}, []*problem{}
	for _, one := range in.Inputs {
		a, b := s.kinds[from].get(one.From.ID), s.kinds[to].get(one.To.ID)
		if a == nil || b == nil {
			p := notFound("One or more objects do not exist")
			p.Context = map[string][]string{"fromObjectId": {one.From.ID}, "toObjectId": {one.To.ID}}
			errors = append(errors, p)
			continue
		}
		s.ties[tie{from, a.id, to, b.id}] = true
		results = append(results, map[string]any{"from": end{a.id}, "to": end{b.id}, "associationSpec": map[string]any{"associationCategory": "HUBSPOT_DEFINED", "associationTypeId": 202}})
	}
	body := map[string]any{"status": "COMPLETE", "results": results, "startedAt": stamp(r.now), "completedAt": stamp(r.now)}
	if len(errors) > 0 {
		body["errors"], body["numErrors"] = errors, len(errors)
		return http.StatusMultiStatus, body, nil
	}
	return http.StatusOK, body, nil
}

// takeEvent takes an event of the app. An event never changes: a second one of
// the id is a conflict.
func (s *Standin) takeEvent(r *request) (int, any, *problem) {
	var in struct {
		Type       string            `json:"eventTypeName"`
		ID         string            `json:"id"`
		Properties map[string]string `json:"properties"`
		Email      string            `json:"email"`
		ObjectID   string            `json:"objectId"`
		UTK        string            `json:"utk"`
		Timestamp  time.Time         `json:"timestamp"`
		Extra      map[string]any    `json:"extraData"`
	}
	if bad := r.decode(&in); bad != nil {
		return 0, nil, bad
	}
	known, ok := s.o.Events[in.Type]
	if !ok {
		return 0, nil, invalid("there is no event type " + in.Type)
	}
	for name := range in.Properties {
		if !slices.Contains(known, name) {
			return 0, nil, invalid("the event type has no property " + name)
		}
	}
	o := s.kinds["contacts"].get(in.ObjectID)
	if in.Email != "" {
		o = s.kinds["contacts"].find("email", in.Email)
	}
	key := in.Type + "/" + in.ID
	switch {
	case in.ID == "":
		return 0, nil, invalid("the event has no id")
	case o == nil:
		return 0, nil, notFound("there is no such contact")
	case s.events[key] != nil:
		return 0, nil, newProblem(http.StatusConflict, "CONFLICT", "An event occurrence with this id already exists.")
	}
	s.events[key] = map[string]string{"contact": o.id, "at": stamp(in.Timestamp)}
	maps.Copy(s.events[key], in.Properties)
	s.ledger.write(Write{At: r.now, Kind: "events", ID: in.ID, Key: in.ID, Created: true, Properties: in.Properties})
	return http.StatusCreated, map[string]any{"id": in.ID, "eventTypeName": in.Type, "objectId": o.id}, nil
}
