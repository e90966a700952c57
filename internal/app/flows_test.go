package app

import (
	"slices"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parley-chat/parley/internal/actions"
	"github.com/parley-chat/parley/internal/actions/botstar"
	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/bus/bustest"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/telemetry"
	"github.com/parley-chat/parley/internal/workflow"
	"github.com/parley-chat/parley/schemas"
)

// flowsOn returns the workflows' part of a worker with these files, given as
// name and text.
func flowsOn(t *testing.T, b *bus.Bus, files ...string) *flows {
	t.Helper()
	catalog, err := actions.NewCatalog(botstar.Provider())
	if err != nil {
		t.Fatal(err)
	}
	validators, err := event.NewSchemas(schemas.FS)
	if err != nil {
		t.Fatal(err)
	}
	cfg := &Config{Sites: map[string]SiteConfig{"shop": {Provider: "botstar", AppID: "app", Domains: []string{"shop.example.test"}}}}
	compiler, err := workflow.NewCompiler(catalog, validators, cfg.AllSites())
	if err != nil {
		t.Fatal(err)
	}
	tree := fstest.MapFS{}
	for i := 0; i < len(files); i += 2 {
		tree[files[i]] = &fstest.MapFile{Data: []byte(files[i+1])}
	}
	set, err := compiler.Load(tree, "*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	f, err := openFlows(t.Context(), bustest.Log(t), cfg, Parts{Catalog: catalog, Schemas: validators, Env: Env{}, Rules: set}, b, telemetry.NewMetrics())
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// switched returns the workflows that are on, with their versions.
func switched(t *testing.T, f *flows) map[string]int {
	t.Helper()
	set, err := f.current(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	on := map[string]int{}
	for _, p := range set.Programs() {
		on[p.Name] = p.Version
	}
	return on
}

// TestFlowsAdoptFiles shows what becomes of workflow files: a new text is a new
// version and is switched on; a known one stays as people switched it; one whose
// file is gone is switched off, and one that was published otherwise is not.
func TestFlowsAdoptFiles(t *testing.T) {
	t.Parallel()
	const one, two = "on: {trigger: track}\nsteps: [{action: botstar.widget.open}]\n", "on: {trigger: page}\nsteps: [{action: botstar.widget.open}]\n"
	b := bustest.Start(t)
	f := flowsOn(t, b, "a.yaml", one, "b.yaml", one)
	check := func(f *flows, what string, want map[string]int) {
		t.Helper()
		if diff := cmp.Diff(want, switched(t, f)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}
	check(f, "at first", map[string]int{"a": 1, "b": 1})
	old := f.files.Programs()[slices.IndexFunc(f.files.Programs(), func(p *workflow.Program) bool { return p.Name == "a" })]
	check(f, "again", map[string]int{"a": 1, "b": 1})
	f = flowsOn(t, b, "a.yaml", two, "b.yaml", one)
	check(f, "after a change", map[string]int{"a": 2, "b": 1})
	if p, ok, err := f.older(t.Context(), "a", old.Digest); err != nil || !ok || p.Digest != old.Digest {
		t.Errorf("a run would not find its version: %v, %v", ok, err)
	}
	if err := f.versions.Rollback(t.Context(), "a", 1, workflow.Change{Author: "ada", At: time.Now()}); err != nil {
		t.Fatal(err)
	}
	check(flowsOn(t, b, "a.yaml", two, "b.yaml", one), "after a rollback, and a restart", map[string]int{"a": 1, "b": 1})
	other := flowsOn(t, b, "c.yaml", two)
	if _, err := other.versions.Publish(t.Context(), other.files.Programs()[0], workflow.Change{Author: "ada", At: time.Now()}); err != nil {
		t.Fatal(err)
	}
	check(flowsOn(t, b, "a.yaml", two), "with a file gone", map[string]int{"a": 1, "c": 1})
	check(flowsOn(t, b), "without files", map[string]int{"a": 1, "c": 1})
}
