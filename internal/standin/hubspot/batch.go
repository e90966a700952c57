package hubspot

import (
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// maxInputs is the most inputs of a batch, and maxHistory of one that reads the
// history of properties.
const maxInputs, maxHistory = 100, 50

// batchInput is one input of a batch that writes. A value that is no text is a
// mistake.
type batchInput struct {
	ID         string            `json:"id"`
	IDProperty string            `json:"idProperty"`
	Properties map[string]string `json:"properties"`
	Trace      string            `json:"objectWriteTraceId"`
}

// inputs reads a batch that writes, and checks what fails it as a whole.
func (s *Standin) inputs(r *request) (string, []batchInput, *problem) {
	kind := r.PathValue("kind")
	var in struct {
		Inputs []batchInput `json:"inputs"`
	}
	if bad := r.decode(&in); bad != nil {
		return kind, nil, bad
	}
	known, ok := s.properties[kind]
	r.inputs = len(in.Inputs)
	switch {
	case !ok:
		return kind, nil, notFound("Unable to infer object type")
	case len(in.Inputs) == 0:
		return kind, nil, invalid("inputs may not be empty")
	case len(in.Inputs) > maxInputs:
		return kind, nil, invalid("the batch has more than 100 inputs")
	}
	seen := map[string]bool{}
	for _, one := range in.Inputs {
		if one.ID == "" {
			return kind, nil, invalid("an input has no id")
		}
		key := strings.ToLower(one.IDProperty + "\x00" + one.ID)
		if seen[key] {
			return kind, nil, invalid("Duplicate IDs found in batch input: [" + one.ID + "]. IDs must be unique")
		}
		seen[key] = true
		for name := range one.Properties {
			if known[name].Name == "" {
				return kind, nil, badProperty("PROPERTY_DOESNT_EXIST", name, `Property "`+name+`" does not exist`)
			}
		}
	}
	return kind, in.Inputs, nil
}

// upsert finds or makes each record by a unique property.
func (s *Standin) upsert(r *request) (int, any, *problem) {
	kind, inputs, bad := s.inputs(r)
	if bad != nil {
		return 0, nil, bad
	}
	for _, in := range inputs {
		switch p := s.properties[kind][in.IDProperty]; {
		case in.IDProperty == "hs_object_id" || in.IDProperty == "":
			return 0, nil, invalid("upsert needs an idProperty that is unique, and not hs_object_id")
		case kind == "contacts" && in.IDProperty == "email", p.Unique:
		default:
			return 0, nil, invalid("the property " + in.IDProperty + " is not unique")
		}
	}
	return s.each(r, kind, inputs, func(in batchInput) (*record, bool, *problem) {
		at := s.kinds[kind].find(in.IDProperty, in.ID)
		properties := map[string]string{in.IDProperty: in.ID}
		maps.Copy(properties, in.Properties)
		if in.IDProperty == "email" && at != nil {
			if bad := s.sparse(at, properties); bad != nil {
				return nil, false, bad
			}
		}
		return s.apply(r, kind, at, properties, in.ID)
	})
}

// sparse is an upsert by address that leaves out what the contact has. HubSpot
// does not support that; what it does instead is set by Options.Blank.
func (s *Standin) sparse(at *record, properties map[string]string) *problem {
	for name := range at.properties {
		if _, named := properties[name]; named || name == "hs_additional_emails" {
			continue
		}
		if !s.o.Blank {
			return badProperty("PARTIAL_UPSERT", name, "partial upserts are not supported when using email as the idProperty")
		}
		properties[name] = ""
	}
	return nil
}

// update changes each record by its id.
func (s *Standin) update(r *request) (int, any, *problem) {
	kind, inputs, bad := s.inputs(r)
	if bad != nil {
		return 0, nil, bad
	}
	for _, in := range inputs {
		if in.IDProperty == "email" {
			return 0, nil, invalid("batch update by email is not supported")
		}
	}
	return s.each(r, kind, inputs, func(in batchInput) (*record, bool, *problem) {
		at := s.kinds[kind].get(in.ID)
		if in.IDProperty != "" {
			at = s.kinds[kind].find(in.IDProperty, in.ID)
		}
		if at == nil {
			p := notFound("Could not get some records, they may be deleted or not exist.")
			p.Context = map[string][]string{"ids": {in.ID}}
			return nil, false, p
		}
		return s.apply(r, kind, at, in.Properties, in.ID)
	})
}

// apply checks the properties and writes them.
func (s *Standin) apply(r *request, kind string, at *record, properties map[string]string, key string) (*record, bool, *problem) {
	for name, value := range properties {
		p := s.properties[kind][name]
		if value != "" || p.Modify.ReadOnlyValue {
			if bad := p.check(value); bad != nil {
				return nil, false, bad
			}
		}
		if value == "" || name != "email" && !p.Unique {
			continue
		}
		if other := s.kinds[kind].find(name, value); other != nil && other != at {
			return nil, false, conflict(other.id)
		}
		if name == "email" && s.kinds[kind].erased[strings.ToLower(value)] {
			return nil, false, badProperty("CONTACT_BLOCKED", name, "the contact was permanently deleted")
		}
	}
	if at == nil {
		if bad := required(kind, properties); bad != nil {
			return nil, false, bad
		}
	}
	o, created := s.put(kind, at, properties, source{"INTEGRATION", s.o.App}, r.now)
	s.ledger.write(Write{At: r.now, Kind: kind, ID: o.id, Key: key, Created: created, Properties: properties})
	return o, created, nil
}

// needs are the properties that a new activity must have.
func needs(kind string) []string {
	return map[string][]string{
		"notes":          {"hs_timestamp"},
		"communications": {"hs_timestamp", "hs_communication_channel_type", "hs_communication_logged_from"},
	}[kind]
}

// required says what a new activity lacks.
func required(kind string, properties map[string]string) *problem {
	for _, name := range needs(kind) {
		if properties[name] == "" {
			return badProperty("REQUIRED_PROPERTY_MISSING", name, "the property "+name+" is required")
		}
	}
	return nil
}

// each does the inputs one by one. Those that fail are told apart only when all
// have a trace; otherwise the first one fails the batch, and nothing is done.
func (s *Standin) each(r *request, kind string, inputs []batchInput, do func(in batchInput) (*record, bool, *problem)) (int, any, *problem) {
	traced := !slices.ContainsFunc(inputs, func(in batchInput) bool { return in.Trace == "" }) && !r.fault.Whole
	if !traced {
		if bad := s.trial(r, kind, inputs); bad != nil {
			return 0, nil, bad
		}
	}
	results, errors := []map[string]any{}, []*problem{}
	for _, in := range inputs {
		var o *record
		var created bool
		bad := newProblem(http.StatusInternalServerError, "INTERNAL_ERROR", "internal error")
		if !s.chance.fails(r.fault) {
			o, created, bad = do(in)
		}
		if bad == nil {
			result := s.show(kind, o, nil, nil)
			result["new"] = created
			if !r.fault.Mute && in.Trace != "" {
				result["objectWriteTraceId"] = in.Trace
			}
			results = append(results, result)
			continue
		}
		if !traced {
			return 0, nil, bad
		}
		if bad.Context == nil {
			bad.Context = map[string][]string{}
		}
		if !r.fault.Mute {
			bad.Context["objectWriteTraceId"] = []string{in.Trace}
		}
		errors = append(errors, bad)
	}
	slices.Reverse(results) // HubSpot promises no order.
	body := map[string]any{"status": "COMPLETE", "results": results, "startedAt": stamp(r.now), "completedAt": stamp(r.now)}
	if len(errors) > 0 {
		body["errors"], body["numErrors"] = errors, len(errors)
		return http.StatusMultiStatus, body, nil
	}
	return http.StatusOK, body, nil
}

// trial says what is wrong with the inputs, without doing any of them.
func (s *Standin) trial(_ *request, kind string, inputs []batchInput) *problem {
	for _, in := range inputs {
		at := s.kinds[kind].get(in.ID)
		if in.IDProperty != "" {
			at = s.kinds[kind].find(in.IDProperty, in.ID)
		}
		for name, value := range in.Properties {
			p := s.properties[kind][name]
			if value == "" {
				continue
			}
			if bad := p.check(value); bad != nil {
				return bad
			}
			if other := s.kinds[kind].find(name, value); other != nil && other != at && (name == "email" || p.Unique) {
				return conflict(other.id)
			}
		}
	}
	return nil
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

// show returns the record as answers hold it. Without names it has all that it
// has a value for.
func (s *Standin) show(kind string, o *record, names, history []string) map[string]any {
	properties := map[string]any{
		"hs_object_id": o.id, "createdate": stamp(o.created), "lastmodifieddate": stamp(o.updated),
	}
	for name, value := range o.properties {
		if names == nil || slices.Contains(names, name) {
			properties[name] = value
		}
	}
	for _, name := range names {
		if _, there := properties[name]; !there && s.properties[kind][name].Name != "" {
			properties[name] = nil
		}
	}
	shown := map[string]any{
		"id": o.id, "properties": properties, "createdAt": stamp(o.created), "updatedAt": stamp(o.updated), "archived": false,
	}
	if len(history) > 0 {
		versions := map[string][]Version{}
		for _, name := range history {
			versions[name] = slices.Clone(o.history[name])
			slices.Reverse(versions[name])
		}
		shown["propertiesWithHistory"] = versions
	}
	return shown
}

// read returns records by id or by a unique property.
func (s *Standin) read(r *request) (int, any, *problem) {
	kind := r.PathValue("kind")
	var in struct {
		Properties []string `json:"properties"`
		History    []string `json:"propertiesWithHistory"`
		IDProperty string   `json:"idProperty"`
		Inputs     []struct {
			ID string `json:"id"`
		} `json:"inputs"`
	}
	if bad := r.decode(&in); bad != nil {
		return 0, nil, bad
	}
	r.inputs = len(in.Inputs)
	most := maxInputs
	if len(in.History) > 0 {
		most = maxHistory
	}
	switch {
	case s.kinds[kind] == nil:
		return 0, nil, notFound("Unable to infer object type")
	case len(in.Inputs) == 0 || len(in.Inputs) > most:
		return 0, nil, invalid("the batch has no inputs, or more than " + strconv.Itoa(most))
	case in.IDProperty != "" && (in.IDProperty != "email" || kind != "contacts") && !s.properties[kind][in.IDProperty].Unique:
		return 0, nil, invalid("the property " + in.IDProperty + " is not unique")
	}
	results, missing, seen := []map[string]any{}, []string{}, map[string]bool{}
	for _, one := range in.Inputs {
		o := s.kinds[kind].get(one.ID)
		if in.IDProperty != "" {
			o = s.kinds[kind].find(in.IDProperty, one.ID)
		}
		switch {
		case o == nil:
			missing = append(missing, one.ID)
		case !seen[o.id]:
			seen[o.id] = true
			results = append(results, s.show(kind, o, in.Properties, in.History))
		}
	}
	body := map[string]any{"status": "COMPLETE", "results": results, "startedAt": stamp(r.now), "completedAt": stamp(r.now)}
	if len(missing) == 0 {
		return http.StatusOK, body, nil
	}
	p := notFound("Could not get some " + strings.ToUpper(kind) + " objects, they may be deleted or not exist. Check that ids are valid.")
	p.Context = map[string][]string{"ids": missing}
	body["errors"], body["numErrors"] = []*problem{p}, 1
	return http.StatusMultiStatus, body, nil
}
