package workflow

import (
	"encoding/json"
	"flag"
	"os"
	"testing"
	"testing/fstest"
	"time"

	"go.uber.org/goleak"

	"github.com/parley-chat/parley/internal/actions"
	"github.com/parley-chat/parley/internal/actions/botstar"
	"github.com/parley-chat/parley/internal/bus/bustest"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/schemas"
)

var update = flag.Bool("update", false, "write the golden files anew")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, bustest.Leaks()...) }

// testBundle is what the tests of this package share.
type testBundle struct {
	compiler *Compiler
	schemas  *event.Schemas
	site     actions.Site
}

func setup(tb testing.TB) testBundle {
	tb.Helper()
	catalog, err := actions.NewCatalog(botstar.Provider())
	if err != nil {
		tb.Fatal(err)
	}
	validators, err := event.NewSchemas(schemas.FS)
	if err != nil {
		tb.Fatal(err)
	}
	shop := actions.Site{Name: "shop", Provider: "botstar", Mode: "livechat", URL: "https://shop.example.test/"}
	docs := actions.Site{Name: "docs", Provider: "botstar", Mode: "popup", URL: "https://docs.example.test/"}
	compiler, err := NewCompiler(catalog, validators, []actions.Site{docs, shop})
	if err != nil {
		tb.Fatal(err)
	}
	return testBundle{compiler, validators, shop}
}

// rules compiles rule files, given as name and text.
func (b testBundle) rules(tb testing.TB, files ...string) *Set {
	tb.Helper()
	set, err := b.load(files...)
	if err != nil {
		tb.Fatal(err)
	}
	return set
}

func (b testBundle) load(files ...string) (*Set, error) {
	tree := fstest.MapFS{}
	for i := 0; i < len(files); i += 2 {
		tree[files[i]] = &fstest.MapFile{Data: []byte(files[i+1])}
	}
	return b.compiler.Load(tree, "*.yaml")
}

// track returns a trigger.
func track(tb testing.TB, id string, data event.Trigger) event.Envelope {
	tb.Helper()
	if data.Site == "" {
		data.Site = "shop"
	}
	if data.Visitor.Key() == "" {
		data.Visitor = event.Visitor{UserID: "u-42", Email: "ada@example.test"}
	}
	data.OccurredAt = time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	raw, err := json.Marshal(data)
	if err != nil {
		tb.Fatal(err)
	}
	return event.Envelope{ID: id, Source: "/ingest/cli", Type: event.TriggerType("track"), Time: data.OccurredAt, Data: raw}
}

// golden compares the text with the file, or writes the file with -update.
func golden(tb testing.TB, file, got string) {
	tb.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
			tb.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		tb.Fatal(err)
	}
	if got != string(want) {
		tb.Errorf("%s: got\n%s\nwant\n%s", file, got, want)
	}
}
