package contract

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/invopop/jsonschema"
)

var update = flag.Bool("update", false, "write the published files anew")

const (
	root   = "../.."
	folder = root + "/schemas"
)

// TestSchemasAreFresh generates the contract in memory and compares it with the
// files.
func TestSchemasAreFresh(t *testing.T) {
	files := generate(t)
	if *update {
		if _, err := Write(folder, files); err != nil {
			t.Fatal(err)
		}
	}
	for _, path := range Paths(files) {
		old, err := os.ReadFile(filepath.Join(folder, filepath.FromSlash(path)))
		if err != nil || !bytes.Equal(old, files[path]) {
			t.Errorf("schemas/%s is stale (%v): run `make generate`", path, err)
		}
	}
	stale, err := Stale(folder, files)
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range stale {
		t.Errorf("schemas/%s is not generated any more: run `make generate`", path)
	}
}

func generate(t *testing.T) map[string][]byte {
	t.Helper()
	catalog, err := Catalog()
	if err != nil {
		t.Fatal(err)
	}
	files, err := Files(catalog, root)
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// TestGenerationIsStable: maps must not show in the files.
func TestGenerationIsStable(t *testing.T) {
	first, second := generate(t), generate(t)
	for path, text := range first {
		if !bytes.Equal(text, second[path]) {
			t.Errorf("%s differs from one run to the next", path)
		}
	}
}

// TestFilesKeepTheRules holds what every published schema promises.
func TestFilesKeepTheRules(t *testing.T) {
	for path, text := range generate(t) {
		if path == AsyncAPI {
			continue
		}
		var schema struct {
			Schema, ID, Title, Type string
			Description             string
			Required                []string
			Properties              map[string]struct {
				AdditionalProperties any
				MinProperties        int
				Required             []string
			}
			AdditionalProperties any
		}
		text = bytes.ReplaceAll(bytes.ReplaceAll(text, []byte(`"$id"`), []byte(`"id"`)), []byte(`"$schema"`), []byte(`"schema"`))
		if err := json.Unmarshal(text, &schema); err != nil {
			t.Fatal(err)
		}
		if schema.Schema != jsonschema.Version || !strings.HasSuffix(schema.ID, "/"+path) || schema.Title == "" || schema.Description == "" || schema.Type != "object" {
			t.Errorf("%s has the head %+v", path, schema)
		}
		if bytes.Contains(text, []byte(`"$ref"`)) {
			t.Errorf("%s does not stand alone", path)
		}
		strict := strings.HasPrefix(path, "v1/command/") || strings.HasPrefix(path, "v1/trigger/")
		if strict != (schema.AdditionalProperties == false) {
			t.Errorf("%s: additionalProperties is %v", path, schema.AdditionalProperties)
		}
		if strict && schema.Properties["visitor"].MinProperties != 1 {
			t.Errorf("%s takes a visitor without an identity", path)
		}
		params := schema.Properties["params"]
		if strings.HasPrefix(path, "v1/command/") && params.AdditionalProperties == nil {
			t.Errorf("%s: its params take anything", path)
		}
		if demands := strings.Contains(strings.Join(schema.Required, " "), "params"); demands != (len(params.Required) > 0) {
			t.Errorf("%s: params demands %v, and is itself demanded: %t", path, params.Required, demands)
		}
	}
}

func TestWriteRemovesWhatIsStale(t *testing.T) {
	folder := t.TempDir()
	if _, err := Write(folder, map[string][]byte{"v1/a/x": []byte("1"), "v1/b/y": []byte("2"), "z": []byte("3")}); err != nil {
		t.Fatal(err)
	}
	changed, err := Write(folder, map[string][]byte{"v1/a/x": []byte("1"), "z": []byte("4")})
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(changed, " "); got != "z v1/b/y" {
		t.Errorf("the second run changed %q", got)
	}
	if _, err := os.Stat(filepath.Join(folder, "v1/b/y")); !os.IsNotExist(err) {
		t.Errorf("the stale file is there: %v", err)
	}
}

func TestPlain(t *testing.T) {
	members := []string{"user_id", "tags", "timeout_ms", "headers", "body"}
	for comment, want := range map[string]string{
		"UserID is the id.":                             "user_id is the id.",
		"Tags replace. Tags are a list, see TimeoutMS.": "tags replace. Tags are a list, see timeout_ms.",
		"Headers and Body are the message.":             "headers and body are the message.",
		"It has tags and a body.":                       "It has tags and a body.",
		"":                                              "",
	} {
		if got := plain(comment, members); got != want {
			t.Errorf("plain(%q) = %q, want %q", comment, got, want)
		}
	}
}

func TestArrange(t *testing.T) {
	got, err := arrange(json.RawMessage(`{"x":1,"required":["z"],"properties":{"type":{"title":"t","$id":"i"},"a":true},"type":"object"}`), false)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"type":"object","properties":{"type":{"$id":"i","title":"t"},"a":true},"required":["z"],"x":1}`
	if string(got) != want {
		t.Errorf("arrange gave %s, want %s", got, want)
	}
	if _, err := arrange(json.RawMessage(`{"a":`), false); err == nil {
		t.Error("broken JSON was arranged")
	}
}

// TestSchemasFollowTheTypes shows what becomes of the forms of Go types.
func TestSchemasFollowTheTypes(t *testing.T) {
	type inner struct {
		Value *string `json:"value"`
	}
	type outer struct {
		inner
		List  []string         `json:"list"`
		Left  []string         `json:"left,omitempty"`
		Deep  []inner          `json:"deep,omitempty"`
		Map   map[string]inner `json:"map,omitempty"`
		Count int              `json:"count" jsonschema:"minimum=1"`
	}
	g := generator{}
	text, err := json.Marshal(g.tolerant(outer{}))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`"list":{"items":{"type":"string"},"type":["array","null"]}`,
		`"left":{"items":{"type":"string"},"type":"array"}`,
		`"value":{"type":["string","null"]}`,
		`"count":{"type":"integer","minimum":1}`,
		`"required":["value","list","count"]`,
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("the schema lacks %s:\n%s", want, text)
		}
	}
	if n := strings.Count(string(text), `"value":{"type":["string","null"]}`); n != 3 {
		t.Errorf("null is allowed %d times, want 3:\n%s", n, text)
	}
}

func TestSnapshotHasNoWords(t *testing.T) {
	text, err := Snapshot(map[string][]byte{
		"v1/x.schema.json": []byte(`{"title":"t","properties":{"title":{"description":"d","type":"string"},"properties":{"properties":{"$id":{}}}}}`),
		"other":            nil,
	})
	if err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	if err := json.Compact(&got, text); err != nil {
		t.Fatal(err)
	}
	want := `{"v1/x.schema.json":{"properties":{"properties":{"properties":{"$id":{}}},"title":{"type":"string"}}}}`
	if got.String() != want {
		t.Errorf("the snapshot is %s, want %s", &got, want)
	}
}
