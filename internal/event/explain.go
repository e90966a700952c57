package event

import (
	"cmp"
	"fmt"
	"maps"
	"math/big"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
	"golang.org/x/text/language"
	"golang.org/x/text/message"

	"github.com/parley-chat/parley/internal/fault"
)

// explain turns the validator's tree of errors into one sentence about the
// mistake that helps most: an unknown member first, for it is often the
// misspelled form of a missing one, then the deepest.
func explain(typ string, root *jsonschema.Schema, invalid *jsonschema.ValidationError) error {
	found := mistakes(root, invalid)
	slices.SortFunc(found, func(a, b mistake) int {
		return cmp.Or(
			cmp.Compare(a.rank, b.rank),
			cmp.Compare(len(b.path), len(a.path)),
			cmp.Compare(pointer(a.path), pointer(b.path)),
			cmp.Compare(a.text, b.text),
		)
	})
	found = slices.CompactFunc(found, func(a, b mistake) bool { return a.text == b.text && slices.Equal(a.path, b.path) })
	worst := found[0]
	if more := len(found) - 1; more > 0 {
		worst.text += fmt.Sprintf(" (and %d more)", more)
	}
	violation := fault.New(fault.SchemaViolation, "%s", worst.text).At(pointer(worst.path))
	if action, ok := ActionOfType(typ); ok {
		violation = violation.WithFix("correct %s; `publisher actions %s` prints the schema", cmp.Or(violation.Field, "the data"), action)
	}
	return violation
}

// A mistake is one leaf of the validator's tree.
type mistake struct {
	rank int // 0 for an unknown member, else 1
	path []string
	text string
}

// mistakes returns the leaves of the tree.
func mistakes(root *jsonschema.Schema, invalid *jsonschema.ValidationError) []mistake {
	switch k := invalid.ErrorKind.(type) {
	case *kind.AdditionalProperties:
		return unknownMembers(root, invalid.InstanceLocation, k.Properties)
	case *kind.Required:
		return missingMembers(invalid.InstanceLocation, k.Missing)
	case *kind.PropertyNames:
		text := "the name is not allowed: it " + describe(nil, leaf(invalid).ErrorKind)
		return []mistake{{1, append(placeOfNames(invalid), k.Property), text}}
	}
	if len(invalid.Causes) == 0 {
		return []mistake{{1, invalid.InstanceLocation, describe(schemaAt(root, invalid.InstanceLocation), invalid.ErrorKind)}}
	}
	var found []mistake
	for _, cause := range invalid.Causes {
		found = append(found, mistakes(root, cause)...)
	}
	return found
}

// placeOfNames returns the place of the object whose name is wrong. The
// validator's own answer shares memory with the places that it visits later, so
// the place is read from the schema's where that is possible.
func placeOfNames(invalid *jsonschema.ValidationError) []string {
	_, fragment, _ := strings.Cut(invalid.SchemaURL, "#/")
	steps := strings.Split(strings.TrimSuffix(fragment, "propertyNames"), "/")
	place := []string{}
	for i := 0; i+1 < len(steps); i += 2 {
		name, err := url.PathUnescape(steps[i+1])
		if steps[i] != "properties" || err != nil {
			return slices.Clone(invalid.InstanceLocation)
		}
		place = append(place, strings.NewReplacer("~1", "/", "~0", "~").Replace(name))
	}
	return place
}

// leaf returns the first leaf below the error.
func leaf(invalid *jsonschema.ValidationError) *jsonschema.ValidationError {
	for len(invalid.Causes) > 0 {
		invalid = invalid.Causes[0]
	}
	return invalid
}

func unknownMembers(root *jsonschema.Schema, at, names []string) []mistake {
	noun := "field"
	if len(at) > 0 && at[0] == "params" {
		noun = "parameter"
	}
	var known []string
	if place := schemaAt(root, at); place != nil {
		known = slices.Sorted(maps.Keys(place.Properties))
	}
	var found []mistake
	for _, name := range names {
		text := "no such " + noun
		if near := fault.Nearest(name, known); near != "" {
			text += fmt.Sprintf("; did you mean %q?", near)
		} else if len(known) > 0 {
			text += "; there are " + strings.Join(known, ", ")
		}
		found = append(found, mistake{0, append(slices.Clone(at), name), text})
	}
	return found
}

func missingMembers(at, names []string) []mistake {
	var found []mistake
	for _, name := range names {
		found = append(found, mistake{1, append(slices.Clone(at), name), "is missing"})
	}
	return found
}

// describe says what is wrong with a value. It repeats the value only where the
// schema lists or bounds it: other values may be personal.
func describe(place *jsonschema.Schema, what jsonschema.ErrorKind) string {
	switch k := what.(type) {
	case *kind.Type:
		return "is " + article(k.Got) + ", want " + article(strings.Join(k.Want, " or "))
	case *kind.Enum:
		return notOneOf(k)
	case *kind.Const:
		return "must be " + show(k.Want)
	case *kind.Format:
		return "is not a valid " + k.Want
	case *kind.Pattern:
		return "does not match the pattern " + k.Want
	case *kind.Not:
		return "is not allowed"
	case *kind.MinProperties:
		return tooFew(place, k)
	case *kind.UniqueItems:
		return fmt.Sprintf("the items %d and %d are equal", k.Duplicates[0], k.Duplicates[1])
	}
	if text := describeSize(what); text != "" {
		return text
	}
	return what.LocalizedString(message.NewPrinter(language.English))
}

// describeSize says which bound a value passes, or "".
func describeSize(what jsonschema.ErrorKind) string {
	switch k := what.(type) {
	case *kind.MinLength:
		if k.Got == 0 {
			return "is empty"
		}
		return fmt.Sprintf("has %d characters, want at least %d", k.Got, k.Want)
	case *kind.MaxLength:
		return fmt.Sprintf("has %d characters, want at most %d", k.Got, k.Want)
	case *kind.Minimum:
		return number(k.Got) + " is less than " + number(k.Want)
	case *kind.Maximum:
		return number(k.Got) + " is more than " + number(k.Want)
	case *kind.MinItems:
		return fmt.Sprintf("has %d items, want at least %d", k.Got, k.Want)
	case *kind.MaxItems:
		return fmt.Sprintf("has %d items, want at most %d", k.Got, k.Want)
	case *kind.MaxProperties:
		return fmt.Sprintf("has %d members, want at most %d", k.Got, k.Want)
	}
	return ""
}

func article(types string) string {
	switch {
	case types == "null":
		return types
	case strings.IndexByte("aio", types[0]) >= 0:
		return "an " + types
	}
	return "a " + types
}

// number prints a bound or a value as a person would.
func number(r *big.Rat) string {
	if r.IsInt() {
		return r.Num().String()
	}
	return strings.TrimRight(r.FloatString(6), "0")
}

func notOneOf(k *kind.Enum) string {
	var known []string
	for _, value := range k.Want {
		known = append(known, fmt.Sprint(value))
	}
	text := show(k.Got) + " is not one of " + strings.Join(known, ", ")
	if got, ok := k.Got.(string); ok {
		if near := fault.Nearest(got, known); near != "" {
			text += fmt.Sprintf("; did you mean %q?", near)
		}
	}
	return text
}

func tooFew(place *jsonschema.Schema, k *kind.MinProperties) string {
	if place != nil && k.Want == 1 && len(place.Properties) > 0 {
		return "is empty; give at least one of " + strings.Join(slices.Sorted(maps.Keys(place.Properties)), ", ")
	}
	return fmt.Sprintf("has %d members, want at least %d", k.Got, k.Want)
}

// show prints a value of the input, cut to what a line can hold.
func show(value any) string {
	const most = 60
	text, ok := value.(string)
	if !ok {
		text = fmt.Sprint(value)
	}
	if runes := []rune(text); len(runes) > most {
		text = string(runes[:most]) + "…"
	}
	if !ok {
		return text
	}
	return strconv.Quote(text)
}

// schemaAt returns the schema of a place in the data, or nil where that is not
// one schema.
func schemaAt(root *jsonschema.Schema, path []string) *jsonschema.Schema {
	place := root
	for _, step := range path {
		for place != nil && place.Ref != nil {
			place = place.Ref
		}
		if place == nil {
			return nil
		}
		switch next, ok := place.Properties[step]; {
		case ok:
			place = next
		case place.Items2020 != nil:
			place = place.Items2020
		default:
			place, _ = place.AdditionalProperties.(*jsonschema.Schema)
		}
	}
	for place != nil && place.Ref != nil {
		place = place.Ref
	}
	return place
}

// pointer returns the JSON pointer of the path.
func pointer(path []string) string {
	var out strings.Builder
	for _, step := range path {
		out.WriteByte('/')
		out.WriteString(strings.NewReplacer("~", "~0", "/", "~1").Replace(step))
	}
	return out.String()
}
