package crm

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/parley-chat/parley/internal/fault"
)

// coerce turns the value into one of the field's type, or says why not. nil
// clears any field. A text that is too long is cut.
func (f *FieldSchema) coerce(value any) (any, error) {
	if value == nil {
		return nil, nil //nolint:nilnil // It clears the field.
	}
	switch f.Type {
	case Number:
		return f.number(value)
	case Bool:
		return f.boolean(value)
	case Time, Date:
		return f.time(value)
	case Enum:
		text := textOf(value)
		if text != "" && len(f.Options) > 0 && !slices.Contains(f.Options, text) {
			return nil, f.wrong(value, "one of "+strings.Join(f.Options, ", "))
		}
		return text, nil
	case List:
		return listOf(value), nil
	case Text:
	}
	text := textOf(value)
	if f.Max > 0 && utf8.RuneCountInString(text) > f.Max {
		text = string([]rune(text)[:f.Max])
	}
	return text, nil
}

func (f *FieldSchema) wrong(value any, wanted string) error {
	return fault.New(fault.SchemaViolation, "the field %s takes %s, and got %s", f.Name, wanted, kindOf(value)).
		WithFix("correct the mapping of the field, and replay")
}

// kindOf names the type of a value without showing it: it may be personal.
func kindOf(value any) string {
	switch value := value.(type) {
	case string:
		return fmt.Sprintf("a text of %d characters", utf8.RuneCountInString(value))
	case bool:
		return "a boolean"
	case time.Time:
		return "a time"
	case []any, []string:
		return "a list"
	case map[string]any:
		return "a map"
	}
	return "a number"
}

func (f *FieldSchema) number(value any) (any, error) {
	switch value := value.(type) {
	case float64:
		return value, nil
	case int:
		return float64(value), nil
	case int64:
		return float64(value), nil
	case uint64:
		return float64(value), nil
	case bool:
		if value {
			return 1.0, nil
		}
		return 0.0, nil
	case string:
		if value == "" {
			return nil, nil //nolint:nilnil // It clears the field.
		}
		if n, err := strconv.ParseFloat(strings.TrimSpace(value), 64); err == nil {
			return n, nil
		}
	}
	return nil, f.wrong(value, "a number")
}

func (f *FieldSchema) boolean(value any) (any, error) {
	switch value := value.(type) {
	case bool:
		return value, nil
	case string:
		switch strings.ToLower(value) {
		case "":
			return nil, nil //nolint:nilnil // It clears the field.
		case "true", "yes", "1":
			return true, nil
		case "false", "no", "0":
			return false, nil
		}
	case float64:
		return value != 0, nil
	case int64:
		return value != 0, nil
	}
	return nil, f.wrong(value, "true or false")
}

func (f *FieldSchema) time(value any) (any, error) {
	switch value := value.(type) {
	case time.Time:
		return f.grain(value.UTC()), nil
	case string:
		if value == "" {
			return nil, nil //nolint:nilnil // It clears the field.
		}
		for _, layout := range []string{time.RFC3339Nano, time.DateOnly, time.DateTime} {
			if t, err := time.Parse(layout, value); err == nil {
				return f.grain(t.UTC()), nil
			}
		}
	}
	return nil, f.wrong(value, "a time")
}

// grain cuts the time to what the CRM keeps of it, so that it is the same when it
// is read back.
func (f *FieldSchema) grain(at time.Time) time.Time {
	switch {
	case f.Type == Date:
		return at.Truncate(24 * time.Hour)
	case f.Seconds:
		return at.Truncate(time.Second)
	}
	return at.Truncate(time.Millisecond)
}

// textOf writes the value for a person.
func textOf(value any) string {
	switch value := value.(type) {
	case nil:
		return ""
	case string:
		return value
	case float64:
		return strconv.FormatFloat(value, 'f', -1, 64)
	case time.Time:
		return value.UTC().Format(time.RFC3339)
	case []string:
		return strings.Join(value, ", ")
	case []any:
		return strings.Join(listOf(value), ", ")
	}
	return fmt.Sprint(value)
}

func listOf(value any) []string {
	switch value := value.(type) {
	case []string:
		return value
	case []any:
		all := make([]string, len(value))
		for i, item := range value {
			all[i] = textOf(item)
		}
		return all
	}
	if text := textOf(value); text != "" {
		return []string{text}
	}
	return []string{}
}
