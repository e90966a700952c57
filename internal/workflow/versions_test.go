package workflow

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/parley-chat/parley/internal/actions"
	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/bus/bustest"
	"github.com/parley-chat/parley/internal/fault"
)

// versions returns versions on a real bus.
func versions(t *testing.T) *Versions {
	t.Helper()
	bucket, err := bustest.Start(t).KV(t.Context(), bus.BucketFlows)
	if err != nil {
		t.Fatal(err)
	}
	return NewVersions(bucket)
}

func flow(action string) string {
	return "on: {trigger: track}\nsteps: [{action: botstar.widget." + action + "}]\n"
}

func by(note string) Change { return Change{"ada", note, arrived} }

// named compiles a workflow of the name.
func (b testBundle) named(tb testing.TB, name, text string) *Program {
	tb.Helper()
	p, err := b.compiler.Compile(name+".yaml", []byte(text))
	if err != nil {
		tb.Fatal(err)
	}
	return p
}

func TestVersions(t *testing.T) {
	t.Parallel()
	b, v := setup(t), versions(t)
	ctx := t.Context()
	first, second := b.named(t, "greet", flow("open")), b.named(t, "greet", flow("close"))
	for i, p := range []*Program{first, first, second, first} {
		want := []int{1, 1, 2, 3}[i]
		got, err := v.Publish(ctx, p, by(fmt.Sprintf("change %d", i)))
		if err != nil || got.Number != want || got.Digest != p.Digest {
			t.Fatalf("publication %d is version %d, %v; want %d", i, got.Number, err, want)
		}
	}
	stored, err := v.Get(ctx, "greet", 2)
	want := Version{Name: "greet", Number: 2, Digest: second.Digest, Source: flow("close"), Author: "ada", Note: "change 2", At: arrived}
	if diff := cmp.Diff(want, stored); diff != "" || err != nil {
		t.Errorf("version 2 differs (-want +got):\n%s%v", diff, err)
	}
	if err := v.Rollback(ctx, "greet", 2, by("worse")); err != nil {
		t.Fatal(err)
	}
	head, err := v.Head(ctx, "greet")
	if err != nil || head.Current != 2 || len(head.Moves) != 4 || head.Moves[3] != (Move{3, 2, "ada", "worse", arrived}) {
		t.Errorf("the head is %+v, %v", head, err)
	}
	all, err := v.List(ctx, "greet")
	if err != nil || len(all) != 3 || all[0].Number != 1 || all[2].Number != 3 {
		t.Errorf("the list is %+v, %v", all, err)
	}
	// A version is the same program again, with the name that it had.
	p, err := v.Program(ctx, b.compiler, "greet", 2)
	if err != nil || p.Digest != second.Digest || p.Version != 2 || p.Name != "greet" {
		t.Errorf("the program is %+v, %v", p, err)
	}
	if _, err := v.Get(ctx, "greet", 9); fault.From(err).Reason != fault.BadRule || !strings.Contains(fault.From(err).Fix, "versions greet") {
		t.Errorf("a version that is not there: %v", err)
	}
	if err := v.Rollback(ctx, "greet", 9, by("")); fault.From(err).Reason != fault.BadRule {
		t.Errorf("back to a version that is not there: %v", err)
	}
	for _, name := range []string{"", "a.b", "*", ">", "A"} {
		if _, err := v.Head(ctx, name); err == nil {
			t.Errorf("the name %q was taken", name)
		}
		if _, err := v.List(ctx, name); err == nil {
			t.Errorf("the versions of %q were listed", name)
		}
	}
}

// TestLoadVersions loads what is switched on, and says which one does not
// compile any more without losing the others.
func TestLoadVersions(t *testing.T) {
	t.Parallel()
	b, v := setup(t), versions(t)
	ctx := t.Context()
	for name, text := range map[string]string{
		"one": flow("open"), "two": flow("close"), "three": flow("open"), "docs-only": "on: {trigger: track, sites: [docs]}\nsteps: [{action: botstar.widget.open}]\n",
	} {
		if _, err := v.Publish(ctx, b.named(t, name, text), by("")); err != nil {
			t.Fatal(err)
		}
	}
	if err := v.Off(ctx, "two", by("pause")); err != nil {
		t.Fatal(err)
	}
	names := func(set *Set) []string {
		var names []string
		for _, p := range set.Programs() {
			names = append(names, fmt.Sprintf("%s@%d", p.Name, p.Version))
		}
		return names
	}
	set, err := v.Load(ctx, b.compiler)
	if diff := cmp.Diff([]string{"docs-only@1", "one@1", "three@1"}, names(set)); diff != "" || err != nil {
		t.Errorf("the set differs (-want +got):\n%s%v", diff, err)
	}
	fewer := *b.compiler
	fewer.sites = slices.DeleteFunc(slices.Clone(fewer.sites), func(site actions.Site) bool { return site.Name == "docs" })
	set, err = v.Load(ctx, &fewer)
	if diff := cmp.Diff([]string{"one@1", "three@1"}, names(set)); diff != "" || err == nil || !strings.Contains(err.Error(), `docs-only@1:1: on.sites[0]: there is no site "docs"`) {
		t.Errorf("without the site (-want +got):\n%s%v", diff, err)
	}
}

// TestPublishTogether publishes from many sides at once: every publication has
// a number and a text of its own, and the head names one of them.
func TestPublishTogether(t *testing.T) {
	t.Parallel()
	b, v := setup(t), versions(t)
	const many = 8
	numbers := make([]int, many)
	programs := make([]*Program, many)
	for i := range many {
		programs[i] = b.named(t, "busy", flow("open")+fmt.Sprintf("# %d\n", i))
	}
	var all sync.WaitGroup
	for i := range many {
		all.Go(func() {
			version, err := v.Publish(t.Context(), programs[i], by(""))
			if err != nil {
				t.Errorf("publication %d: %v", i, err)
			}
			numbers[i] = version.Number
		})
	}
	all.Wait()
	for i, n := range numbers {
		stored, err := v.Get(t.Context(), "busy", n)
		if err != nil || stored.Digest != programs[i].Digest {
			t.Errorf("publication %d got the number %d, where %s is stored: %v", i, n, stored.Source, err)
		}
	}
	slices.Sort(numbers)
	if got := slices.Compact(slices.Clone(numbers)); len(got) != many {
		t.Errorf("the numbers are %v", numbers)
	}
	head, err := v.Head(t.Context(), "busy")
	if err != nil || len(head.Moves) != many || !slices.Contains(numbers, head.Current) {
		t.Errorf("the head is %+v, %v", head, err)
	}
}
