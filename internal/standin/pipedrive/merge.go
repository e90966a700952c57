package pipedrive

import (
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// merge is PUT /v1/persons/{id}/merge: the person goes up in another one, whose
// values come first. Addresses and numbers of both stay, and what belongs to the
// person belongs to the other one.
func (c *call) merge(text string) *problem {
	var in Record
	if p := c.read(&in); p != nil {
		return p
	}
	shelf := c.account.shelves["persons"]
	from, err := strconv.Atoi(text)
	other, whole := in["merge_with_id"].(float64)
	lost, kept := shelf.records[from], shelf.records[int(other)]
	switch {
	case err != nil || !whole || len(in) != 1:
		return wrong("Validation failed: merge_with_id: is required")
	case lost == nil || kept == nil:
		return missing("persons")
	case from == int(other):
		return wrong("Validation failed: a person cannot be merged with itself")
	}
	next := united(lost, kept)
	delete(shelf.records, from)
	c.account.moved(from, int(other))
	c.account.ledger.effects[Effect{"persons", Merged}]++
	return c.say(http.StatusOK, c.account.store("persons", next))
}

// united returns the second record with what it lacks of the first one.
func united(lost, kept Record) Record {
	next := maps.Clone(kept)
	for name, value := range lost {
		if next[name] == nil {
			next[name] = value
		}
	}
	custom := map[string]any{}
	for _, r := range []Record{lost, kept} {
		values, _ := r["custom_fields"].(map[string]any)
		for name, value := range values {
			if value != nil {
				custom[name] = value
			}
		}
	}
	next["custom_fields"] = custom
	for _, name := range []string{"emails", "phones"} {
		next[name] = pointsOfBoth(kept[name], lost[name])
	}
	return next
}

// pointsOfBoth returns both lists, each value once, and the first one's primary.
func pointsOfBoth(kept, lost any) []any {
	all, _ := kept.([]any)
	all = slices.Clone(all)
	more, _ := lost.([]any)
	for _, item := range more {
		one, _ := item.(map[string]any)
		text, _ := one["value"].(string)
		if !slices.ContainsFunc(all, func(other any) bool {
			there, _ := other.(map[string]any)
			value, _ := there["value"].(string)
			return strings.EqualFold(value, text)
		}) {
			all = append(all, map[string]any{"value": text, "primary": len(all) == 0, "label": one["label"]})
		}
	}
	return all
}

// moved lets what belongs to one person belong to another one.
func (a *Account) moved(from, to int) {
	for id, r := range a.shelves["notes"].records {
		if who, _ := r["person_id"].(float64); int(who) == from {
			next := maps.Clone(r)
			next["person_id"] = float64(to)
			a.shelves["notes"].records[id] = next
		}
	}
	for id, r := range a.shelves["activities"].records {
		if !of(r, "activities", strconv.Itoa(from)) {
			continue
		}
		next := maps.Clone(r)
		next["participants"] = []any{map[string]any{"person_id": float64(to), "primary": true}}
		a.shelves["activities"].records[id] = next
	}
}
