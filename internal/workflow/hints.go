package workflow

import (
	"fmt"
	"reflect"
	"strings"
)

// hint returns what to write in the place of a key that people try, or "".
func hint(of reflect.Type, key string) string {
	meant := map[reflect.Type]map[string]string{
		reflect.TypeFor[Rule](): {
			"trigger": "on", "triggers": "on", "event": "on", "when": "if", "condition": "if", "where": "if", "filter": "if",
			"action": "steps", "actions": "steps", "then": "steps", "do": "steps", "limit": "limits",
		},
		reflect.TypeFor[Step](): {
			"wait": "after", "delay": "after", "sleep": "after", "run": "action", "do": "action", "use": "action", "uses": "action",
			"call": "http", "webhook": "http", "request": "http", "send": "emit", "end": "stop", "exit": "stop", "with": "params",
		},
	}[of]
	switch {
	case of == reflect.TypeFor[Step]() && key == "if":
		return "put the step into a branch: `- branch: [{if: …, steps: […]}]`"
	case of == reflect.TypeFor[Step]() && key == "wait":
		return "write `after: 5m`, or `wait_for: {event: …}` to wait for something that happens"
	case of == reflect.TypeFor[Step]() && strings.Count(key, ".") == 2:
		return fmt.Sprintf("write `- action: %s`", key)
	case meant[key] != "":
		return fmt.Sprintf("write `%s:`", meant[key])
	}
	return ""
}

// shapeHint returns how a value is written that should hold keys.
func shapeHint(of reflect.Type) string {
	example := map[reflect.Type]string{
		reflect.TypeFor[On]():      "on: {trigger: track, event: Pricing Viewed}",
		reflect.TypeFor[Step]():    "- action: chat.widget.open",
		reflect.TypeFor[WaitFor](): "wait_for: {event: widget.closed, timeout: 30m}",
		reflect.TypeFor[Emit]():    "emit: {event: Lead Inactive}",
		reflect.TypeFor[HTTP]():    `http: {url: "https://example.test/"}`,
		reflect.TypeFor[Stop]():    "stop: {reason: done}",
		reflect.TypeFor[Arm]():     "- {if: visitor.identified, steps: […]}",
		reflect.TypeFor[Match]():   "- {event: widget.opened}",
	}[of]
	if example == "" {
		return "write keys with values below it"
	}
	return fmt.Sprintf("write keys: `%s`", example)
}

// grammar returns the fix for a mistake in the syntax of an expression, or "".
func grammar(text string, column int, message string) string {
	runes := []rune(text)
	rest := strings.TrimSpace(string(runes[min(column, len(runes)):]))
	word, _, _ := strings.Cut(rest, " ")
	switch {
	case strings.HasPrefix(strings.TrimSpace(text), "${"):
		return "leave out ${ }: this is an expression already"
	case strings.HasPrefix(rest, "=") && !strings.HasPrefix(rest, "=="):
		return "to compare, write =="
	case strings.EqualFold(word, "and"), strings.EqualFold(word, "or"), strings.EqualFold(word, "not"):
		return "write && for and, || for or, ! for not"
	case strings.Contains(message, "ends too early"):
		return "something is missing at the end, or a bracket is not closed"
	}
	return ""
}

// unquoted reports whether the name stands where a text is compared.
func unquoted(text string, column int) bool {
	runes := []rune(text)
	before := strings.TrimSpace(string(runes[:min(column, len(runes))]))
	return strings.HasSuffix(before, "==") || strings.HasSuffix(before, "!=")
}
