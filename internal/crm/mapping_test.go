package crm

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parley-chat/parley/internal/fault"
)

// sample is what mappings of the tests see.
func sample() vars {
	return vars{
		"site": "shop", "session": "s1", "visitor": map[string]any{"email": "ada@example.test"}, "chats": int64(2),
		"traits": map[string]any{"name": "Ada", "age": 36.0, "tags": []any{"a", "b"}, "vip": true},
		"record": map[string]any{"opened_at": noon(), "seconds": 90.0, "pages": []string{"/a", "/b"}, "opens": int64(3)},
	}
}

func TestTemplates(t *testing.T) {
	t.Parallel()
	tests := []struct {
		text string
		want any
		none bool
	}{
		{"plain", "plain", false},
		{"", "", false},
		{"${visitor.email}", "ada@example.test", false},
		{"${ traits.age }", 36.0, false},
		{"${traits.phone}", nil, true},
		{"${record.handoff.reason}", nil, true},
		{"${record.opened_at}", noon(), false},
		{"${visitor.email} of ${site}", "ada@example.test of shop", false},
		{"Hello ${traits.phone}!", "Hello !", false},
		{"${traits.age > 30.0 ? 'old' : 'young'}", "old", false},
		{"${traits.?phone.orValue('none')}", "none", false},
		{"${traits.?phone}", nil, true},
		{"${record.seconds / 60.0}", 1.5, false},
		{"${record.opens + 1}", int64(4), false},
		{"${traits.tags}", []any{"a", "b"}, false},
		{"${record.pages[0]}", "/a", false},
		{"${size(record.pages) > 1 && traits.vip}", true, false},
		{"${'a}b'}", "a}b", false},
		{"${traits.phone == 'x'}", nil, true},
	}
	for _, test := range tests {
		compiled, err := compileText(test.text)
		if err != nil {
			t.Errorf("%s: %v", test.text, err)
			continue
		}
		got, ok, err := compiled.eval(sample())
		if err != nil || ok == test.none {
			t.Errorf("%s is %v, %t, %v, want none: %t", test.text, got, ok, err, test.none)
			continue
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.text, diff)
		}
	}
}

// TestCompile says what is wrong with mappings, all of it at once.
func TestCompile(t *testing.T) {
	t.Parallel()
	schema := Schema{
		Contact: []FieldSchema{
			{Name: "email", Type: Text},
			{Name: "age", Type: Number},
			{Name: "id", Type: Text, ReadOnly: true},
			{Name: "stage", Type: Enum, Options: []string{"lead", "customer"}},
		},
	}
	good := Mapping{Contact: map[string]FieldMapping{"email": {Value: "${visitor.email}"}, "stage": {Value: "lead", Rule: IfEmpty}}}
	if _, err := Compile(good, schema); err != nil {
		t.Errorf("a good mapping: %v", err)
	}
	tests := []struct {
		field, value string
		rule         Rule
		want         string
	}{
		{"emial", "x", "", `did you mean "email"?`},
		{"id", "x", "", "cannot be written"},
		{"email", "${visitor.email", "", "has no }"},
		{"email", "${vistor.email}", "", "undeclared reference"},
		{"email", "x", "sometimes", `no rule "sometimes"`},
		{"age", "many", "", "takes a number"},
		{"stage", "friend", "", "one of lead, customer"},
	}
	all := Mapping{Contact: map[string]FieldMapping{}}
	for _, test := range tests {
		m := Mapping{Contact: map[string]FieldMapping{test.field: {test.value, test.rule}}}
		if _, err := Compile(m, schema); err == nil || !strings.Contains(err.Error(), test.want) || fault.From(err).Reason != fault.BadConfig {
			t.Errorf("%s: %s by %q is %v, want %q", test.field, test.value, test.rule, err, test.want)
		}
		all.Contact[test.field] = m.Contact[test.field]
	}
	if _, err := Compile(all, schema); err == nil || strings.Count(err.Error(), "contact.") != len(all.Contact) {
		t.Errorf("the error does not hold all %d problems: %v", len(all.Contact), err)
	}
	schema.Open = true
	if _, err := Compile(Mapping{Contact: map[string]FieldMapping{"anything": {Value: "${traits}"}}}, schema); err != nil {
		t.Errorf("a field of an open schema: %v", err)
	}
}

func TestCoerce(t *testing.T) {
	t.Parallel()
	tests := []struct {
		field FieldSchema
		value any
		want  any
		wrong bool
	}{
		{FieldSchema{Type: Text}, 36.0, "36", false},
		{FieldSchema{Type: Text}, []string{"a", "b"}, "a, b", false},
		{FieldSchema{Type: Text, Max: 3}, "öäüß", "öäü", false},
		{FieldSchema{Type: Text}, noon(), "2026-11-25T12:00:00Z", false},
		{FieldSchema{Type: Text}, nil, nil, false},
		{FieldSchema{Type: Number}, " 12.5 ", 12.5, false},
		{FieldSchema{Type: Number}, int64(3), 3.0, false},
		{FieldSchema{Type: Number}, true, 1.0, false},
		{FieldSchema{Type: Number}, "", nil, false},
		{FieldSchema{Type: Number}, "many", nil, true},
		{FieldSchema{Type: Bool}, "Yes", true, false},
		{FieldSchema{Type: Bool}, 0.0, false, false},
		{FieldSchema{Type: Bool}, "perhaps", nil, true},
		{FieldSchema{Type: Time}, "2026-11-25T12:00:00+00:00", noon(), false},
		{FieldSchema{Type: Date}, "2026-11-25", time.Date(2026, 11, 25, 0, 0, 0, 0, time.UTC), false},
		{FieldSchema{Type: Time}, "yesterday", nil, true},
		{FieldSchema{Type: Enum, Options: []string{"a"}}, "a", "a", false},
		{FieldSchema{Type: Enum, Options: []string{"a"}}, "b", nil, true},
		{FieldSchema{Type: List}, []any{"a", 1.0}, []string{"a", "1"}, false},
		{FieldSchema{Type: List}, "", []string{}, false},
	}
	for _, test := range tests {
		got, err := test.field.coerce(test.value)
		if (err != nil) != test.wrong {
			t.Errorf("%v as %s: %v, want an error: %t", test.value, test.field.Type, err, test.wrong)
			continue
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%v as %s (-want +got):\n%s", test.value, test.field.Type, diff)
		}
	}
}

// TestRules goes through the rules of fields against what is there.
func TestRules(t *testing.T) {
	t.Parallel()
	tests := []struct {
		rule    Rule
		is, get any
		newer   bool
		want    any
		written bool
	}{
		{Always, "old", "new", true, "new", true},
		{IfEmpty, nil, "new", false, "new", true},
		{IfEmpty, " ", "new", false, "new", true},
		{IfEmpty, "old", "new", false, nil, false},
		{NeverOverwriteNewer, "old", "new", false, "new", true},
		{NeverOverwriteNewer, "old", "new", true, nil, false},
		{NeverOverwriteNewer, nil, "new", true, "new", true},
		{Append, nil, "one", false, "one", true},
		{Append, "one", "two", false, "one\ntwo", true},
		{Append, "one\ntwo", "one", false, nil, false},
		{Append, []string{"one"}, []string{"one", "two"}, false, []string{"one", "two"}, true},
	}
	for _, test := range tests {
		want := Contact{Key: "k", At: noon(), Fields: []Field{{"f", test.get, test.rule}}}
		present := &Contact{Key: "k", UpdatedAt: noon().Add(-time.Hour), Fields: []Field{{Name: "f", Value: test.is}}}
		if test.newer {
			present.UpdatedAt = noon().Add(time.Hour)
		}
		got := apply(want, present)
		if (len(got) > 0) != test.written {
			t.Errorf("%s of %v over %v writes %v, want a write: %t", test.rule, test.get, test.is, got, test.written)
			continue
		}
		if test.written {
			if diff := cmp.Diff(Field{"f", test.want, Always}, got[0]); diff != "" {
				t.Errorf("%s of %v over %v (-want +got):\n%s", test.rule, test.get, test.is, diff)
			}
		}
		if made := apply(want, nil); len(made) != 1 {
			t.Errorf("%s for a new contact writes %v, want one field", test.rule, made)
		}
	}
}
