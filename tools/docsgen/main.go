// Command docsgen writes the documentation pages that follow from the code:
// docs/actions.md and docs/errors.md.
package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"

	"github.com/parley-chat/parley/tools/contract"
	"github.com/parley-chat/parley/tools/pages"
)

func main() {
	root := flag.String("root", "..", "the folder of the repository")
	flag.Parse()
	if err := run(*root); err != nil {
		fmt.Fprintln(os.Stderr, "docsgen:", err)
		os.Exit(1)
	}
}

func run(root string) error {
	catalog, err := contract.Catalog()
	if err != nil {
		return err
	}
	files, err := pages.Files(catalog, root)
	if err != nil {
		return err
	}
	for _, name := range contract.Paths(files) {
		to := filepath.Join(root, "docs", name)
		if old, err := os.ReadFile(to); err == nil && bytes.Equal(old, files[name]) {
			continue
		}
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(to, files[name], 0o644); err != nil {
			return err
		}
		fmt.Println("docs/" + name)
	}
	return nil
}
