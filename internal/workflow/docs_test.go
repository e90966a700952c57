package workflow

import (
	"fmt"
	"maps"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/parley-chat/parley/internal/event"
)

// TestDocumentation compiles every block of the page about workflows, and the
// examples. The page teaches no warnings.
func TestDocumentation(t *testing.T) {
	t.Parallel()
	b := setup(t)
	text, err := os.ReadFile("../../docs/workflows.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?ms)^```yaml\n(.*?)^```$").FindAllSubmatchIndex(text, -1)
	if len(blocks) < 15 {
		t.Fatalf("the page has %d blocks", len(blocks))
	}
	used := map[OpKind]bool{}
	for _, at := range blocks {
		line := 1 + strings.Count(string(text[:at[2]]), "\n")
		p, err := b.compiler.Compile(fmt.Sprintf("line-%d.yaml", line), text[at[2]:at[3]])
		if err != nil {
			t.Errorf("docs/workflows.md, line %d: %v", line, err)
			continue
		}
		for _, warning := range p.Warnings {
			if warning.Path == "requires" {
				continue // The sites of the tests promise nothing.
			}
			t.Errorf("docs/workflows.md, line %d: %s", line, warning)
		}
		for _, op := range p.Ops {
			used[op.Kind] = true
		}
	}
	for _, kind := range []OpKind{OpAction, OpWait, OpDelay, OpBranch, OpParallel, OpEmit, OpHTTP, OpStop} {
		if !used[kind] {
			t.Errorf("no block shows %s", kind)
		}
	}
}

// TestDocumentedNames holds the page against what there is: keys, kinds, facts
// and fields that are not on it are unknown to people.
func TestDocumentedNames(t *testing.T) {
	t.Parallel()
	b := setup(t)
	text, err := os.ReadFile("../../docs/workflows.md")
	if err != nil {
		t.Fatal(err)
	}
	page := string(text)
	var names []string
	for _, of := range ruleTypes() {
		names = append(names, Keys(of)...)
	}
	for _, variable := range []string{"trigger", "visitor", "site", "run", "consent", "origin"} {
		names = append(names, b.compiler.language.known[variable].names()...)
	}
	names = append(names, kindsAndFacts()...)
	for _, name := range names {
		if !regexp.MustCompile(`\b` + regexp.QuoteMeta(name) + `\b`).MatchString(page) {
			t.Errorf("docs/workflows.md does not name %q", name)
		}
	}
}

// ruleTypes are the types of the YAML form.
func ruleTypes() []reflect.Type {
	return []reflect.Type{
		reflect.TypeFor[Rule](), reflect.TypeFor[On](), reflect.TypeFor[Limits](), reflect.TypeFor[QuietHours](),
		reflect.TypeFor[Concurrency](), reflect.TypeFor[Holdout](), reflect.TypeFor[Match](), reflect.TypeFor[Step](),
		reflect.TypeFor[WaitFor](), reflect.TypeFor[Arm](), reflect.TypeFor[Emit](), reflect.TypeFor[HTTP](), reflect.TypeFor[Stop](),
	}
}

func kindsAndFacts() []string {
	return slices.Concat(event.TriggerKinds(), slices.Sorted(maps.Keys(event.Facts())))
}
