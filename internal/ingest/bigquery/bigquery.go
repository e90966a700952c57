// Package bigquery reads rows of the GA4 export in BigQuery, as newline-delimited
// JSON: history for back-fills.
package bigquery

import (
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/internal/ingest"
)

// Provider is the name of the source in what it brings.
const Provider = "ga4export"

// Read reads one line: a row as BigQuery exports it, whose integers are texts.
// A row that is wrong is an item with an error, which points into the row.
func Read(line []byte) ingest.Item {
	item := ingest.Item{Kind: event.KindTrack, Raw: line, Authenticated: event.AuthenticFull}
	object, err := ingest.ParseObject(line)
	if err != nil {
		item.Err = err
		return item
	}
	r := row{object}
	name := r.Text("event_name")
	item.ID, item.Kind = r.id(name), kindOf(name)
	item.Trigger = event.Trigger{
		Visitor: event.Visitor{UserID: r.Text("user_id"), AnonymousID: r.Text("user_pseudo_id")},
		Event:   name, Consent: r.consent(),
	}
	item.Err = r.fill(&item.Trigger)
	return item
}

// row is a line of the export.
type row struct{ ingest.Object }

// fill sets what can be wrong in a row.
func (r row) fill(t *event.Trigger) error {
	var err error
	if t.Event == "" {
		return fault.New(fault.SchemaViolation, "the row has no event_name").At("/event_name").
			WithFix("export all columns of the table, as newline-delimited JSON")
	}
	if t.Visitor.Key() == "" {
		return fault.New(fault.SchemaViolation, "the row names no visitor").At("/user_pseudo_id").
			WithFix("leave rows out that have no user_pseudo_id: their visitors gave no consent")
	}
	micros, err := strconv.ParseInt(r.Text("event_timestamp"), 10, 64)
	if err != nil || micros <= 0 {
		return fault.New(fault.SchemaViolation, "the event_timestamp is no time in microseconds").At("/event_timestamp")
	}
	t.OccurredAt = time.UnixMicro(micros).UTC()
	if t.Properties, err = r.pairs("event_params"); err != nil {
		return err
	}
	if t.Traits, err = r.pairs("user_properties"); err != nil {
		return err
	}
	page, _ := t.Properties["page_location"].(string)
	t.URL = ingest.Page(page)
	if t.Properties == nil {
		t.Properties = map[string]any{}
	}
	r.context(t.Properties)
	return nil
}

// id returns the row's name, the same in every copy of the export. The batch
// columns are there in newer exports only, and tell equal events of one bundle
// apart.
func (r row) id(name string) string {
	parts := []string{Provider, r.Text("user_pseudo_id"), r.Text("event_timestamp"), name, r.Text("event_bundle_sequence_id")}
	if parts[1] == "" {
		parts[1] = "u:" + r.Text("user_id")
	}
	for _, column := range []string{"batch_page_id", "batch_ordering_id", "batch_event_index"} {
		if text := r.Text(column); text != "" {
			parts = append(parts, column+text)
		}
	}
	return event.DerivedID(parts...)
}

// context adds what the export keeps in columns of its own, under the columns'
// names. A parameter of that name wins.
func (r row) context(properties map[string]any) {
	for _, column := range []string{"device", "geo", "traffic_source", "platform", "stream_id", "items"} {
		value := r.Get(column)
		if list, ok := value.([]any); ok && len(list) == 0 || value == nil || value == "" {
			continue
		}
		if _, taken := properties[column]; !taken {
			properties[column] = value
		}
	}
}

func (r row) consent() *event.Consent {
	c := event.Consent{
		Analytics: said(r.Object, "analytics_storage"), Advertising: said(r.Object, "ads_storage"),
	}
	if c == (event.Consent{}) {
		return nil
	}
	return &c
}

// said reads Yes and No of the column privacy_info; older exports have numbers.
func said(o ingest.Object, member string) *bool {
	if text := o.Text("privacy_info", member); text != "" {
		return ingest.Granted(text)
	}
	return ingest.Granted(o.Get("privacy_info", member))
}

// pairs reads a list of keys and typed values.
func (r row) pairs(column string) (map[string]any, error) {
	list, ok := r.Get(column).([]any)
	if !ok && r.Get(column) != nil {
		return nil, fault.New(fault.SchemaViolation, "is no list").At("/" + column)
	}
	if len(list) == 0 {
		return nil, nil
	}
	all := make(map[string]any, len(list))
	for i, entry := range list {
		at := "/" + column + "/" + strconv.Itoa(i)
		pair, ok := entry.(ingest.Object)
		if !ok || pair.Text("key") == "" {
			return nil, fault.New(fault.SchemaViolation, "has no key").At(at + "/key")
		}
		value, err := typed(pair.Object("value"), at+"/value")
		if err != nil {
			return nil, err
		}
		if value != nil {
			all[pair.Text("key")] = value
		}
	}
	return all, nil
}

// typed returns the value of a pair: its columns for the other types are null, or
// not there.
func typed(value ingest.Object, at string) (any, error) {
	if text, ok := value["string_value"].(string); ok {
		return text, nil
	}
	for _, column := range []string{"int_value", "double_value", "float_value"} {
		text := value.Text(column)
		if text == "" {
			continue
		}
		number, err := ingest.Parse([]byte(text))
		if _, ok := number.(json.Number); !ok || err != nil {
			return nil, fault.New(fault.SchemaViolation, "%q is no number", clip(text)).At(at + "/" + column)
		}
		return number, nil
	}
	return nil, nil //nolint:nilnil // A pair without a value.
}

func clip(text string) string {
	const longest = 40
	if len(text) <= longest {
		return text
	}
	return strings.ToValidUTF8(text[:longest], "") + "…"
}

// kindOf returns the kind of trigger: views are views, whatever tool saw them.
func kindOf(name string) string {
	switch name {
	case "page_view":
		return event.KindPage
	case "screen_view":
		return event.KindScreen
	}
	return event.KindTrack
}
