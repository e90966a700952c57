package workflow

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"
)

// Difference is one thing that two versions of a workflow do differently.
type Difference struct {
	// Path is what differs, for a person: "if", "limits.once_per",
	// "step greet: params.mode", "step 2.then.1".
	Path string
	// Before and After are the values; "" is none.
	Before, After string
	// Kind is "added", "removed", "changed" or "moved".
	Kind string
}

// String returns the difference in one line.
func (d Difference) String() string {
	switch d.Kind {
	case "added":
		return fmt.Sprintf("+ %s: %s", d.Path, d.After)
	case "removed":
		return fmt.Sprintf("- %s: %s", d.Path, d.Before)
	case "moved":
		return fmt.Sprintf("~ %s moved from %s to %s", d.Path, d.Before, d.After)
	}
	return fmt.Sprintf("~ %s: %s → %s", d.Path, d.Before, d.After)
}

// Diff returns what b does differently from a, in the order of a file: what
// stands before the steps, then the steps. Comments and layout make no
// difference.
func Diff(a, b *Program) []Difference {
	var all []Difference
	head := func(r Rule) map[string]string {
		r.Steps, r.Else, r.Name = nil, nil, ""
		return flat("", reflect.ValueOf(r), map[string]string{})
	}
	all = append(all, fields("", head(a.Rule), head(b.Rule))...)
	all = append(all, steps(outline(a.Steps, "", "steps"), outline(b.Steps, "", "steps"))...)
	return append(all, steps(outline(a.Else, "else ", "else"), outline(b.Else, "else ", "else"))...)
}

// item is one step of an outline.
type item struct {
	key    string // the same in both versions
	place  string
	text   string
	fields map[string]string
}

// outline lists the steps, and those inside them, by keys that survive an
// insertion: the name, or what the step does and which of these it is.
func outline(list []Step, prefix, place string) []item {
	var all []item
	count := map[string]int{}
	for i, step := range list {
		what := does(step)
		key := prefix + "step " + step.Name
		if step.Name == "" {
			count[what]++
			key = fmt.Sprintf("%sstep %s", prefix, what)
			if count[what] > 1 {
				key += fmt.Sprintf(" (%d)", count[what])
			}
		}
		own := step
		own.Branch, own.Parallel = nil, nil
		if own.WaitFor != nil {
			wait := *own.WaitFor
			wait.Steps, wait.OnTimeout, own.WaitFor = nil, nil, &wait
		}
		at := fmt.Sprintf("%s[%d]", place, i)
		it := item{key, at, what, flat("", reflect.ValueOf(own), map[string]string{})}
		all = append(all, it)
		if w := step.WaitFor; w != nil {
			all = append(all, outline(w.Steps, key+" › ", at+".wait_for.steps")...)
			all = append(all, outline(w.OnTimeout, key+" › on_timeout › ", at+".wait_for.on_timeout")...)
		}
		for j, arm := range step.Branch {
			label := fmt.Sprintf("arm %d", j+1)
			if arm.Else != nil {
				label = "else"
			} else {
				it.fields[label+".if"] = arm.If
			}
			all = append(all, outline(arm.Steps, key+" › "+label+" › ", fmt.Sprintf("%s.branch[%d]", at, j))...)
		}
		for j, arm := range step.Parallel {
			all = append(all, outline(arm, fmt.Sprintf("%s › arm %d › ", key, j+1), fmt.Sprintf("%s.parallel[%d]", at, j))...)
		}
	}
	return all
}

// does says what a step does.
func does(step Step) string {
	switch {
	case step.Action != "":
		return step.Action
	case step.WaitFor != nil:
		return "wait_for " + strings.TrimSpace(step.WaitFor.Trigger+" "+step.WaitFor.Event)
	case step.After != "":
		return "after"
	case step.Until != "":
		return "until"
	case step.Branch != nil:
		return "branch"
	case step.Parallel != nil:
		return "parallel"
	case step.Emit != nil:
		return "emit " + step.Emit.Event
	case step.HTTP != nil:
		return "http"
	}
	return "stop"
}

// steps compares two outlines.
func steps(a, b []item) []Difference {
	var all []Difference
	before := map[string]item{}
	for _, it := range a {
		before[it.key] = it
	}
	after := map[string]bool{}
	for _, it := range b {
		after[it.key] = true
	}
	for _, it := range a {
		if !after[it.key] {
			all = append(all, Difference{it.key, it.text, "", "removed"})
		}
	}
	moved := moves(a, b)
	for _, it := range b {
		was, known := before[it.key]
		if !known {
			all = append(all, Difference{it.key, "", it.text, "added"})
			continue
		}
		if moved[it.key] {
			all = append(all, Difference{it.key, was.place, it.place, "moved"})
		}
		all = append(all, fields(it.key+": ", was.fields, it.fields)...)
	}
	return all
}

// moves returns the keys of both outlines that stand in another order: those
// outside the longest common order.
func moves(a, b []item) map[string]bool {
	keys := func(list, other []item) []string {
		var names []string
		for _, it := range list {
			if slices.ContainsFunc(other, func(o item) bool { return o.key == it.key }) {
				names = append(names, it.key)
			}
		}
		return names
	}
	moved := map[string]bool{}
	for _, edit := range script(keys(a, b), keys(b, a)) {
		if edit.op == '+' {
			moved[edit.text] = true
		}
	}
	return moved
}

// fields compares two flat values.
func fields(prefix string, a, b map[string]string) []Difference {
	var all []Difference
	names := maps.Clone(a)
	maps.Copy(names, b)
	for _, name := range slices.Sorted(maps.Keys(names)) {
		was, had := a[name]
		is, has := b[name]
		switch {
		case !had:
			all = append(all, Difference{prefix + name, "", is, "added"})
		case !has:
			all = append(all, Difference{prefix + name, was, "", "removed"})
		case was != is:
			all = append(all, Difference{prefix + name, was, is, "changed"})
		}
	}
	return all
}

// flat collects what is written, by the keys of the file.
func flat(at string, v reflect.Value, into map[string]string) map[string]string {
	switch v.Kind() { //nolint:exhaustive // every other kind is a value.
	case reflect.Pointer, reflect.Interface:
		if !v.IsNil() {
			flat(at, v.Elem(), into)
		}
		return into
	case reflect.Struct:
		for _, field := range reflect.VisibleFields(v.Type()) {
			if key := keyOf(field); key != "" {
				flat(join(at, key), v.FieldByIndex(field.Index), into)
			}
		}
		return into
	case reflect.Map:
		for _, key := range v.MapKeys() {
			flat(join(at, key.String()), v.MapIndex(key), into)
		}
		return into
	case reflect.Slice:
		for i := range v.Len() {
			place := fmt.Sprintf("%s[%d]", at, i)
			if v.Type() == reflect.TypeFor[Ons]() && v.Len() == 1 {
				place = at
			}
			flat(place, v.Index(i), into)
		}
		return into
	case reflect.String:
		if v.String() != "" {
			into[at] = v.String()
		}
		return into
	}
	if v.IsZero() && v.Kind() != reflect.Bool {
		return into
	}
	switch value := v.Interface().(type) {
	case time.Duration:
		into[at] = short(value)
	case Span:
		into[at] = short(time.Duration(value))
	default:
		into[at] = fmt.Sprint(value)
	}
	return into
}

// short returns a duration without its zeros: 24h, not 24h0m0s.
func short(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}
