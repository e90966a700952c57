package botstar

import (
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/internal/ingest"
)

// The properties of the triggers. Those of the first group are there for every
// kind, as far as the webhook tells them.
const (
	PropEnvironment = "environment"     // live or test
	PropBot         = "bot_id"          // the vendor's id of the bot
	PropUser        = "botstar_user_id" // the vendor's id of the user
	PropUserName    = "user_name"

	PropCheckpoint = "checkpoint" // of event.KindCheckpoint: its name
	PropData       = "data"       // of event.KindCheckpoint: what was collected
	PropAttribute  = "attribute"  // of event.KindAttribute: its name
	PropValue      = "value"      // of event.KindAttribute: its new value
	PropTag        = "tag"        // of event.KindTag
	PropEntity     = "entity_id"  // of event.KindCMSItem
	PropItem       = "item_id"    // of event.KindCMSItem
	PropBlock      = "block_id"   // of event.KindUserCapture
	PropResponse   = "response"   // of event.KindUserCapture
)

// anonymousPrefix is in front of the vendor's user id where that is all that is
// known of a visitor.
const anonymousPrefix = "botstar:"

const (
	// maxEvents is how many events a request may have. The vendor is said to send
	// one.
	maxEvents = 100
	// maxID bounds an event's own id; a longer one is hashed.
	maxID = 256
)

// hint is what the address of a request says where its body may not.
type hint struct{ kind, environment string }

// read takes a body apart: one object, or a list of them.
func read(body []byte, says hint, now time.Time) ([]ingest.Item, error) {
	list, array, err := ingest.Split(body)
	if err != nil {
		return nil, err //nolint:wrapcheck // It says what is wrong, and where.
	}
	if len(list) > maxEvents {
		return nil, fault.New(fault.TooLarge, "the body has %d events, and %d are the most", len(list), maxEvents)
	}
	items := make([]ingest.Item, 0, len(list))
	for i, raw := range list {
		at := ""
		if array {
			at = "/" + strconv.Itoa(i)
		}
		items = append(items, readOne(raw, at, says, now))
	}
	return items, nil
}

// readOne reads the event at the JSON pointer.
func readOne(raw json.RawMessage, at string, says hint, now time.Time) ingest.Item {
	item := ingest.Item{Kind: says.kind, Raw: raw}
	object, err := ingest.ParseObject(raw)
	if err != nil {
		e := fault.From(err)
		item.Err = e.At(at + e.Field)
		return item
	}
	h := hook{object}
	if kind := kindOf(h.name()); kind != "" {
		item.Kind = kind
	}
	if item.Kind == "" {
		item.Err = h.unnamed(at)
		return item
	}
	item.ID = h.id(item.Kind, raw, now)
	item.Trigger = event.Trigger{
		Visitor: h.visitor(item.Kind), Event: item.Kind,
		Properties: h.properties(item.Kind, says.environment), Traits: h.traits(item.Kind),
		URL: ingest.Page(h.Text("url")), OccurredAt: h.time(),
	}
	if item.Trigger.Visitor.Key() == "" {
		item.Err = fault.New(fault.SchemaViolation, "the event names neither a user nor a bot").At(at + "/user").
			WithFix("send user.id")
	}
	return item
}

// hook is the body of a webhook. Nobody has published one: so every datum is
// looked for under several names.
type hook struct{ ingest.Object }

// first returns the text under the first path that has one.
func (h hook) first(paths ...[]string) string {
	for _, path := range paths {
		if text := h.Text(path...); text != "" {
			return text
		}
	}
	return ""
}

// any returns the value under the first name that has one.
func (h hook) any(names ...string) any {
	for _, name := range names {
		if value := h.Get(name); value != nil {
			return value
		}
	}
	return nil
}

func (h hook) name() string {
	return h.first([]string{"event"}, []string{"type"}, []string{"event_type"})
}

func (h hook) bot() string {
	return h.first([]string{"bot_id"}, []string{"botId"}, []string{"bot", "id"})
}

func (h hook) user() string {
	return h.first([]string{"user_id"}, []string{"userId"}, []string{"user", "id"}, []string{"user", "_id"})
}

func (h hook) unnamed(at string) error {
	name := h.name()
	wrong := fault.New(fault.SchemaViolation, "%q is no event of BotStar that Parley knows", clip(name)).At(at + "/event")
	if near := fault.Nearest(fold(name), known()); near != "" {
		return wrong.WithFix("did you mean %s?", near)
	}
	return wrong.WithFix("give each webhook the address of its event: …/%s", strings.Join(kinds(), ", …/"))
}

// id returns the name of the event: its own id; or a hash of what it is, so that
// the same again within a minute is the same.
func (h hook) id(kind string, raw json.RawMessage, now time.Time) string {
	if id := h.first([]string{"id"}, []string{"event_id"}); id != "" {
		if len(id) > maxID {
			return event.DerivedID("botstar", id)
		}
		return id
	}
	return event.DerivedID("botstar", kind, h.bot(), h.user(), string(raw), now.UTC().Truncate(time.Minute).Format(time.RFC3339))
}

// visitor returns whom the event is of. The site's own user id is best: it is an
// attribute, where the site gives it to the widget. The vendor's id comes along
// as an anonymous one, so that events that have nothing else find the same
// visitor later.
func (h hook) visitor(kind string) event.Visitor {
	v := event.Visitor{
		UserID: h.first([]string{"user", "attributes", "user_id"}, []string{"attributes", "user_id"}, []string{"user", "user_id"}),
		Email:  ingest.Email(h.first([]string{"user", "email"}, []string{"email"}, []string{"user", "attributes", "email"}, []string{"attributes", "email"})),
	}
	if kind == event.KindAttribute {
		switch name, value := h.attribute(); name {
		case "user_id":
			v.UserID = firstText(v.UserID, value)
		case "email":
			v.Email = firstText(ingest.Email(value), v.Email)
		}
	}
	if id := h.user(); id != "" {
		v.AnonymousID = anonymousPrefix + id
	} else if bot := h.bot(); bot != "" && kind == event.KindCMSItem {
		v.AnonymousID = anonymousPrefix + "bot:" + bot // It happens to nobody.
	}
	return v
}

// attribute returns name and value of the attribute that has changed.
func (h hook) attribute() (name, value string) {
	name = h.first([]string{"attribute"}, []string{"attribute_name"}, []string{"attribute", "name"})
	value = h.first([]string{"attribute_value"}, []string{"value"}, []string{"attribute", "value"})
	return name, value
}

// properties returns what the event tells, under the names of the constants.
func (h hook) properties(kind, environment string) map[string]any {
	all := map[string]any{}
	set := func(name string, value any) {
		if value != nil && value != "" {
			all[name] = value
		}
	}
	set(PropEnvironment, environmentOf(firstText(h.first([]string{"environment"}, []string{"env"}), environment)))
	set(PropBot, h.bot())
	set(PropUser, h.user())
	set(PropUserName, h.first([]string{"user_name"}, []string{"user", "name"}))
	switch kind {
	case event.KindCheckpoint:
		set(PropCheckpoint, h.first([]string{"checkpoint_name"}, []string{"checkpoint"}, []string{"checkpoint", "name"}))
		set(PropData, h.any("checkpoint_data", "data"))
	case event.KindAttribute:
		name, _ := h.attribute()
		set(PropAttribute, name)
		set(PropValue, h.value())
	case event.KindTag:
		set(PropTag, h.first([]string{"tag"}, []string{"tag_name"}, []string{"tag", "name"}))
	case event.KindCMSItem:
		set(PropEntity, h.first([]string{"entity_id"}, []string{"entity", "id"}))
		set(PropItem, h.first([]string{"item_id"}, []string{"item", "id"}))
	case event.KindUserCapture:
		set(PropBlock, h.first([]string{"block_id"}, []string{"block", "id"}))
		set(PropResponse, h.any("capture_response", "response"))
	}
	return all
}

// value returns the new value of the attribute, whatever its type.
func (h hook) value() any {
	if value := h.any("attribute_value", "value"); value != nil {
		return value
	}
	return h.Get("attribute", "value")
}

// traits returns what is known of the user.
func (h hook) traits(kind string) map[string]any {
	traits := map[string]any{}
	for name, value := range h.Object.Object("user") {
		switch name {
		case "id", "_id", "user_id", "attributes":
		default:
			traits[name] = value
		}
	}
	for _, attributes := range []ingest.Object{h.Object.Object("attributes"), h.Object.Object("user", "attributes")} {
		maps.Copy(traits, attributes)
	}
	if name, _ := h.attribute(); kind == event.KindAttribute && name != "" {
		traits[name] = h.value()
	}
	if len(traits) == 0 {
		return nil
	}
	return traits
}

// time returns when it happened, as far as that can be read: RFC 3339, or seconds
// or milliseconds.
func (h hook) time() time.Time {
	for _, name := range []string{"timestamp", "created_at", "time"} {
		text := h.Text(name)
		if at, err := time.Parse(time.RFC3339Nano, text); err == nil {
			return at.UTC()
		}
		n, err := strconv.ParseInt(text, 10, 64)
		switch {
		case err != nil || n <= 0 || n > 1<<48:
		case n > 1<<36: // As seconds, that is the year 4147.
			return time.UnixMilli(n).UTC()
		default:
			return time.Unix(n, 0).UTC()
		}
	}
	return time.Time{}
}

// environmentOf returns live or test; "" is unknown.
func environmentOf(text string) string {
	switch fold(text) {
	case "live", "production", "prod":
		return "live"
	case "test", "preview", "draft":
		return "test"
	}
	return ""
}

// kinds returns the kinds of triggers that webhooks are.
func kinds() []string {
	return []string{
		event.KindCheckpoint, event.KindSubscriber, event.KindAttribute, event.KindTakeover, event.KindTag,
		event.KindCMSItem, event.KindUserCapture,
	}
}

// names returns the names that a kind has: in receivers of others, on the labels
// of the bot builder, and with Parley.
func names(kind string) []string {
	switch kind {
	case event.KindCheckpoint:
		return []string{"new_checkpoint_record", "checkpoint", "checkpoint_record", kind}
	case event.KindSubscriber:
		return []string{"new_subscriber", "subscriber", kind}
	case event.KindAttribute:
		return []string{"updated_user_attribute", "attribute_updated", kind}
	case event.KindTakeover:
		return []string{"human_takeover", "request_human_takeover", "new_request_for_human_takeover", kind}
	case event.KindTag:
		return []string{"new_tag", "new_tag_on_user", kind}
	case event.KindCMSItem:
		return []string{"new_cms_item", kind}
	case event.KindUserCapture:
		return []string{"capture_response", kind}
	}
	return nil
}

// known returns all names.
func known() []string {
	var all []string
	for _, kind := range kinds() {
		all = append(all, names(kind)...)
	}
	return all
}

// kindOf returns the kind of trigger that the name means, or "".
func kindOf(name string) string {
	name = strings.TrimPrefix(fold(name), "botstar_event_")
	for _, kind := range kinds() {
		if slices.Contains(names(kind), name) {
			return kind
		}
	}
	return ""
}

// fold makes the spellings of a name one: lower case, with _ between words.
func fold(name string) string {
	return strings.NewReplacer(" ", "_", "-", "_", ".", "_").Replace(strings.ToLower(strings.TrimSpace(name)))
}

func firstText(texts ...string) string {
	for _, text := range texts {
		if text != "" {
			return text
		}
	}
	return ""
}

func clip(text string) string {
	const longest = 60
	if len(text) <= longest {
		return text
	}
	return strings.ToValidUTF8(text[:longest], "") + "…"
}
