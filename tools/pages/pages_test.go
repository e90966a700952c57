package pages

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/tools/contract"
)

var update = flag.Bool("update", false, "write the pages anew")

const root = "../.."

func generate(t *testing.T) map[string][]byte {
	t.Helper()
	catalog, err := contract.Catalog()
	if err != nil {
		t.Fatal(err)
	}
	files, err := Files(catalog, root)
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// TestDocsAreFresh generates the pages in memory and compares them with the
// files.
func TestDocsAreFresh(t *testing.T) {
	for name, text := range generate(t) {
		path := filepath.Join(root, "docs", name)
		if *update {
			if err := os.WriteFile(path, text, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if old, err := os.ReadFile(path); err != nil || !bytes.Equal(old, text) {
			t.Errorf("docs/%s is stale (%v): run `make generate`", name, err)
		}
	}
}

var link = regexp.MustCompile(`\]\(([^)#]*)(?:#([^)]*))?\)`)

// TestPagesAreWhole: every action and every reason has its section, and every
// link of a page leads somewhere.
func TestPagesAreWhole(t *testing.T) {
	files := generate(t)
	catalog, err := contract.Catalog()
	if err != nil {
		t.Fatal(err)
	}
	for _, spec := range catalog.Actions() {
		if !bytes.Contains(files["actions.md"], []byte("\n## "+spec.Name+"\n")) {
			t.Errorf("docs/actions.md lacks %s", spec.Name)
		}
	}
	for _, entry := range fault.Reasons() {
		if !bytes.Contains(files["errors.md"], []byte("\n### "+string(entry.Reason)+"\n")) {
			t.Errorf("docs/errors.md lacks %s", entry.Reason)
		}
	}
	links := 0
	for name, text := range files {
		for _, found := range link.FindAllStringSubmatch(string(text), -1) {
			links++
			if why := follow(files, name, found[1], found[2]); why != "" {
				t.Errorf("docs/%s: the link %s %s", name, found[0], why)
			}
		}
	}
	if links < 100 {
		t.Errorf("the pages have %d links only", links)
	}
}

// follow says why the link leads nowhere, or "".
func follow(files map[string][]byte, from, path, fragment string) string {
	if path == "" {
		path = from
	}
	target, generated := files[path]
	if !generated {
		if _, err := os.Stat(filepath.Join(root, "docs", path)); err != nil {
			return "names no file"
		}
		return ""
	}
	for line := range strings.Lines(string(target)) {
		if heading := strings.TrimLeft(line, "#"); heading != line && anchor(strings.TrimSpace(heading)) == fragment {
			return ""
		}
	}
	return "names no heading"
}

func TestFieldsShowTheSchema(t *testing.T) {
	got, err := fieldsOf([]byte(`{"properties":{"params":{"required":["b"],"properties":{
		"b":{"type":"integer","minimum":1,"maximum":9,"description":"B."},
		"a":{"type":["string","null"],"maxLength":5},
		"c":{"type":"array","items":{"type":"object","properties":{"d":{"enum":["x",""]}}}},
		"e":true},"additionalProperties":{"type":"boolean"}}}}`), "params")
	if err != nil {
		t.Fatal(err)
	}
	var rows []string
	for _, f := range got {
		row := f.Name + ": " + f.Type
		if f.Required {
			row += "!"
		}
		rows = append(rows, row)
	}
	want := "b: integer, 1 to 9!; a: string or null, up to 5 characters; c: array of object; c[].d: `x`, empty; e: any; *: boolean"
	if text := strings.Join(rows, "; "); text != want {
		t.Errorf("the rows are %s, want %s", text, want)
	}
	if _, err := fieldsOf([]byte(`{}`), "params"); err == nil {
		t.Error("a schema without params has fields")
	}
}
