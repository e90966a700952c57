// Command build writes the files of the snippet: dist, from src, the page
// runtime and the drivers of the providers. The same sources give the same
// bytes. Without an argument it writes into internal/visitor/snippet/dist.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

func main() {
	root := "internal/visitor/snippet"
	if len(os.Args) > 1 {
		root = os.Args[1]
	}
	if err := write(root); err != nil {
		_, _ = fmt.Fprintf(os.Stderr, "build: %v\n", err)
		os.Exit(1) //nolint:forbidigo // A program of the build.
	}
}

// write builds from root/src, and makes root/dist hold what was built, the files
// of releases, and nothing else.
func write(root string) error {
	files, err := build(filepath.Join(root, "src"))
	if err != nil {
		return err
	}
	dist := filepath.Join(root, "dist")
	old, err := filepath.Glob(filepath.Join(dist, "*"))
	if err != nil {
		return fmt.Errorf("listing %s: %w", dist, err)
	}
	stay, err := kept(root)
	if err != nil {
		return err
	}
	for _, name := range old {
		if _, ok := files[filepath.Base(name)]; ok || slices.Contains(stay, filepath.Base(name)) {
			continue
		}
		if err := os.Remove(name); err != nil { //nolint:gosec // It is in our own folder.
			return fmt.Errorf("removing an old file: %w", err)
		}
	}
	if err := os.MkdirAll(dist, 0o755); err != nil { //nolint:gosec // Source code, for everybody.
		return fmt.Errorf("making %s: %w", dist, err)
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dist, name), content, 0o644); err != nil { //nolint:gosec // Source code, for everybody.
			return fmt.Errorf("writing %s: %w", name, err)
		}
	}
	return nil
}

// kept returns the names of the files of releases.
func kept(root string) ([]string, error) {
	text, err := os.ReadFile(filepath.Join(root, "kept.txt")) //nolint:gosec // It is in our own folder.
	if err != nil {
		return nil, fmt.Errorf("reading what releases have: %w", err)
	}
	var names []string
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			names = append(names, line)
		}
	}
	return names, nil
}
