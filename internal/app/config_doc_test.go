package app

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
)

// TestConfigDoc holds docs/config.md: every key is in it, from the tags of the
// configuration's types. -update writes it.
func TestConfigDoc(t *testing.T) {
	t.Parallel()
	golden(t, "../../docs/config.md", configDoc(t))
}

const configHead = `# Configuration

<!-- Generated from internal/app/config.go by: go test ./internal/app -run TestConfigDoc -update -->

One strict YAML file: ` + "`--config FILE`, `$PARLEY_CONFIG`, or `parley.yaml`" + ` where the command runs. The example in the repository holds every section.

- Unknown keys, repeated keys, values of the wrong type and values out of bounds are refused, all at once, each with its line and a fix.
- Every key outside of ` + "`sites:`, `ingest.sources:` and `crm.targets:`" + ` can be overridden by the variable beside it. A flag wins over the variable, the variable over the file. A variable that names no key is a warning.
- Secrets stand as references only: ` + "`file:/path` or `env:NAME`" + ` of a variable that holds the path. A file that others can read is refused.
- Durations carry their unit: ` + "`500ms`, `10s`, `5m`, `1h`" + `. Paths are relative to the file.
- ` + "`worker doctor`" + ` checks all of it and prints what is in effect.
`

func configDoc(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	b.WriteString(configHead)
	config := reflect.TypeFor[Config]()
	for field := range config.Fields() {
		name := field.Tag.Get("yaml")
		if name == "-" || name == "" {
			continue
		}
		of, env := field.Type, true
		if of.Kind() == reflect.Map {
			of, env = of.Elem(), false
		}
		fmt.Fprintf(&b, "\n## %s\n\n%s.\n\n", name, upper(said(t, field)))
		if env {
			b.WriteString("| key | default | variable | meaning |\n| --- | --- | --- | --- |\n")
		} else {
			b.WriteString("| key | default | meaning |\n| --- | --- | --- |\n")
		}
		docRows(t, &b, name, of, env)
	}
	return b.String()
}

// docRows writes the rows of a section, and after them a section for each map in
// it.
func docRows(t *testing.T, b *strings.Builder, section string, of reflect.Type, env bool) {
	t.Helper()
	for key := range of.Fields() {
		switch {
		case key.Type.Kind() == reflect.Struct:
			for inner := range key.Type.Fields() {
				inner.Tag = reflect.StructTag(strings.Replace(string(inner.Tag), `yaml:"`, `yaml:"`+key.Tag.Get("yaml")+".", 1))
				docRow(t, b, section, inner, env)
			}
		case key.Type.Kind() != reflect.Map || key.Type.Elem().Kind() != reflect.Struct:
			docRow(t, b, section, key, env)
		}
	}
	for key := range of.Fields() {
		if key.Type.Kind() == reflect.Map && key.Type.Elem().Kind() == reflect.Struct {
			name := section + "." + key.Tag.Get("yaml")
			fmt.Fprintf(b, "\n## %s\n\n%s.\n\n| key | default | meaning |\n| --- | --- | --- |\n", name, upper(said(t, key)))
			docRows(t, b, name, key.Type.Elem(), false)
		}
	}
}

func docRow(t *testing.T, b *strings.Builder, section string, field reflect.StructField, env bool) {
	t.Helper()
	name, standard, meaning := field.Tag.Get("yaml"), field.Tag.Get("default"), upper(said(t, field))
	if choices := field.Tag.Get("oneof"); choices == "@sources" {
		meaning += " (" + strings.Join(sourceTypes(), ", ") + ")"
	} else if choices == "@targets" {
		meaning += " (" + strings.Join(targetTypes(), ", ") + ")"
	} else if choices != "" {
		meaning += " (" + strings.ReplaceAll(choices, ",", ", ") + ")"
	}
	if low := field.Tag.Get("min"); low != "" {
		meaning += fmt.Sprintf(" (%s to %s)", low, field.Tag.Get("max"))
	}
	if standard != "" {
		standard = "`" + standard + "`"
	}
	if env {
		variable := key{path: section + "." + name}.env()
		fmt.Fprintf(b, "| `%s` | %s | `%s` | %s. |\n", name, standard, variable, meaning)
		return
	}
	fmt.Fprintf(b, "| `%s` | %s | %s. |\n", name, standard, meaning)
}

// said returns what the field's tag says of it.
func said(t *testing.T, field reflect.StructField) string {
	t.Helper()
	doc := field.Tag.Get("doc")
	if doc == "" || strings.HasSuffix(doc, ".") {
		t.Errorf("the key %s has the doc %q, want a clause without a full stop", field.Tag.Get("yaml"), doc)
	}
	return doc
}

func upper(text string) string { return strings.ToUpper(text[:1]) + text[1:] }
