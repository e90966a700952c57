package schemas_test

import (
	"encoding/json"
	"io/fs"
	"os"
	"strings"
	"testing"

	"github.com/parley-chat/parley/schemas"
)

// released is the snapshot of the last release: each schema by its path. It is
// taken by `go -C tools run ./schemagen -release`.
const released = "testdata/released.json"

// TestSchemasAreCompatible holds the promise to whoever uses the last release:
// what was valid to send is valid still, and what was there to read is there
// still. A change that breaks it needs a new version of the type, beside the
// old one.
func TestSchemasAreCompatible(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(released)
	if err != nil {
		t.Fatal(err)
	}
	var before map[string]any
	if err := json.Unmarshal(text, &before); err != nil {
		t.Fatal(err)
	}
	if len(before) < 30 {
		t.Fatalf("the snapshot has %d schemas only", len(before))
	}
	now := current(t)
	for path, old := range before {
		schema, ok := now[path]
		if !ok {
			t.Errorf("%s is gone", path)
			continue
		}
		for _, broken := range incompatible(old, schema, isInput(path)) {
			t.Errorf("%s: %s", path, broken)
		}
	}
}

// current reads the published schemas.
func current(t *testing.T) map[string]any {
	t.Helper()
	now := map[string]any{}
	err := fs.WalkDir(schemas.FS, ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(path, ".schema.json") {
			return err
		}
		text, err := fs.ReadFile(schemas.FS, path)
		if err != nil {
			return err
		}
		var schema any
		if err := json.Unmarshal(text, &schema); err != nil {
			t.Errorf("%s: %v", path, err)
		}
		now[path] = schema
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return now
}

// isInput reports whether others send the data and we read it.
func isInput(path string) bool {
	return strings.Contains(path, "/command/") || strings.Contains(path, "/trigger/")
}

// TestIncompatibleFindsEachBreach shows that the test above can fail, and what
// it lets pass.
func TestIncompatibleFindsEachBreach(t *testing.T) {
	t.Parallel()
	const base = `{"type":"object","required":["a"],"additionalProperties":false,"properties":{
		"a":{"type":"string","enum":["x","y"],"maxLength":5},
		"b":{"type":"object","properties":{"c":{"type":"integer","minimum":1}}},
		"d":{"type":"array","items":{"type":"string"}},
		"e":{"type":["string","null"]}, "n":{"type":"object","propertyNames":{"maxLength":3,"not":{"enum":["x"]}}}, "f":{"type":"string"}}}`
	tests := []struct {
		name, from, to string
		input, output  string // what is found, "" for nothing
	}{
		{"nothing", "", "", "", ""},
		{"a description", `"maxLength":5`, `"maxLength":5,"description":"x"`, "", ""},
		{"a new optional field", `"f":{"type":"string"}`, `"f":{"type":"string"},"g":{}`, "", ""},
		{"a field removed", `, "f":{"type":"string"}`, ``, "/f is gone", "/f is gone"},
		{"a field renamed below", `"c":{`, `"cc":{`, "/b/c is gone", "/b/c is gone"},
		{"a new required field", `"required":["a"]`, `"required":["a","f"]`, "/f is required now", ""},
		{"a required field made optional", `"required":["a"]`, `"required":[]`, "", "/a is not always there now"},
		{"an enum narrowed", `["x","y"]`, `["x"]`, `/a does not know "y" now`, `/a does not know "y" now`},
		{"an enum widened", `["x","y"]`, `["x","y","z"]`, "", ""},
		{"an enum added", `"f":{"type":"string"}`, `"f":{"type":"string","enum":["x"]}`, "/f has an enum now", "/f has an enum now"},
		{"an enum dropped", `"enum":["x","y"],`, ``, "", ""},
		{"another type", `{"type":"integer"`, `{"type":"string"`, "/b/c is no integer now", "/b/c is no integer now"},
		{"an input widened", `"f":{"type":"string"}`, `"f":{"type":["string","number"]}`, "", "/f may be a number now"},
		{"an output narrowed", `["string","null"]`, `"string"`, "/e is no null now", ""},
		{"a shorter text", `"maxLength":5`, `"maxLength":4`, "/a: maxLength is stricter", ""},
		{"a longer text", `"maxLength":5`, `"maxLength":6`, "", ""},
		{"a higher minimum", `"minimum":1`, `"minimum":2`, "/b/c: minimum is stricter", ""},
		{"a lower minimum", `"minimum":1`, `"minimum":0`, "", ""},
		{"a new bound", `"type":"array"`, `"type":"array","maxItems":3`, "/d: maxItems is stricter", ""},
		{"a new pattern", `"maxLength":5`, `"maxLength":5,"pattern":"^x"`, "/a: pattern is stricter", ""},
		{"an item's type", `"items":{"type":"string"}`, `"items":{"type":"number"}`, "/d/* is no string now", "/d/* is no string now"},
		{"looser names", `,"not":{"enum":["x"]}`, ``, "", ""},
		{"stricter names", `{"maxLength":3,`, `{"maxLength":2,`, "/n/*: maxLength is stricter", ""},
		{"new limits on names", `"type":"array"`, `"type":"array","propertyNames":{"maxLength":9}`, "/d: propertyNames is stricter", ""},
		{"new limits on items", `"items":{"type":"string"}`, `"items":{"type":"string","minLength":1}`, "/d/*: minLength is stricter", ""},
		{"a closed object", `"b":{"type":"object",`, `"b":{"type":"object","additionalProperties":false,`, "/b takes no further fields now", ""},
	}
	for _, test := range tests {
		changed := strings.Replace(base, test.from, test.to, 1)
		if test.from != "" && changed == base {
			t.Fatalf("%s: nothing was changed", test.name)
		}
		for _, input := range []bool{true, false} {
			want := test.output
			if input {
				want = test.input
			}
			got := strings.Join(incompatible(parse(t, base), parse(t, changed), input), "; ")
			if want == "" && got != "" || !strings.Contains(got, want) {
				t.Errorf("%s, input = %t: %q, want %q", test.name, input, got, want)
			}
		}
	}
}

func parse(t *testing.T, text string) any {
	t.Helper()
	var schema any
	if err := json.Unmarshal([]byte(text), &schema); err != nil {
		t.Fatal(err)
	}
	return schema
}
