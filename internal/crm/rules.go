package crm

import (
	"slices"
	"strings"
	"time"
)

// ruled reports whether some field depends on the present value.
func ruled(list []Field) bool {
	return slices.ContainsFunc(list, func(f Field) bool { return f.Rule != Always && f.Rule != "" })
}

// apply returns the fields that are to be written, given the contact as it is;
// nil when there is none yet. All that is left is Always.
func apply(want Contact, present *Contact) []Field {
	var out []Field
	for _, f := range want.Fields {
		var now any
		if present != nil {
			if i := slices.IndexFunc(present.Fields, func(p Field) bool { return p.Name == f.Name }); i >= 0 {
				now = present.Fields[i].Value
			}
		}
		switch f.Rule {
		case IfEmpty:
			if !empty(now) {
				continue
			}
		case NeverOverwriteNewer:
			if present != nil && !empty(now) && present.UpdatedAt.After(want.At) {
				continue
			}
		case Append:
			joined, more := appended(now, f.Value)
			if !more {
				continue
			}
			f.Value = joined
		case Always:
		}
		f.Rule = Always
		out = append(out, f)
	}
	return out
}

// empty reports whether the value is none.
func empty(value any) bool {
	switch value := value.(type) {
	case nil:
		return true
	case string:
		return strings.TrimSpace(value) == ""
	case []string:
		return len(value) == 0
	case time.Time:
		return value.IsZero()
	}
	return false
}

// appended returns the list in text with the items added that are missing, and
// whether there were any.
func appended(now, more any) (any, bool) {
	if list, ok := now.([]string); ok {
		n := len(list)
		for _, item := range listOf(more) {
			if !slices.Contains(list, item) {
				list = append(slices.Clip(list), item)
			}
		}
		return list, len(list) > n
	}
	var lines []string
	if text := textOf(now); text != "" {
		lines = strings.Split(text, "\n")
	}
	n := len(lines)
	for item := range strings.SplitSeq(textOf(more), "\n") {
		if item != "" && !slices.Contains(lines, item) {
			lines = append(lines, item)
		}
	}
	return strings.Join(lines, "\n"), len(lines) > n
}
