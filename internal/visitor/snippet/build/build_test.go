package main

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestFresh compares what is built now with what is committed.
func TestFresh(t *testing.T) {
	t.Parallel()
	files, err := build("../src")
	if err != nil {
		t.Fatal(err)
	}
	committed, err := filepath.Glob("../dist/*")
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, name := range committed {
		content, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		got[filepath.Base(name)] = string(content)
	}
	want := map[string]string{}
	for name, content := range files {
		want[name] = string(content)
	}
	for name := range want {
		if got[name] != want[name] {
			t.Errorf("dist/%s is stale: run `make generate`, and commit it", name)
		}
	}
	stay, err := kept("..")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range stay {
		if got[name] == "" {
			t.Errorf("dist/%s of a release is gone: pages carry its name", name)
		}
	}
	for name := range got {
		if _, ok := want[name]; !ok && !slices.Contains(stay, name) {
			t.Errorf("dist/%s is left over: run `make generate`, and commit it", name)
		}
	}
}

// TestReproducible builds in another folder, and writes over other files.
func TestReproducible(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	if err := os.CopyFS(filepath.Join(root, "src"), os.DirFS("../src")); err != nil {
		t.Fatal(err)
	}
	dist := filepath.Join(root, "dist")
	if err := os.Mkdir(dist, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{"dist/parley-0.js": "old", "dist/parley-1.js": "released", "kept.txt": "# kept\nparley-1.js\n"} {
		if err := os.WriteFile(filepath.Join(root, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := write(root); err != nil {
		t.Fatal(err)
	}
	want, err := build("../src")
	if err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(dist)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, entry := range entries {
		names = append(names, entry.Name())
		if entry.Name() == "parley-1.js" {
			continue
		}
		content, err := os.ReadFile(filepath.Join(dist, entry.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(content, want[entry.Name()]) {
			t.Errorf("%s differs from one folder to the other", entry.Name())
		}
	}
	if len(names) != len(want)+1 || !slices.Contains(names, "parley-1.js") {
		t.Errorf("dist holds %q, want what was built and what was released", names)
	}
}

// TestNoEval looks for what a strict policy forbids, in what is built.
func TestNoEval(t *testing.T) {
	t.Parallel()
	files, err := build("../src")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for name, content := range files {
		for _, word := range []string{"eval(", "new Function", "Function(", "document.write", "innerHTML", "outerHTML", "javascript:", "srcdoc", "sourceMappingURL"} {
			if strings.HasSuffix(name, ".js") && strings.Contains(string(content), word) {
				found = append(found, name+": "+word)
			}
		}
	}
	if diff := cmp.Diff([]string(nil), found); diff != "" {
		t.Errorf("the built files hold what a policy may forbid (-want +got):\n%s", diff)
	}
}

// TestBrokenSource reports a mistake with its place.
func TestBrokenSource(t *testing.T) {
	t.Parallel()
	src := t.TempDir()
	if err := os.WriteFile(filepath.Join(src, "main.js"), []byte("const a = ;\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := build(src); err == nil || !strings.Contains(err.Error(), "main.js:1") {
		t.Errorf("the error is %v", err)
	}
	if err := write(filepath.Join(src, "nothing")); err == nil {
		t.Error("a folder that is not there was built")
	}
}
