package schemas_test

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
)

// incompatible says how the new schema breaks the promise of the old one. Of an
// input, whatever was accepted must be accepted still; of what we publish,
// whatever was there must be there still.
func incompatible(before, now any, input bool) []string {
	c := comparison{input: input}
	c.compare("", object(before), object(now))
	return c.broken
}

type comparison struct {
	input  bool
	broken []string
}

func (c *comparison) say(format string, args ...any) {
	c.broken = append(c.broken, fmt.Sprintf(format, args...))
}

func (c *comparison) compare(at string, before, now map[string]any) {
	c.types(at, before, now)
	c.enum(at, before, now)
	if c.input {
		c.bounds(at, before, now)
	}
	c.members(at, before, now)
	for _, keyword := range []string{"items", "additionalProperties", "propertyNames"} {
		old, oldOK := before[keyword].(map[string]any)
		next, nextOK := now[keyword].(map[string]any)
		switch {
		case oldOK && nextOK:
			c.compare(at+"/*", old, next)
		case nextOK && c.input:
			c.say("%s: %s is stricter", at, keyword)
		}
	}
	if open := now["additionalProperties"]; c.input && open == false && before["additionalProperties"] != false {
		c.say("%s takes no further fields now", at)
	}
}

func (c *comparison) members(at string, before, now map[string]any) {
	old, next := object(before["properties"]), object(now["properties"])
	for _, name := range slices.Sorted(maps.Keys(old)) {
		if _, ok := next[name]; !ok {
			c.say("%s/%s is gone", at, name)
			continue
		}
		c.compare(at+"/"+name, object(old[name]), object(next[name]))
	}
	was, is := list(before["required"]), list(now["required"])
	for _, name := range is {
		if c.input && !slices.Contains(was, name) {
			c.say("%s/%s is required now", at, name)
		}
	}
	for _, name := range was {
		if !c.input && !slices.Contains(is, name) {
			c.say("%s/%s is not always there now", at, name)
		}
	}
}

// types compares the types: an input may gain some, what we publish may lose
// some, and no other change is harmless.
func (c *comparison) types(at string, before, now map[string]any) {
	was, is := typesOf(before), typesOf(now)
	if was == nil || is == nil {
		if is != nil && c.input || was != nil && !c.input {
			c.say("%s has other types now", at)
		}
		return
	}
	lost := slices.DeleteFunc(slices.Clone(was), func(t string) bool { return slices.Contains(is, t) })
	gained := slices.DeleteFunc(slices.Clone(is), func(t string) bool { return slices.Contains(was, t) })
	for _, name := range lost {
		if c.input || len(lost) == len(was) {
			c.say("%s is no %s now", at, name)
		}
	}
	for _, name := range gained {
		if !c.input {
			c.say("%s may be a %s now", at, name)
		}
	}
}

func typesOf(schema map[string]any) []string {
	if one, ok := schema["type"].(string); ok {
		return []string{one}
	}
	return list(schema["type"])
}

func (c *comparison) enum(at string, before, now map[string]any) {
	was, had := before["enum"].([]any)
	is, has := now["enum"].([]any)
	if !had && has {
		c.say("%s has an enum now", at)
	}
	if !has {
		return
	}
	for _, value := range was {
		if !slices.Contains(is, value) {
			c.say("%s does not know %q now", at, value)
		}
	}
}

// bounds compares the keywords that limit a value.
func (c *comparison) bounds(at string, before, now map[string]any) {
	for _, keyword := range []string{"minLength", "minItems", "minProperties", "minimum", "exclusiveMinimum"} {
		c.bound(at, keyword, before, now, 1)
	}
	for _, keyword := range []string{"maxLength", "maxItems", "maxProperties", "maximum", "exclusiveMaximum"} {
		c.bound(at, keyword, before, now, -1)
	}
	for _, keyword := range []string{"pattern", "format", "const", "not", "multipleOf", "uniqueItems"} {
		if now[keyword] != nil && !reflect.DeepEqual(before[keyword], now[keyword]) {
			c.say("%s: %s is stricter", at, keyword)
		}
	}
}

// bound compares one limit. sign is 1 where more is stricter, else -1.
func (c *comparison) bound(at, keyword string, before, now map[string]any, sign float64) {
	is, has := now[keyword].(float64)
	was, had := before[keyword].(float64)
	if has && (!had || sign*is > sign*was) {
		c.say("%s: %s is stricter", at, keyword)
	}
}

// object returns the schema's members; the schema true has none.
func object(schema any) map[string]any {
	members, _ := schema.(map[string]any)
	return members
}

func list(value any) []string {
	items, _ := value.([]any)
	var names []string
	for _, item := range items {
		if name, ok := item.(string); ok {
			names = append(names, name)
		}
	}
	return names
}
