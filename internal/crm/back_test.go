package crm

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestBackIsLinted holds the ways back that are wrong against what is said of them.
func TestBackIsLinted(t *testing.T) {
	t.Parallel()
	schema, err := newLiving(1, Limits{}).Schema(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct{ attribute, value, want string }{
		{"plan", "${contact.name}", ""},
		{"plan", `${contact["name"]} of ${site}`, ""},
		{"plan", `${contact.?age.orValue(1.0) > 3.0 ? contact.name : "young"}`, ""},
		{"plan", `${has(contact.age) && contact.age > 3.0}`, ""},
		{"plan", "${contact.nmae}", `did you mean "name"?`},
		{"plan", "pro", "reads no field"},
		{"plan", "${site}", "reads no field"},
		{"plan", "${contact}", "must name the fields"},
		{"plan", "${contact[site]}", "must name the fields"},
		{"plan", `${contact.name + contact[site]}`, "must name the fields"},
		{"plan", "${traits.name}", "undeclared reference"},
		{"plan", "${contact.name", "has no }"},
		{"plan", "${contact.notes}", "append"},
		{"user_id", "${contact.name}", "whose session"},
		{strings.Repeat("x", 200), "${contact.name}", "1 to 128"},
		{"", "${contact.name}", "1 to 128"},
	}
	for _, test := range tests {
		m := Mapping{Contact: map[string]FieldMapping{"notes": {Value: "x", Rule: Append}}, Back: map[string]string{test.attribute: test.value}}
		_, err := Compile(m, schema)
		switch {
		case test.want == "" && err != nil:
			t.Errorf("%s: %v", test.value, err)
		case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
			t.Errorf("%s: the error is %v, want %q in it", test.value, err, test.want)
		}
	}
}

// TestAttributes: what of the visitor follows from fields, in the forms that
// attributes have.
func TestAttributes(t *testing.T) {
	t.Parallel()
	schema := Schema{Contact: []FieldSchema{
		{Name: "text", Type: Text}, {Name: "a list", Type: List}, {Name: "n", Type: Number}, {Name: "day", Type: Date}, {Name: "at", Type: Time}, {Name: "flag", Type: Bool},
	}}
	p, err := Compile(Mapping{Back: map[string]string{
		"plan": "${contact.text}", "tags": "${contact['a list']}", "flat": "${contact['a list']}", "age": "${contact.n}", "next": "${contact.n + 1.0}",
		"born": "${contact.day}", "seen": "${contact.at}", "vip": "${contact.flag}", "line": "${contact.text}/${contact.n}", "other": "${size(contact['a list'])}",
	}}, schema)
	if err != nil {
		t.Fatal(err)
	}
	values := p.values([]Field{
		{Name: "text", Value: "pro"},
		{Name: "a list", Value: []any{"x", "y"}},
		{Name: "n", Value: "3"},
		{Name: "day", Value: noon()},
		{Name: "at", Value: noon().Add(time.Microsecond)},
		{Name: "flag", Value: "yes"},
		{Name: "unknown", Value: 1},
	})
	got, err := p.attributes("shop", values, []string{"text", "a list", "n", "day", "at", "flag"})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"plan": "pro", "tags": []string{"x", "y"}, "flat": "x, y", "age": 3.0, "next": 4.0, "born": "2026-11-25", "seen": "2026-11-25T12:00:00Z",
		"vip": true, "line": "pro/3", "other": 2.0,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("attributes (-want +got):\n%s", diff)
	}
	got, err = p.attributes("shop", p.values(nil), []string{"text", "n"})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]any{"plan": "", "line": "/"}, got); diff != "" {
		t.Errorf("attributes of a contact that was emptied (-want +got):\n%s", diff)
	}
}
