package ga4

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/parley-chat/parley/internal/ingest"
)

// The limits of the protocol. Lengths are in characters.
const (
	maxBody         = 130_000 // bytes
	maxEvents       = 25
	maxParams       = 25
	maxProperties   = 25
	maxName         = 40
	maxPropertyName = 24
	maxProperty     = 36
	maxItemCustom   = 10
	maxID           = 256 // Parley's own, of a visitor's identity.
	maxBack         = 72 * time.Hour
	// maxAhead bounds how wrong a sender's clock may be. The protocol is silent.
	maxAhead = 15 * time.Minute

	// DefaultValue is how long a parameter's value may be; properties of Analytics
	// 360 may have more.
	DefaultValue = 100
)

// The codes of the validation server.
const (
	valueInvalid     = "VALUE_INVALID"
	valueRequired    = "VALUE_REQUIRED"
	nameInvalid      = "NAME_INVALID"
	nameReserved     = "NAME_RESERVED"
	nameDuplicated   = "NAME_DUPLICATED"
	valueOutOfBounds = "VALUE_OUT_OF_BOUNDS"
	tooMany          = "EXCEEDED_MAX_ENTITIES"
)

// Message is what the validation server says of one thing that is wrong.
type Message struct {
	FieldPath      string `json:"fieldPath"`
	Description    string `json:"description"`
	ValidationCode string `json:"validationCode"`
}

// problem is a message with its place.
type problem struct {
	Message
	// pointer is a JSON pointer into the body.
	pointer string
	// event is the number of the event that is spoiled; -1 means all of them.
	event int
}

const everyEvent = -1

// checker collects the problems of one request.
type checker struct {
	now time.Time
	// value is the limit of a parameter's value.
	value    int
	problems []problem
}

func (c *checker) report(at int, code, field, pointer, format string, args ...any) {
	c.problems = append(c.problems, problem{Message{field, fmt.Sprintf(format, args...), code}, pointer, at})
}

// request checks what all events of a request have in common. app tells that it
// came for an app, by its address.
func (c *checker) request(p payload, app bool) {
	switch {
	case app && p.Text("app_instance_id") == "":
		c.report(everyEvent, valueRequired, "app_instance_id", "/app_instance_id", "An app_instance_id is required for an app.")
	case !app && p.Text("client_id") == "":
		c.report(everyEvent, valueRequired, "client_id", "/client_id", "A client_id is required.")
	}
	for _, name := range []string{"client_id", "app_instance_id", "user_id"} {
		text := p.Text(name)
		switch {
		case text == "" && p.Get(name) != nil && p.Get(name) != "":
			c.report(everyEvent, valueInvalid, name, "/"+name, "Measurement %s is no text.", name)
		case utf8.RuneCountInString(text) > maxID:
			c.report(everyEvent, valueOutOfBounds, name, "/"+name, "Measurement %s has more than %d characters.", name, maxID)
		}
	}
	c.time(everyEvent, p.Object, "", "")
	c.consent(p.Get("consent"))
	c.properties(p.Get("user_properties"))
	if len(p.events) == 0 {
		c.report(everyEvent, valueRequired, "events", "/events", "At least one event is required.")
	}
	if len(p.events) > maxEvents {
		c.report(everyEvent, tooMany, "events", "/events", "The request has %d events, and %d are the most.", len(p.events), maxEvents)
	}
}

// time checks the member timestamp_micros of the object at the field and the
// pointer.
func (c *checker) time(at int, o ingest.Object, field, pointer string) {
	field, pointer = strings.TrimPrefix(field+".timestamp_micros", "."), pointer+"/timestamp_micros"
	when, ok := micros(o)
	switch {
	case !ok:
		c.report(at, valueInvalid, field, pointer, "Measurement timestamp_micros has the value [%s], which is no time in microseconds.",
			clip(fmt.Sprint(o["timestamp_micros"])))
	case when.IsZero():
	case c.now.Sub(when) > maxBack:
		c.report(at, valueInvalid, field, pointer, "Measurement timestamp_micros has timestamp [%d] that is more than 72 hours in the past.", when.UnixMicro())
	case when.Sub(c.now) > maxAhead:
		c.report(at, valueInvalid, field, pointer, "Measurement timestamp_micros has timestamp [%d] that is in the future.", when.UnixMicro())
	}
}

func (c *checker) consent(value any) {
	if value == nil {
		return
	}
	said, ok := value.(ingest.Object)
	if !ok {
		c.report(everyEvent, valueInvalid, "consent", "/consent", "The consent is not an object.")
		return
	}
	for _, name := range slices.Sorted(maps.Keys(said)) {
		if name != "ad_user_data" && name != "ad_personalization" || granted(said[name]) == nil {
			c.report(everyEvent, valueInvalid, "consent."+clip(name), "/consent"+ingest.Pointer(name),
				"The consent [%s] has the value [%s]. ad_user_data and ad_personalization may be GRANTED or DENIED.",
				clip(name), clip(fmt.Sprint(said[name])))
		}
	}
}

func (c *checker) properties(value any) {
	if value == nil {
		return
	}
	all, ok := value.(ingest.Object)
	if !ok {
		c.report(everyEvent, valueInvalid, "user_properties", "/user_properties", "The user properties are not an object.")
		return
	}
	if len(all) > maxProperties {
		c.report(everyEvent, tooMany, "user_properties", "/user_properties",
			"The request has %d user properties, and %d are the most.", len(all), maxProperties)
		return
	}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		field, pointer := "user_properties."+clip(name), "/user_properties"+ingest.Pointer(name)
		c.name(everyEvent, "User property", name, maxPropertyName, field, pointer)
		one, ok := all[name].(ingest.Object)
		if !ok {
			c.report(everyEvent, valueInvalid, field, pointer, "User property [%s] is not an object with a value.", clip(name))
			continue
		}
		c.time(everyEvent, one, field, pointer)
		c.property(name, one["value"], field+".value", pointer+"/value")
	}
}

func (c *checker) property(name string, value any, field, pointer string) {
	switch value := value.(type) {
	case string:
		if n := utf8.RuneCountInString(value); n > maxProperty {
			c.report(everyEvent, valueOutOfBounds, field, pointer,
				"User property [%s] has a value of %d characters, and %d are the most.", clip(name), n, maxProperty)
		}
	case json.Number, bool:
	case nil:
		c.report(everyEvent, valueRequired, field, pointer, "User property [%s] has no value.", clip(name))
	default:
		c.report(everyEvent, valueInvalid, field, pointer, "User property [%s] has a value that is no text and no number.", clip(name))
	}
}

// call checks one event.
func (c *checker) call(i int, e ingest.Object) {
	at := "/events/" + strconv.Itoa(i)
	name, isText := e["name"].(string)
	if e["name"] == nil || isText && name == "" {
		c.report(i, valueRequired, "events", at+"/name", "Event at index: [%d] has no name.", i)
	} else {
		c.name(i, fmt.Sprintf("Event at index: [%d]", i), name, maxName, "events", at+"/name")
	}
	c.time(i, e, "events", at)
	params, ok := e["params"].(ingest.Object)
	if !ok && e["params"] != nil {
		c.report(i, valueInvalid, "events.params", at+"/params", "Event at index: [%d] has parameters that are not an object.", i)
	}
	if len(params) > maxParams {
		c.report(i, tooMany, "events.params", at+"/params",
			"Event at index: [%d] has %d parameters, and %d are the most.", i, len(params), maxParams)
		return
	}
	for _, name := range slices.Sorted(maps.Keys(params)) {
		pointer := at + "/params" + ingest.Pointer(name)
		c.name(i, fmt.Sprintf("Event at index: [%d]: parameter", i), name, maxName, "events.params", pointer)
		c.param(i, name, params[name], pointer)
	}
}

func (c *checker) param(i int, name string, value any, pointer string) {
	switch value := value.(type) {
	case string:
		c.text(i, name, value, pointer)
	case json.Number, bool, nil:
	case []any:
		if name != "items" {
			c.report(i, valueInvalid, "events.params."+clip(name), pointer, "Event at index: [%d]: parameter [%s] is a list. Only items may be one.", i, clip(name))
			return
		}
		for n, item := range value {
			c.item(i, n, item, pointer+"/"+strconv.Itoa(n))
		}
	default:
		c.report(i, valueInvalid, "events.params."+clip(name), pointer, "Event at index: [%d]: parameter [%s] is no text and no number.", i, clip(name))
	}
}

func (c *checker) text(i int, name, value, pointer string) {
	if n, most := utf8.RuneCountInString(value), c.longest(name); n > most {
		c.report(i, valueOutOfBounds, "events.params."+clip(name), pointer,
			"Event at index: [%d]: parameter [%s] has a value of %d characters, and %d are the most.", i, clip(name), n, most)
	}
}

// longest returns how many characters the parameter's value may have.
func (c *checker) longest(name string) int {
	return max(c.value, map[string]int{"page_title": 300, "page_referrer": 420, "page_location": 1000}[name])
}

func (c *checker) item(i, n int, item any, pointer string) {
	members, ok := item.(ingest.Object)
	if !ok {
		c.report(i, valueInvalid, "events.params.items", pointer, "Event at index: [%d]: item [%d] is not an object.", i, n)
		return
	}
	custom := 0
	for _, name := range slices.Sorted(maps.Keys(members)) {
		if !slices.Contains(itemParams(), name) {
			custom++
		}
		if text, ok := members[name].(string); ok {
			c.text(i, name, text, pointer+ingest.Pointer(name))
		}
	}
	if custom > maxItemCustom {
		c.report(i, tooMany, "events.params.items", pointer,
			"Event at index: [%d]: item [%d] has %d custom parameters, and %d are the most.", i, n, custom, maxItemCustom)
	}
}

// itemParams are the members of an item that are not custom.
func itemParams() []string {
	return []string{
		"affiliation", "coupon", "creative_name", "creative_slot", "currency", "discount", "index", "item_brand",
		"item_category", "item_category2", "item_category3", "item_category4", "item_category5", "item_id",
		"item_list_id", "item_list_name", "item_name", "item_variant", "location_id", "price", "promotion_id",
		"promotion_name", "quantity",
	}
}

// name checks the form of a name: letters, digits and _, a letter first, and no
// prefix that is the vendor's own.
func (c *checker) name(i int, what, name string, longest int, field, pointer string) {
	shown := clip(name)
	for _, prefix := range []string{"firebase_", "ga_", "google_", "gtag."} {
		if strings.HasPrefix(name, prefix) {
			c.report(i, nameReserved, field, pointer, "%s has the name [%s], and the prefix %s is reserved.", what, shown, prefix)
			return
		}
	}
	switch {
	case name == "" || !isLetter(rune(name[0])):
		c.report(i, nameInvalid, field, pointer, "%s has invalid name [%s]. Names must start with an alphabetic character.", what, shown)
	case strings.ContainsFunc(name, func(r rune) bool { return !isLetter(r) && r != '_' && (r < '0' || r > '9') }):
		c.report(i, nameInvalid, field, pointer, "%s has invalid name [%s]. Names must only contain alphanumeric characters and underscores.", what, shown)
	case len(name) > longest:
		c.report(i, nameInvalid, field, pointer, "%s has invalid name [%s]. Names must have at most %d characters.", what, shown, longest)
	}
}

func isLetter(r rune) bool { return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' }

// clip bounds what a message repeats of the input.
func clip(text string) string {
	const longest = 60
	if len(text) <= longest {
		return text
	}
	return strings.ToValidUTF8(text[:longest], "") + "…"
}
