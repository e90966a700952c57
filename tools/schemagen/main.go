// Command schemagen writes the published contract: the JSON Schemas and the
// AsyncAPI document in schemas/.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"

	"github.com/parley-chat/parley/tools/contract"
)

func main() {
	root := flag.String("root", "..", "the folder of the repository")
	release := flag.Bool("release", false, "also take the snapshot that later versions must be compatible with")
	flag.Parse()
	if err := run(*root, *release); err != nil {
		fmt.Fprintln(os.Stderr, "schemagen:", err)
		os.Exit(1)
	}
}

func run(root string, release bool) error {
	catalog, err := contract.Catalog()
	if err != nil {
		return err
	}
	files, err := contract.Files(catalog, root)
	if err != nil {
		return err
	}
	folder := filepath.Join(root, "schemas")
	changed, err := contract.Write(folder, files)
	if err != nil {
		return err
	}
	for _, path := range changed {
		fmt.Println("schemas/" + path)
	}
	if !release {
		return nil
	}
	snapshot, err := contract.Snapshot(files)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(folder, "testdata", "released.json"), snapshot, 0o644)
}
