package ingest

import (
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
)

// The fields that a mapping finds. Each is looked for under its own name unless
// the mapping says otherwise.
const (
	FieldID          = "id"           // the sender's id of the event
	FieldKind        = "kind"         // track, identify, page…; track when it is missing
	FieldEvent       = "event"        // the event's name
	FieldSite        = "site"         // the name of a site of the configuration
	FieldUserID      = "user_id"      // the site's id of the visitor
	FieldEmail       = "email"        // the visitor's address
	FieldAnonymousID = "anonymous_id" // the id of a visitor whom the site does not know
	FieldPreviousID  = "previous_id"  // of an alias: the anonymous id that the visitor had
	// FieldPreviousUser is, of an alias, the user id that the visitor had.
	FieldPreviousUser = "previous_user_id"
	FieldURL          = "url"        // the page where it happened
	FieldTime         = "time"       // RFC 3339, or seconds or milliseconds since 1970
	FieldGroup        = "group"      // the visitor's company or team
	FieldProperties   = "properties" // an object
	FieldTraits       = "traits"     // an object
	FieldConsent      = "consent"    // an object of analytics, advertising, functionality, personalization
)

// fieldNames lists them.
func fieldNames() []string {
	return []string{
		FieldID, FieldKind, FieldEvent, FieldSite, FieldUserID, FieldEmail, FieldAnonymousID, FieldPreviousID, FieldPreviousUser,
		FieldURL, FieldTime, FieldGroup, FieldProperties, FieldTraits, FieldConsent,
	}
}

// Mapping finds the fields of an event in a JSON object of any shape.
type Mapping struct{ fields map[string]target }

// target is where a field is: a path, or a text that is always the same.
type target struct {
	path     []string
	constant string
	fixed    bool
}

// NewMapping returns the mapping of the texts, by field: a JSON pointer
// ("/user/id"), a path with dots ("user.id"), "." for the whole object, or "="
// and a text that is the same for all events. defaults are those of the source.
func NewMapping(texts, defaults map[string]string) (*Mapping, error) {
	m := &Mapping{fields: map[string]target{}}
	for _, name := range fieldNames() {
		m.fields[name] = target{path: []string{name}}
	}
	all := maps.Clone(defaults)
	if all == nil {
		all = map[string]string{}
	}
	maps.Copy(all, texts)
	for name, text := range all {
		if _, known := m.fields[name]; !known {
			e := fault.New(fault.BadConfig, "the mapping has no field %q", name).At("/" + name)
			if near := fault.Nearest(name, fieldNames()); near != "" {
				return nil, e.WithFix("did you mean %s?", near)
			}
			return nil, e.WithFix("use one of %s", strings.Join(fieldNames(), ", "))
		}
		t, err := targetOf(text)
		if err != nil {
			return nil, err.At("/" + name)
		}
		m.fields[name] = t
	}
	return m, nil
}

func targetOf(text string) (target, *fault.Error) {
	if constant, ok := strings.CutPrefix(text, "="); ok {
		return target{constant: constant, fixed: true}, nil
	}
	switch {
	case text == ".":
		return target{path: []string{}}, nil
	case strings.HasPrefix(text, "/"):
		path := strings.Split(text[1:], "/")
		for i, name := range path {
			path[i] = strings.NewReplacer("~1", "/", "~0", "~").Replace(name)
		}
		return target{path: path}, nil
	}
	path := strings.Split(text, ".")
	if slices.Contains(path, "") {
		return target{}, fault.New(fault.BadConfig, "%q is no path", text).
			WithFix("write /user/id, user.id, . for the whole event, or =text")
	}
	return target{path: path}, nil
}

// Item reads the object into the normal form. What is wrong is in its error,
// with a pointer into the object.
func (m *Mapping) Item(o Object) Item {
	r := &mapped{m: m, o: o}
	t := event.Trigger{
		Site: r.text(FieldSite), Event: r.text(FieldEvent), URL: r.text(FieldURL), Group: r.text(FieldGroup),
		Visitor: event.Visitor{
			UserID: r.text(FieldUserID), Email: r.text(FieldEmail), AnonymousID: r.text(FieldAnonymousID),
		},
		OccurredAt: r.time(FieldTime),
		Properties: r.object(FieldProperties), Traits: r.object(FieldTraits), Consent: r.consent(),
	}
	item := Item{ID: r.text(FieldID), Kind: r.text(FieldKind)}
	if item.Kind == "" {
		item.Kind = event.KindTrack
	}
	previous := event.Visitor{UserID: r.text(FieldPreviousUser), AnonymousID: r.text(FieldPreviousID)}
	if item.Kind == event.KindAlias {
		t.Previous = &previous
	}
	if item.Kind == event.KindAlias && previous.Key() == "" && r.err == nil {
		r.err = fault.New(fault.SchemaViolation, "is missing").At(r.pointer(FieldPreviousID)).WithFix("send the id that the visitor had")
	}
	if t.Event == "" && item.Kind == event.KindTrack && r.err == nil {
		r.err = fault.New(fault.SchemaViolation, "is missing").At(r.pointer(FieldEvent)).WithFix("name the event")
	}
	item.Trigger, item.Err = t, r.failure()
	return item
}

// mapped reads one object. The first error stays.
type mapped struct {
	m   *Mapping
	o   Object
	err *fault.Error
}

func (r *mapped) failure() error {
	if r.err == nil {
		return nil
	}
	return r.err
}

func (r *mapped) pointer(field string) string { return Pointer(r.m.fields[field].path...) }

func (r *mapped) fail(field, what string) {
	if r.err == nil {
		r.err = fault.New(fault.SchemaViolation, "%s", what).At(r.pointer(field))
	}
}

// get returns the field's value; the path may go through arrays, by number.
func (r *mapped) get(field string) any {
	t := r.m.fields[field]
	if t.fixed {
		return t.constant
	}
	var at any = r.o
	for _, name := range t.path {
		switch value := at.(type) {
		case Object:
			at = value[name]
		case []any:
			i, err := strconv.Atoi(name)
			if err != nil || i < 0 || i >= len(value) {
				return nil
			}
			at = value[i]
		default:
			return nil
		}
	}
	return at
}

func (r *mapped) text(field string) string {
	switch value := r.get(field).(type) {
	case nil:
		return ""
	case string:
		return value
	case json.Number:
		return value.String()
	}
	r.fail(field, "is no text")
	return ""
}

func (r *mapped) object(field string) map[string]any {
	switch value := r.get(field).(type) {
	case nil:
		return nil
	case Object:
		return value
	}
	r.fail(field, "is no object")
	return nil
}

// time reads RFC 3339, and numbers of seconds or milliseconds.
func (r *mapped) time(field string) time.Time {
	value := r.get(field)
	text, _ := value.(string)
	if number, ok := value.(json.Number); ok {
		text = number.String()
	}
	if value == nil || value == "" {
		return time.Time{}
	}
	if at, err := time.Parse(time.RFC3339Nano, text); err == nil {
		return at.UTC()
	}
	n, err := strconv.ParseInt(text, 10, 64)
	const year5138 = 100_000_000_000 // in seconds: a larger number has milliseconds
	switch {
	case err == nil && n >= 0 && n < year5138:
		return time.Unix(n, 0).UTC()
	case err == nil && n >= 0 && n < 1000*year5138:
		return time.UnixMilli(n).UTC()
	}
	r.fail(field, "is no time such as 2026-11-24T09:30:00Z")
	return time.Time{}
}

func (r *mapped) consent() *event.Consent {
	given, ok := r.get(FieldConsent).(Object)
	if !ok {
		if r.get(FieldConsent) != nil {
			r.fail(FieldConsent, "is no object")
		}
		return nil
	}
	return &event.Consent{
		Analytics: Granted(given["analytics"]), Advertising: Granted(given["advertising"]),
		Functionality: Granted(given["functionality"]), Personalization: Granted(given["personalization"]),
		GPC: Granted(given["gpc"]),
	}
}
