package botstar

import (
	"maps"
	"slices"
	"time"
)

// This file holds what nobody outside BotStar knows about its servers, and what
// the stand-in does instead. The page's share is in js/unknown.js. Sections are
// those of the BotStar contract.

// The paths of the frame's boot request and of its reports (§1.9: modelled on
// the successor's query; the real live transport is unknown).
const (
	queryPath = "/api/query"
	eventPath = "/api/event"
)

// missingConfig answers a boot request for an app that is not published (§1.9:
// the successor's frame takes every answer but 200 for it).
const missingConfig = "missing_config"

// The limit of update calls (§1.3) is documented; what happens beyond it is
// not. Here a call beyond the limit is ignored and counted, and a visitor's
// calls are counted over all frames and pages.
const (
	updateLimit  = 20
	updateWindow = 30 * time.Minute
)

// learn takes attributes as an update or a boot gives them (§1.2, §1.3): tags
// replace the old tags, and come as an array or, after the entry's merge, as
// an object with indexes; every other key merges. A null changes nothing, which
// is documented for boot and assumed for update. A user_id is the identity and
// no attribute.
func (p *Profile) learn(attributes, variables map[string]any) {
	known := maps.Clone(p.Attributes)
	for key, value := range attributes {
		switch {
		case value == nil || key == "user_id":
		case key == "tags":
			p.Tags = tagsOf(value)
		default:
			known = set(known, key, value)
		}
	}
	p.Attributes = known
	held := maps.Clone(p.Variables)
	for key, value := range variables {
		if value != nil {
			held = set(held, key, value)
		}
	}
	p.Variables = held
}

func set(m map[string]any, key string, value any) map[string]any {
	if m == nil {
		m = map[string]any{}
	}
	m[key] = value
	return m
}

// tagsOf reads both forms of tags. Anything that is no string is left out.
func tagsOf(value any) []string {
	var values []any
	switch v := value.(type) {
	case []any:
		values = v
	case map[string]any:
		for _, index := range slices.SortedFunc(maps.Keys(v), compareIndexes) {
			values = append(values, v[index])
		}
	}
	tags := []string{}
	for _, v := range values {
		if tag, ok := v.(string); ok {
			tags = append(tags, tag)
		}
	}
	return tags
}

// compareIndexes orders "2" before "10".
func compareIndexes(a, b string) int {
	if len(a) != len(b) {
		return len(a) - len(b)
	}
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// switchTo says who the visitor is after an update that names a user_id (§1.8:
// the rule of §1.2 is assumed to hold for update too): the known user of that
// id, or a new one. What was said before stays with the record it was said to,
// and is lost to the new one.
func (v *vendor) switchTo(app, userID string) *visitor {
	return v.visitorOf(app, userID, "")
}
