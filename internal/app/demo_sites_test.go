package app

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestLintWithoutAConfiguration: who tries Parley out with `worker dev` has no
// parley.yaml, and the demo shop's sites are known all the same.
func TestLintWithoutAConfiguration(t *testing.T) {
	t.Parallel()
	dir, none := t.TempDir(), t.TempDir()
	for name, text := range map[string]string{
		"a.yaml":   "on: {trigger: track, event: A, sites: [shop]}\nsteps:\n  - action: chat.widget.open\n",
		"b.yml":    "on: {event: widget.closed}\nsteps:\n  - after: 5s\n  - emit: {event: Lead Inactive}\n",
		"note.txt": "no workflow",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	wrong := filepath.Join(none, "wrong.txt")
	if err := os.WriteFile(wrong, []byte("on: {trigger: track, event: A, sites: [shpo]}\nsteps:\n  - action: chat.widget.open\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name, out, problems string
		code                int
	}{
		{dir, "2 workflows without an error", "the sites are those of the demo shop", 0},
		{filepath.Join(dir, "b.yml"), "1 workflow without an error", "no parley.yaml here", 0},
		{none, "", "has no *.yaml and no *.yml", 1},
		{wrong, "", `did you mean "shop"?`, 1},
		{filepath.Join(none, "gone.yaml"), "", "name files of workflows", 1},
	} {
		var out, problems bytes.Buffer
		code := Publisher(t.Context(), Process{Args: []string{"workflows", "lint", test.name}, Env: Env{}, Stdout: &out, Stderr: &problems})
		if code != test.code || !strings.Contains(out.String(), test.out) || !strings.Contains(problems.String(), test.problems) {
			t.Errorf("lint %s ended with %d: %s%s; want %d, %q and %q", test.name, code, out.String(), problems.String(), test.code, test.out, test.problems)
		}
	}
}
