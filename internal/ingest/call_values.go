package ingest

import (
	"encoding/json"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/parley-chat/parley/internal/event"
)

// moment reads a time as senders write it: RFC 3339, or milliseconds. Nothing is
// the zero time.
func moment(value any) (at time.Time, ok bool) {
	switch value := value.(type) {
	case nil:
		return time.Time{}, true
	case json.Number:
		ms, err := value.Int64()
		if err != nil || ms < 0 || ms > 1<<47 {
			return time.Time{}, false
		}
		return time.UnixMilli(ms).UTC(), true
	case string:
		if value == "" {
			return time.Time{}, true
		}
		for _, layout := range [...]string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999Z0700", "2006-01-02 15:04:05.999999999Z07:00"} {
			if at, err := time.Parse(layout, value); err == nil {
				return at.UTC(), at.UTC().Year() >= 1970 && at.UTC().Year() <= 9999
			}
		}
	}
	return time.Time{}, false
}

// emailOf returns the e-mail address among the traits, or "".
func emailOf(traits map[string]any) string {
	return Email(Object(traits).LooseText("email"))
}

// Email returns the text if it looks like an e-mail address, and "" otherwise.
func Email(text string) string {
	text = strings.TrimSpace(text)
	name, host, ok := strings.Cut(text, "@")
	if !ok || name == "" || host == "" || len(text) > maxEmail || strings.ContainsAny(text, " \t\r\n\x00") {
		return ""
	}
	return text
}

// Former returns who a visitor was, from the one id that an alias tells. The
// vendors do not say of which kind it is: a UUID is what their clients call a
// visitor whom nobody knows, and anything else may be a user id as well.
func Former(id string) *event.Visitor {
	switch {
	case uuid.Validate(id) == nil:
		return &event.Visitor{AnonymousID: id}
	case Email(id) == id:
		return &event.Visitor{UserID: id, Email: id}
	}
	return &event.Visitor{UserID: id, AnonymousID: id}
}

// Page returns the address of a page as a trigger may have it: an absolute
// address of at most 2048 characters, without its query and fragment where it
// would be longer; "" for anything else.
func Page(text string) string {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" {
		return ""
	}
	if utf8.RuneCountInString(text) <= maxURL {
		return text
	}
	u.RawQuery, u.ForceQuery, u.Fragment, u.RawFragment = "", false, "", ""
	if text = u.String(); utf8.RuneCountInString(text) <= maxURL {
		return text
	}
	return ""
}

// consentOf reads what the visitor agreed to: Segment's categories, which the
// customer names, and RudderStack's lists of them.
func consentOf(context Object) *event.Consent {
	c := event.Consent{}
	set := func(name string, value *bool) {
		switch fold(name) {
		case "analytics", "performance", "statistics", "measurement":
			c.Analytics = value
		case "advertising", "marketing", "targeting", "adstorage":
			c.Advertising = value
		case "functional", "functionality", "preferences":
			c.Functionality = value
		case "personalization", "personalisation":
			c.Personalization = value
		}
	}
	categories, _ := context.Loose("consent", "categoryPreferences").(Object)
	for _, name := range slices.Sorted(maps.Keys(categories)) {
		set(name, Granted(categories[name]))
	}
	for list, value := range [...]bool{true, false} { // What is denied too is denied.
		ids, _ := context.Loose("consentManagement", [...]string{"allowedConsentIds", "deniedConsentIds"}[list]).([]any)
		for _, id := range ids {
			if name, ok := id.(string); ok {
				set(name, &value)
			}
		}
	}
	if c == (event.Consent{}) {
		return nil
	}
	return &c
}
