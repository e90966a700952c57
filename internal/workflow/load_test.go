package workflow

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/parley-chat/parley/internal/fault"
)

// TestBadRules reads testdata/*.bad.yml: one file per message. The message is
// in the file of the same name that ends in .txt.
func TestBadRules(t *testing.T) {
	t.Parallel()
	b := setup(t)
	files, err := filepath.Glob("testdata/*.bad.yml")
	if err != nil || len(files) < 15 {
		t.Fatalf("found %d bad rules, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			_, err := b.compiler.Load(os.DirFS("testdata"), filepath.Base(file))
			if err == nil {
				t.Fatal("the rule was accepted")
			}
			if reason := fault.From(err).Reason; reason != fault.BadRule {
				t.Errorf("the reason is %s", reason)
			}
			golden(t, strings.TrimSuffix(file, ".yml")+".txt", err.Error()+"\n")
		})
	}
}

func TestRuleNamesAreUnique(t *testing.T) {
	t.Parallel()
	b := setup(t)
	const rule = "name: one\non: {trigger: track}\nsteps: [{action: botstar.widget.open}]\n"
	dir := t.TempDir()
	for _, name := range []string{"a.yaml", "b.yaml"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(rule), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	_, err := b.compiler.Load(os.DirFS(dir), "*.yaml")
	if err == nil || !strings.Contains(err.Error(), `b.yaml: the rule name "one" is already used by a.yaml`) {
		t.Errorf("Load = %v", err)
	}
}

// TestLargeFiles refuses files that are too large before it has done the work
// of reading all that they say.
func TestLargeFiles(t *testing.T) {
	t.Parallel()
	b := setup(t)
	const head = "on: {trigger: track}\nsteps:\n"
	for name, test := range map[string]struct{ text, want string }{
		"bytes":       {head + strings.Repeat("#", maxSource), "the limit is 1048576"},
		"steps":       {head + strings.Repeat("  - {action: botstar.widget.open}\n", 5_000), "the workflow has 5000 steps, the limit is 100"},
		"expressions": {head + "  - {action: botstar.widget.update, params: {note: \"" + strings.Repeat("${1}", 1_001) + "\"}}\n", "more than 1000 expressions"},
		"one text":    {head + "  - {stop: {if: \"" + strings.Repeat("true || ", 600) + "true\"}}\n", "expression code point size exceeds limit: size: 4804, limit 4000"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := b.compiler.Compile("large.yaml", []byte(test.text))
			if err == nil || !strings.Contains(err.Error(), test.want) || len(err.Error()) > 100_000 {
				t.Errorf("got %.500v\nwant %s", err, test.want)
			}
		})
	}
}

func TestMissingRuleFile(t *testing.T) {
	t.Parallel()
	b := setup(t)
	if _, err := b.compiler.Load(os.DirFS("testdata"), "nowhere.yaml"); fault.From(err).Reason != fault.BadRule {
		t.Errorf("Load = %v", err)
	}
	if set, err := b.compiler.Load(os.DirFS("testdata"), "none*.yaml"); err != nil || set.Len() != 0 {
		t.Errorf("a pattern without files: %v, %v", set, err)
	}
}
