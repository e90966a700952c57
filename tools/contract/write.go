package contract

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Write puts the files below the folder, and removes what else is in its v1. It
// returns the paths that changed.
func Write(folder string, files map[string][]byte) ([]string, error) {
	var changed []string
	for _, path := range Paths(files) {
		to := filepath.Join(folder, filepath.FromSlash(path))
		if old, err := os.ReadFile(to); err == nil && bytes.Equal(old, files[path]) {
			continue
		}
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return changed, fmt.Errorf("making a folder for %s: %w", path, err)
		}
		if err := os.WriteFile(to, files[path], 0o644); err != nil {
			return changed, fmt.Errorf("writing %s: %w", path, err)
		}
		changed = append(changed, path)
	}
	stale, err := Stale(folder, files)
	if err != nil {
		return changed, err
	}
	for _, path := range stale {
		if err := os.Remove(filepath.Join(folder, filepath.FromSlash(path))); err != nil {
			return changed, fmt.Errorf("removing what is not generated any more: %w", err)
		}
		changed = append(changed, path)
	}
	return changed, nil
}

// Stale returns the schemas in the folder that are not among the files.
func Stale(folder string, files map[string][]byte) ([]string, error) {
	var stale []string
	err := fs.WalkDir(os.DirFS(folder), "v1", func(path string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() && files[path] == nil {
			stale = append(stale, path)
		}
		return err
	})
	if os.IsNotExist(err) {
		return nil, nil
	}
	return stale, err
}

// Snapshot returns what the compatibility test compares with: all schemas in
// one document, without titles and descriptions.
func Snapshot(files map[string][]byte) ([]byte, error) {
	schemas := map[string]any{}
	for path, text := range files {
		if !strings.HasSuffix(path, ".schema.json") {
			continue
		}
		var schema any
		if err := json.Unmarshal(text, &schema); err != nil {
			return nil, fmt.Errorf("reading %s: %w", path, err)
		}
		schemas[path] = bare(schema, false)
	}
	text, err := json.MarshalIndent(schemas, "", " ")
	return append(text, '\n'), err
}

// bare removes the words for people. Below "properties" the members are names,
// so that nothing is removed there.
func bare(schema any, names bool) any {
	switch value := schema.(type) {
	case map[string]any:
		out := map[string]any{}
		for name, member := range value {
			if !names && (name == "title" || name == "description" || name == "$id" || name == "$schema") {
				continue
			}
			out[name] = bare(member, !names && name == "properties")
		}
		return out
	case []any:
		for i := range value {
			value[i] = bare(value[i], false)
		}
	}
	return schema
}
